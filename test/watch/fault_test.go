package watch

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/proxy/naming/k8s"
)

// healed is how long a Store may take to be right after the server is.
const healed = 2 * time.Second

// kinds are what a Store watches.
var kinds = []string{"services", "endpointslices"}

// edits is what happens while the Store hears nothing: one object of each kind made, changed and deleted.
type edits struct{ ns string }

func prepare(t *testing.T) edits {
	t.Helper()
	e := edits{namespace(t)}
	for _, name := range []string{"gone", "changed"} {
		e.do(t, func(o client.Object) error { return api.Client.Create(t.Context(), o) },
			service(e.ns, name), slice(e.ns, name, name+"-1", "10.0.0.1", "10.0.0.2"))
	}
	return e
}

func (e edits) do(t *testing.T, verb func(client.Object) error, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := verb(o); err != nil {
			t.Fatalf("%T %s: %v", o, o.GetName(), err)
		}
	}
}

func (e edits) make(t *testing.T) {
	t.Helper()
	e.do(t, func(o client.Object) error { return api.Client.Create(t.Context(), o) },
		service(e.ns, "new"), slice(e.ns, "new", "new-1", "10.0.1.1"))
	e.do(t, func(o client.Object) error { return api.Client.Delete(t.Context(), o) },
		service(e.ns, "gone"), slice(e.ns, "gone", "gone-1"))
	changed := slice(e.ns, "changed", "changed-1", "10.0.0.2", "10.0.0.3")
	changed.Endpoints[0].Conditions.Ready = ptr(false)
	other := service(e.ns, "changed")
	other.Spec.Ports[0].Port = 81
	e.do(t, func(o client.Object) error { return api.Client.Update(t.Context(), o) }, changed, other)
}

// fault breaks the way to the API server, and returns what mends it; nil if nothing is to be mended.
type fault struct {
	name  string
	begin func(t *testing.T, i *injector) (mend func(before func()))
}

func refusing(code int) fault {
	return fault{fmt.Sprint(code), func(t *testing.T, i *injector) func(func()) {
		i.answer(code)
		return func(before func()) {
			eventually(t, "refused requests", 20*time.Second, time.Now(), func() string {
				if n := i.refused(); n < 4 {
					return fmt.Sprint(n)
				}
				return ""
			})
			before()
			i.heal()
		}
	}}
}

func faults() []fault {
	return []fault{
		refusing(http.StatusGone), refusing(http.StatusNotFound), refusing(http.StatusInternalServerError),
		refusing(http.StatusForbidden), refusing(http.StatusTooManyRequests),
		{"410 in the stream", func(_ *testing.T, i *injector) func(func()) { i.finish(http.StatusGone); return nil }},
		{"500 in the stream", func(_ *testing.T, i *injector) func(func()) { i.finish(http.StatusInternalServerError); return nil }},
		{"EOF", func(_ *testing.T, i *injector) func(func()) { i.finish(0); return nil }},
		{"connections cut", func(_ *testing.T, i *injector) func(func()) { i.cut(); return nil }},
	}
}

func TestHealsAfter(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			e, i := prepare(t), newInjector(t, api.Config)
			store, _ := start(t, e.ns, i.config(), k8s.Options{})
			i.watched(t)
			before := held(store, e.ns)
			mend := f.begin(t, i)
			e.make(t)
			if mend != nil {
				mend(func() {
					if d := difference(before, held(store, e.ns)); d != "" {
						t.Errorf("errors changed what was known: %s", d)
					}
				})
			}
			t.Logf("equal after %v", await(t, store, e.ns, healed).Round(time.Millisecond))
			i.never2(t)
			if at, err := store.Contact(); err != nil || at.IsZero() {
				t.Errorf("contact after healing: %v, %v", at, err)
			}
		})
	}
}

// watched returns when every kind has one watch.
func (i *injector) watched(t *testing.T) {
	t.Helper()
	for _, kind := range kinds {
		eventually(t, "watches of "+kind, 3*time.Second, time.Now(), func() string {
			if live, _, _ := i.counts(kind); live != 1 {
				return fmt.Sprint(live)
			}
			return ""
		})
	}
}

// never2 checks that no kind was ever listed twice at a time, and that every kind has one watch.
func (i *injector) never2(t *testing.T) {
	t.Helper()
	i.watched(t)
	for _, kind := range kinds {
		if _, relists, most := i.counts(kind); most != 1 {
			t.Errorf("%s: %d relists, %d at a time", kind, relists, most)
		}
	}
}

// A network that drops packets tells nobody. HTTP/2 pings find out; they come every 30 s and wait 15 s, and here 1 s.
func TestHealsAfterLostPackets(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")
	e, i := prepare(t), newInjector(t, api.Config)
	store, _ := start(t, e.ns, i.config(), k8s.Options{})
	i.watched(t)
	i.lose()
	e.make(t)
	eventually(t, "the loss is noticed", 10*time.Second, time.Now(), func() string {
		if _, err := store.Contact(); err == nil {
			return "no error"
		}
		return ""
	})
	i.heal()
	// A TLS handshake may be under way that began while packets were lost.
	t.Logf("equal after %v", await(t, store, e.ns, 15*time.Second).Round(time.Millisecond))
	i.never2(t)
}

// A connection that lives and says nothing is given up after Options.Silence, which is 150 s and here a second.
func TestHealsAfterSilence(t *testing.T) {
	e, i := prepare(t), newInjector(t, api.Config)
	store, tree := start(t, e.ns, i.config(), k8s.Options{Silence: time.Second})
	i.watched(t)
	i.hush()
	e.make(t)
	eventually(t, "the silence is noticed", 10*time.Second, time.Now(), func() string {
		for _, kind := range kinds {
			if tree.Scope(kind).Counter("silences").Value() == 0 {
				return kind
			}
		}
		return ""
	})
	i.heal()
	t.Logf("equal after %v", await(t, store, e.ns, time.Second*11/10+healed).Round(time.Millisecond))
	for _, kind := range kinds {
		if _, _, most := i.counts(kind); most > 1 {
			t.Errorf("%s: %d relists at a time", kind, most)
		}
	}
}

func TestHealsAfterARestart(t *testing.T) {
	e, i := prepare(t), newInjector(t, api.Config)
	through, _ := start(t, e.ns, i.config(), k8s.Options{})
	direct, _ := start(t, e.ns, rest.CopyConfig(api.Config), k8s.Options{})
	server := api.Env.ControlPlane.GetAPIServer()
	i.watched(t)
	kill(t, "kube-apiserver")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if len(held(direct, e.ns)) == 0 {
		t.Error("the loss of the API server emptied the store")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	e.make(t) // before the watches are back
	began := time.Now()
	t.Logf("direct: equal after %v", await(t, direct, e.ns, healed).Round(time.Millisecond))
	eventually(t, "the address set through the injector", healed, began, func() string { return difference(truth(t, e.ns), held(through, e.ns)) })
	after := slice(e.ns, "changed", "changed-2", "10.0.9.9")
	e.do(t, func(o client.Object) error { return api.Client.Create(t.Context(), o) }, after)
	began = time.Now()
	await(t, direct, e.ns, healed)
	await(t, through, e.ns, healed)
	t.Logf("an event afterwards: %v", time.Since(began).Round(time.Millisecond))
	i.never2(t)
}

// kill ends a child of this process as a crash would: the end of an API server in good order waits for its watches.
func kill(t *testing.T, command string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it is gone
		}
		var pid, parent int
		var state string
		head, tail, _ := strings.Cut(string(stat), " ("+command+") ")
		if _, err := fmt.Sscan(tail, &state, &parent); err != nil || parent != os.Getpid() {
			continue
		}
		if _, err := fmt.Sscan(head, &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no %s runs", command)
}
