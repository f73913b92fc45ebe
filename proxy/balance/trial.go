package balance

import "math/rand/v2"

// IsSpared reports whether the requests of an endpoint fail that stays up since too many others are down, and when it would be probed if it
// were down as well. That ends with the first request that succeeds.
func (n *Node) IsSpared() (untilNs int64, spared bool) {
	if b := n.state.breaker.Load(); b != nil {
		untilNs = b.spared.Load()
	}
	return untilNs, untilNs != 0
}

// isLive reports whether the endpoint answers, as far as is known.
func (n *Node) isLive() bool {
	_, spared := n.IsSpared()
	return !spared && !n.IsAway()
}

// isDue reports whether an endpoint that does not answer may be asked again.
func (n *Node) isDue(nowNs int64) bool {
	until, spared := n.IsSpared()
	return n.Up(nowNs) && (n.Due() != 0 || spared && nowNs >= until)
}

// Live returns how many endpoints answer, as far as is known: those that serve and are neither kept away from requests nor spared that.
func (b *Balancer) Live() int { return b.count((*Node).isLive) }

// IsDue reports whether an endpoint that does not answer may be asked again.
func (b *Balancer) IsDue(nowNs int64) bool {
	return b.count(func(n *Node) bool { return n.isDue(nowNs) }) > 0
}

// count returns how many of the endpoints that would serve are so.
func (b *Balancer) count(is func(*Node) bool) (count int) {
	s := b.snapshot.Load()
	for i := range s.classes {
		for _, n := range s.classes[i].nodes {
			if is(n) {
				count++
			}
		}
	}
	return count
}

// PickTrial is Pick for a request that is to find out whether the bound name answers: by an endpoint that does, and where there is none, by
// one that is due.
func (b *Balancer) PickTrial(nowNs int64, tried []*Node, most int64) (*Node, error) {
	s := b.snapshot.Load()
	for _, wanted := range [...]func(*Node) bool{(*Node).isLive, func(n *Node) bool { return n.isDue(nowNs) }} {
		for i := range s.classes {
			nodes := s.classes[i].nodes
			for from, j := rand.IntN(len(nodes)), 0; j < len(nodes); j++ {
				if n := nodes[(from+j)%len(nodes)]; wanted(n) && !isTried(n, tried) && n.Admit(nowNs, most) {
					n.began(nowNs)
					return n, nil
				}
			}
		}
	}
	return b.Pick(nowNs, tried, most)
}
