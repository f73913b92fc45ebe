package route

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// cached does what a request with a route does before it dials.
func cached(h *house, key []byte) *balance.Node {
	l, err := h.Lookup(key).Choose(0)
	if err != nil {
		panic(err)
	}
	node, e := l.Pick(0, 1, nil)
	if e != nil {
		panic(e)
	}
	node.Done(0, 1, classify.Success)
	l.Record(0, &Result{Class: classify.Success, Latency: 3 * time.Millisecond})
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

// chosenHouse has one name that another proxy chose, with endpoints on this node.
func chosenHouse(tb testing.TB) (h *house, key []byte) {
	h = newHouse(tb, "")
	h.options.Node = "a"
	h.configure(&config.Router{
		BindingTimeout: time.Second, Transformers: []v1alpha1.Transformer{{Kind: v1alpha1.KindTransformerLocalNode}},
	})
	var all []naming.Endpoint
	for i := range 100 {
		e := endpoint(i)
		e.Node = "a"
		all = append(all, e)
	}
	h.fake.bind("/web", all...)
	key = []byte("chosen")
	h.BindChosen(key, dtab.Path{"svc", "web"}, dtab.Path{"#", "web"}, nil)
	return h, key
}

func chosenDecision(h *house, key, address []byte) *balance.Node {
	l, err := h.Lookup(key).Choose(0)
	if err != nil {
		panic(err)
	}
	node, e := l.PickChosen(0, 1, address, nil)
	if e != nil {
		panic(e)
	}
	node.Done(0, 1, classify.Success)
	return node
}

func TestChosenDecisionDoesNotAllocate(t *testing.T) {
	h, key := chosenHouse(t)
	defer h.Close()
	address := []byte("10.0.0.42:80")
	if got := chosenDecision(h, key, address).Endpoint.Addr.String(); got != string(address) {
		t.Errorf("chosen %s, got %s", address, got)
	}
	if n := testing.AllocsPerRun(1000, func() { chosenDecision(h, key, address) }); n != 0 {
		t.Errorf("%v allocations for a request with a route", n)
	}
	if obeyed := h.metric("chosen/obeyed"); obeyed != "1002" {
		t.Errorf("chosen/obeyed is %s", obeyed)
	}
}

func BenchmarkChosenDecision(b *testing.B) {
	h, key := chosenHouse(b)
	defer h.Close()
	address := []byte("10.0.0.42:80")
	b.ReportAllocs()
	for b.Loop() {
		chosenDecision(h, key, address)
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
				l, err := h.Lookup(key).Choose(0)
				if err != nil {
					b.Fatal(err)
				}
				node, e := l.Pick(0, 1, nil)
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

// BenchmarkColdName is all that the first request for a name costs, with the eviction of the name that makes room for it: delegation by
// two rules of those given, a client that is there already, no metrics but those of the service.
func BenchmarkColdName(b *testing.B) {
	for _, dentries := range []int{10, 1_000, 200_000} {
		var rules strings.Builder
		rules.WriteString("/host/*/* => /#/web; /svc => /host")
		for i := 2; i < dentries; i++ {
			fmt.Fprintf(&rules, "; /host/team-%d/name-%d => 9 * /#/web & 1 * /#/canary", i%100, i)
		}
		h := newHouse(b, rules.String())
		h.maxNames = 1000
		h.fake.bind("/web", endpoint(1), endpoint(2), endpoint(3))
		i := 0
		b.Run(fmt.Sprintf("dentries=%d", dentries), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				i++
				path := dtab.Path{"svc", "team-7", "cold-" + strconv.Itoa(i)}
				if _, err := h.Bind([]byte(path[2]), path, nil).Choose(0); err != nil {
					b.Fatal(err)
				}
			}
		})
		h.Close()
	}
}
