package route

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/naming"
)

const (
	// diagnoseTimeout is how long a diagnosis waits for namers.
	diagnoseTimeout = time.Second
	// maxDiagnosed bounds the endpoints and the steps that a diagnosis shows.
	maxDiagnosed = 50
)

// Diagnose tells, in lines for people, what the router knows of the name that led here: as Linkerd's answer to a TRACE with
// l5d-add-context, with the endpoints' states.
func (l *Leaf) Diagnose(nowNs int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "router: %s\nservice: %s\n", l.router.options.Name, l.service.path)
	if tree := l.name.current.Load().String(); tree != "" {
		fmt.Fprintf(&b, "tree: %s\n", tree)
	}
	if l.client == nil {
		fmt.Fprintf(&b, "status: %d\n", l.status)
	} else {
		l.client.diagnose(&b, nowNs)
	}
	ctx, cancel := context.WithTimeout(context.Background(), diagnoseTimeout)
	defer cancel()
	b.WriteString("resolution:\n")
	left := maxDiagnosed
	diagnoseStep(&b, l.router.Explain(ctx, l.name.path, l.name.local).Root, 1, &left)
	return b.String()
}

func (c *client) diagnose(b *strings.Builder, nowNs int64) {
	nodes := c.balancer.Nodes()
	fmt.Fprintf(b, "client: %s\nendpoints: %d of %d up\n", c.id, c.balancer.Available(), len(nodes))
	for i, n := range nodes {
		if i == maxDiagnosed {
			fmt.Fprintf(b, "  and %d more\n", len(nodes)-i)
			return
		}
		fmt.Fprintf(b, "  %s %s, %d requests under way, %.3g ms\n", n.Endpoint.Addr, stateOf(n, nowNs), n.Pending(), n.Cost(nowNs)/1e6)
	}
}

func stateOf(n *balance.Node, nowNs int64) string {
	_, until, down := n.IsDown()
	_, lost := n.IsLost()
	_, spared := n.IsSpared()
	switch {
	case lost:
		return "cannot be connected to"
	case !n.Endpoint.Serving:
		return "not serving"
	case down:
		return fmt.Sprintf("down, to be probed in %v", max(time.Duration(until-nowNs), 0).Round(time.Millisecond))
	case spared:
		return "up, though its requests fail"
	}
	return "up"
}

// diagnoseStep shows a step and what follows it, with the rule that led there.
func diagnoseStep(b *strings.Builder, s *naming.Step, depth int, left *int) {
	if s == nil || *left == 0 {
		return
	}
	*left--
	fmt.Fprintf(b, "%s%s", strings.Repeat("  ", depth), s.Path)
	if d := s.Dentry; d != nil {
		fmt.Fprintf(b, " by %s => %s", d.Prefix, d.Dst)
		if d.Object != "" {
			fmt.Fprintf(b, " of %s[%d]", d.Object, d.Index)
		}
	}
	if s.Type != naming.StepDelegate {
		fmt.Fprintf(b, " is %s", s.Outcome)
	}
	if s.Unhealthy {
		b.WriteString(", has no live endpoint")
	}
	if s.Message != "" {
		fmt.Fprintf(b, ": %s", s.Message)
	}
	b.WriteString("\n")
	diagnoseStep(b, s.Delegate, depth+1, left)
	diagnoseStep(b, s.Tree, depth+1, left)
	for _, alt := range s.Alt {
		diagnoseStep(b, alt, depth+1, left)
	}
	for _, u := range s.Union {
		diagnoseStep(b, u.Tree, depth+1, left)
	}
}
