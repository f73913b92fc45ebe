package route

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// cached does what a request with a route does before it dials.
func cached(h *house, key []byte) *balance.Node {
	l, err := h.Lookup(key).Choose()
	if err != nil {
		panic(err)
	}
	node, e := l.Pick(0, nil)
	if e != nil {
		panic(e)
	}
	node.Done(0, 1, classify.Success)
	l.Record(0, classify.Success, "", 3*time.Millisecond, 0)
	return node
}

func TestCachedDecisionDoesNotAllocate(t *testing.T) {
	h := newHouse(t, "/svc => 9 * /#/a & 1 * /#/b")
	defer h.Close()
	h.fake.bind("/a/web", endpoint(1), endpoint(2), endpoint(3))
	h.fake.bind("/b/web", endpoint(4))
	h.leaf("/svc/web")
	key := []byte("/svc/web")
	if n := testing.AllocsPerRun(1000, func() { cached(h, key) }); n != 0 {
		t.Errorf("%v allocations for a request with a route", n)
	}
}

func BenchmarkCachedDecision(b *testing.B) {
	for _, rules := range []string{"/svc => /#/a", "/svc => 9 * /#/a & 1 * /#/b"} {
		h := newHouse(b, rules)
		h.fake.bind("/a/web", endpoint(1), endpoint(2), endpoint(3))
		h.fake.bind("/b/web", endpoint(4))
		h.leaf("/svc/web")
		key := []byte("/svc/web")
		b.Run(rules, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l, err := h.Lookup(key).Choose()
				if err != nil {
					b.Fatal(err)
				}
				node, e := l.Pick(0, nil)
				if e != nil {
					b.Fatal(e)
				}
				node.Done(0, 1, classify.Success)
			}
		})
		b.Run(rules+" with metrics", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				cached(h, key)
			}
		})
		h.Close()
	}
}
