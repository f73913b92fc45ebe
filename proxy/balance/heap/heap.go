// Package heap keeps endpoints in a heap by load: the one with the fewest requests under way gets the next (Linkerd's kind heap). It is exact
// where the other policies compare two, and the price is a lock, held for O(log n).
package heap

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/fairlead/fairlead/proxy/balance"
)

// Policy implements balance.Policy.
type Policy struct{}

// New implements balance.Policy.
func (Policy) New() balance.Picker {
	return &picker{known: map[balance.Identity]*entry{}, used: math.MaxUint32}
}

// picker implements balance.Watcher.
type picker struct {
	mu      sync.Mutex // guards what follows
	entries entries
	known   map[balance.Identity]*entry
	// due is when the first of the endpoints that are down may be probed; 0 where none waits for that.
	due int64
	// used counts picks, from above what an entry begins with.
	used uint64
}

// entry is an endpoint at its place in the heap, with what it was put there for.
type entry struct {
	node    *balance.Node
	at      int
	down    bool
	pending int64
	// tie makes equals come in turn: who was used longest ago is first, and those that never were come in random order before.
	tie uint64
}

// Set implements balance.Picker.
func (p *picker) Set(nodes []*balance.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.known
	p.known = make(map[balance.Identity]*entry, len(nodes))
	p.entries = make(entries, 0, len(nodes))
	for i, n := range nodes {
		e := before[n.Identity()]
		if e == nil {
			e = &entry{tie: uint64(rand.Uint32())}
		}
		e.node, e.at = n, i
		p.known[n.Identity()] = e
		p.entries = append(p.entries, e)
	}
	p.rebuild(0)
}

// rebuild puts all in order anew.
func (p *picker) rebuild(nowNs int64) {
	p.due = 0
	for _, e := range p.entries {
		p.read(e, nowNs)
	}
	heap.Init(&p.entries)
}

// read brings what an entry is ordered by up to date.
func (p *picker) read(e *entry, nowNs int64) {
	e.down, e.pending = !e.node.Up(nowNs), e.node.Pending()
	if due := e.node.Due(); e.down && due > 0 && (p.due == 0 || due < p.due) {
		p.due = due
	}
}

// staleEffort bounds how often the first in order turns out not to be.
const staleEffort = 4

// Pick implements balance.Picker.
func (p *picker) Pick(nowNs, most int64) *balance.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due != 0 && nowNs >= p.due {
		p.rebuild(nowNs)
	}
	for range staleEffort {
		e := p.entries[0]
		down, pending := e.down, e.pending
		if p.read(e, nowNs); down != e.down || pending != e.pending {
			heap.Fix(&p.entries, 0)
			continue
		}
		if !e.node.Admit(nowNs, most) {
			return nil
		}
		p.read(e, nowNs)
		p.used++
		e.tie = p.used
		heap.Fix(&p.entries, 0)
		return e.node
	}
	return nil
}

// Began implements balance.Watcher.
func (p *picker) Began(n *balance.Node, nowNs int64) { p.Ended(n, nowNs) }

// Ended implements balance.Watcher.
func (p *picker) Ended(n *balance.Node, nowNs int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.known[n.Identity()]; e != nil {
		p.read(e, nowNs)
		heap.Fix(&p.entries, e.at)
	}
}

// Turned implements balance.Watcher.
func (p *picker) Turned(n *balance.Node, nowNs int64) { p.Ended(n, nowNs) }

// entries implements heap.Interface.
type entries []*entry

// Len implements heap.Interface.
func (s entries) Len() int { return len(s) }

// Less implements heap.Interface.
func (s entries) Less(i, j int) bool {
	a, b := s[i], s[j]
	switch {
	case a.down != b.down:
		return b.down
	case a.pending != b.pending:
		return a.pending < b.pending
	}
	return a.tie < b.tie
}

// Swap implements heap.Interface.
func (s entries) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].at, s[j].at = i, j
}

// Push implements heap.Interface; nothing is ever pushed.
func (s *entries) Push(any) { panic("entries come by Set") }

// Pop implements heap.Interface; nothing is ever popped.
func (s *entries) Pop() any { panic("entries go by Set") }
