package control

import (
	"fmt"
	"math/rand/v2"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

func mesh(generation int64, routers ...string) *v1alpha1.Mesh {
	m := &v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "demo", UID: "mesh", Generation: generation}}
	for i, name := range routers {
		m.Spec.Routers = append(m.Spec.Routers, v1alpha1.Router{Name: name, Servers: []v1alpha1.Server{{Port: int32(4140 + i)}}})
	}
	return m
}

func dtabOf(name, uid string, generation int64, dst string) *v1alpha1.Dtab {
	return &v1alpha1.Dtab{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), Generation: generation},
		Spec: v1alpha1.DtabSpec{
			MeshRef: v1alpha1.MeshReference{Name: "demo"}, Router: "outgoing",
			Dentries: []v1alpha1.Dentry{{Prefix: "/svc/" + name, Dst: dst}},
		},
	}
}

// serves shows the Dtabs of a configuration.
func serves(cfg *config.Config) string {
	out := ""
	for _, d := range cfg.Dtabs {
		out += fmt.Sprintf("%s@%d ", d.Name, d.Generation)
	}
	return out
}

func TestAcceptance(t *testing.T) {
	a := newAcceptance()
	good := mesh(1, "outgoing")
	step := func(what string, m *v1alpha1.Mesh, want string, refused int, dtabs ...*v1alpha1.Dtab) {
		t.Helper()
		cfg, r := a.build(m, dtabs)
		a.forget(m, dtabs)
		if got := serves(cfg); got != want || len(r) != refused {
			t.Errorf("%s: serves %q and refuses %v, want %q and %d", what, got, r, want, refused)
		}
	}
	web1, web2, web3 := dtabOf("web", "u", 1, "/a"), dtabOf("web", "u", 2, "/a & "), dtabOf("web", "u", 3, "/c")
	step("good", good, "web@1 ", 0, web1)
	step("refused", good, "web@1 ", 1, web2)
	step("refused again, from the cache", good, "web@1 ", 1, web2)
	step("the mesh loses the router", mesh(2, "other"), "", 1, web2)
	step("and gets it back", mesh(3, "outgoing"), "web@1 ", 1, web2)
	step("repaired", mesh(3, "outgoing"), "web@3 ", 0, web3)
	step("the mesh is refused", mesh(4, "outgoing", "outgoing"), "web@3 ", 1, web3)
	if a.mesh.Generation != 3 {
		t.Errorf("mesh generation %d is served", a.mesh.Generation)
	}
	step("deleted and made again, broken", mesh(3, "outgoing"), "", 1, dtabOf("web", "u2", 1, "/x & "))
	step("the old UID is forgotten", mesh(3, "outgoing"), "", 1, dtabOf("web", "u", 4, "/x & "))
	elsewhere := dtabOf("zoo", "z", 1, "/z")
	elsewhere.Spec.MeshRef.Namespace = "other"
	step("for a mesh of that name elsewhere", mesh(3, "outgoing"), "", 0, elsewhere)

	if cfg, r := newAcceptance().build(mesh(1, "x", "x"), nil); cfg != nil || len(r) != 1 {
		t.Errorf("a mesh that was never good: %v, %v", cfg, r)
	}
}

// However many Dtabs are bad, each good one is served as its newest good generation.
func TestBadDtabsAmongGoodOnes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a := newAcceptance()
	m := mesh(1, "outgoing")
	current := map[int]*v1alpha1.Dtab{}
	good := map[int]int64{}
	for range 300 {
		i := r.IntN(40)
		generation := int64(1)
		if old := current[i]; old != nil {
			generation = old.Generation + 1
		}
		dst := "/ok"
		if r.IntN(2) == 0 {
			dst = []string{"", "/a & ", "/a |", "2 * ", "/\xff", "((/a)"}[r.IntN(6)]
		} else {
			good[i] = generation
		}
		current[i] = dtabOf(fmt.Sprintf("d%02d", i), fmt.Sprint("u", i), generation, dst)
		var all []*v1alpha1.Dtab
		want, bad := "", 0
		for j := range 40 {
			d := current[j]
			if d == nil {
				continue
			}
			all = append(all, d)
			if g := good[j]; g > 0 {
				want += fmt.Sprintf("%s@%d ", d.Name, g)
			}
			if good[j] != d.Generation {
				bad++
			}
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		cfg, refused := a.build(m, all)
		if got := serves(cfg); got != want || len(refused) != bad {
			t.Fatalf("serves %q, want %q; %d refused, want %d", got, want, len(refused), bad)
		}
	}
}

func TestOlderGenerationOnDiskDoesNotWin(t *testing.T) {
	a := newAcceptance()
	a.remember(&config.Documents{Dtabs: []*v1alpha1.Dtab{dtabOf("web", "u", 5, "/snapshot")}})
	a.remember(&config.Documents{Dtabs: []*v1alpha1.Dtab{dtabOf("web", "u", 4, "/configmap"), dtabOf("zoo", "z", 1, "/z")}})
	cfg, _ := a.build(mesh(1, "outgoing"), []*v1alpha1.Dtab{dtabOf("web", "u", 6, "! !"), dtabOf("zoo", "z", 2, "! !")})
	if got := serves(cfg); got != "web@5 zoo@1 " {
		t.Errorf("serves %q", got)
	}
}
