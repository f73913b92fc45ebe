package k8s

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// world is a simple model: all objects, read from scratch for every question.
type world struct {
	services map[string]*corev1.Service
	slices   map[string]*discoveryv1.EndpointSlice
}

// answer works out what a name is, in the simplest way.
func (w *world) answer(svc, portOf string) string {
	service := w.services[svc]
	if service == nil {
		return "~"
	}
	want := portOf
	if portOf == "80" || portOf == "81" {
		want = "none"
		for _, p := range slices.Backward(service.Spec.Ports) {
			if fmt.Sprint(p.Port) == portOf && p.Protocol != corev1.ProtocolUDP {
				want = "=" + p.Name
			}
		}
		if want == "none" {
			return "~"
		}
		want = want[1:]
	}
	exists := false
	ready, serving, all := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, es := range w.slices {
		if es.Labels[discoveryv1.LabelServiceName] != svc || es.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, p := range es.Ports {
			if p.Port == nil || *p.Port < 1 || p.Name != nil && *p.Name != want || p.Name == nil && want != "" ||
				p.Protocol != nil && *p.Protocol == corev1.ProtocolUDP {
				continue
			}
			exists = true
			for _, e := range es.Endpoints {
				if len(e.Addresses) == 0 {
					continue
				}
				ip, err := netip.ParseAddr(e.Addresses[0])
				if err != nil {
					continue
				}
				at := netip.AddrPortFrom(ip, uint16(*p.Port)).String()
				all[at] = true
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					ready[at] = true
				}
				if (e.Conditions.Serving != nil && *e.Conditions.Serving) && e.Conditions.Terminating != nil && *e.Conditions.Terminating {
					serving[at] = true
				}
			}
		}
	}
	if !exists {
		return "~"
	}
	return w.render(all, ready, serving)
}

func (*world) render(all, ready, serving map[string]bool) string {
	v4 := false
	for at := range all {
		v4 = v4 || !strings.HasPrefix(at, "[")
	}
	keep := func(at string) bool { return !v4 || !strings.HasPrefix(at, "[") }
	anyReady := false
	for at := range ready {
		anyReady = anyReady || keep(at)
	}
	var out []netip.AddrPort
	for at := range all {
		if keep(at) {
			out = append(out, netip.MustParseAddrPort(at))
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	text := []string{}
	for _, at := range out {
		s := at.String()
		if !(ready[s] || !anyReady && serving[s]) {
			s = "-" + s
		}
		text = append(text, s)
	}
	return "[" + strings.Join(text, " ") + "]"
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomSlice(r *rand.Rand, id string) *discoveryv1.EndpointSlice {
	es := slice("d", pick(r, "a", "b", "c", ""), id,
		pick(r, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN), nil)
	for range r.IntN(3) {
		p := discoveryv1.EndpointPort{Port: pick(r, nil, ptr(int32(8080)), ptr(int32(9090)), ptr(int32(0)))}
		p.Name = pick(r, nil, ptr(""), ptr("http"), ptr("admin"))
		p.Protocol = pick(r, nil, ptr(corev1.ProtocolTCP), ptr(corev1.ProtocolUDP))
		es.Ports = append(es.Ports, p)
	}
	for range r.IntN(4) {
		e := discoveryv1.Endpoint{Addresses: pick(r, nil, []string{"bad"}, []string{"10.0.0.1"}, []string{"10.0.0.2"}, []string{"fd00::1"})}
		e.Conditions.Ready = pick(r, nil, ptr(true), ptr(false))
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			e.Conditions.Serving, e.Conditions.Terminating = pick(r, nil, ptr(true), ptr(false)), pick(r, nil, ptr(true), ptr(false))
		}
		es.Endpoints = append(es.Endpoints, e)
	}
	if r.IntN(300) == 0 {
		for i := range 5000 {
			es.Endpoints = append(es.Endpoints, ep(fmt.Sprintf("10.9.%d.%d", i>>8, i&255)))
		}
	}
	return es
}

func randomService(r *rand.Rand, name string) *corev1.Service {
	svc := service("d", name)
	for range r.IntN(3) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: pick(r, "", "http", "admin"), Port: pick[int32](r, 80, 81), Protocol: pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP),
		})
	}
	return svc
}

// TestAgainstModel applies random legal and odd events, and compares every name with the model after each.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(100) {
		againstModel(t, seed, 200)
	}
}

func FuzzAgainstModel(f *testing.F) {
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { againstModel(t, seed, int(steps)) })
}

func againstModel(t *testing.T, seed uint64, steps int) {
	t.Helper()
	names := []string{"a", "b", "c"}
	ports := []string{"http", "admin", "80", "81"}
	r := rand.New(rand.NewPCG(seed, 1))
	s, _ := newStore(t, Options{})
	w := &world{services: map[string]*corev1.Service{}, slices: map[string]*discoveryv1.EndpointSlice{}}
	fill(t, s, nil, nil)
	lives := map[string]naming.Live[naming.Tree]{}
	for _, n := range names {
		for _, p := range ports {
			lives[n+" "+p] = s.Namer(nil).Lookup(dtab.Path{"d", p, n})
		}
	}
	for step := range steps {
		w.step(t, r, s)
		for key, live := range lives {
			n, p, _ := strings.Cut(key, " ")
			if got, want := showLive(live), w.answer(n, p); got != want {
				t.Fatalf("seed %d step %d: /d/%s/%s is %s, want %s", seed, step, p, n, got, want)
			}
		}
	}
	total := 0
	for _, es := range s.Export().Slices {
		total += len(es.Addresses)
	}
	if got := s.counts().endpoints; got != total {
		t.Errorf("seed %d: endpoints counted %d, held %d", seed, got, total)
	}
	for _, live := range lives {
		live.Close()
	}
}

func (w *world) step(t *testing.T, r *rand.Rand, s *Store) {
	t.Helper()
	id := fmt.Sprintf("slice-%d", r.IntN(5))
	n := pick(r, "a", "b", "c")
	switch r.IntN(6) {
	case 0:
		if old := w.slices[id]; old != nil {
			delete(w.slices, id)
			must(t, sliceSink{s}.Delete(old))
		}
	case 1:
		w.services[n] = randomService(r, n)
		must(t, serviceSink{s}.Update(decode[*corev1.Service](t, w.services[n].DeepCopy(), corev1.SchemeGroupVersion.WithKind("Service"))))
	case 2:
		if old := w.services[n]; old != nil && r.IntN(3) == 0 {
			delete(w.services, n)
			must(t, serviceSink{s}.Delete(old))
		}
	case 3:
		if r.IntN(4) == 0 {
			w.slices = map[string]*discoveryv1.EndpointSlice{id: randomSlice(r, id)}
			must(t, sliceSink{s}.Replace([]any{w.slices[id]}, "9"))
		}
	default:
		w.slices[id] = randomSlice(r, id)
		kind := discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice")
		must(t, sliceSink{s}.Update(decode[*discoveryv1.EndpointSlice](t, w.slices[id].DeepCopy(), kind)))
	}
}
