package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

func newMesh(t *testing.T, ns string) *v1alpha1.Mesh {
	t.Helper()
	m := &v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "demo"}}
	create(t, m)
	return m
}

func newDtab(t *testing.T, ns, name, dst string) *v1alpha1.Dtab {
	t.Helper()
	d := &v1alpha1.Dtab{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.DtabSpec{
		MeshRef: v1alpha1.MeshReference{Name: "demo"}, Router: "outgoing", Dentries: []v1alpha1.Dentry{{Prefix: "/svc/" + name, Dst: dst}},
	}}
	create(t, d)
	return d
}

func options(m *v1alpha1.Mesh) ClusterOptions {
	return ClusterOptions{
		REST: api.Config, Namespace: m.Namespace, Mesh: m.Name, MeshUID: string(m.UID), Log: logr.Discard(), Version: "test",
		Pod: Pod{Name: "demo-proxy-x", Namespace: m.Namespace, UID: "pod-uid", Node: "node-a"},
	}
}

func newService(t *testing.T, ns, name string, addrs ...string) *discoveryv1.EndpointSlice {
	t.Helper()
	create(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
	}})
	protocol, port, portName := corev1.ProtocolTCP, int32(8080), "http"
	es := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &protocol}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: addrs}},
	}
	create(t, es)
	return es
}

// endpoints shows what a Service's port http is bound to.
func (p *proxy) endpoints(ns, svc string) string {
	live := p.store.Namer(dtab.Path{"#", "io.l5d.k8s"}).Lookup(dtab.Path{ns, "http", svc})
	defer live.Close()
	tree, state, _ := live.Load()
	switch {
	case state != naming.Ok:
		return "pending"
	case tree.Kind == dtab.Neg:
		return "~"
	}
	addrs, _, _ := tree.Bound.Addrs.Load()
	out := ""
	for _, e := range addrs.Endpoints {
		out += e.Addr.String() + " "
	}
	return out
}

func (p *proxy) awaitEndpoints(t *testing.T, ns, svc, want string) {
	t.Helper()
	eventually(t, "endpoints of "+svc, 30*time.Second, func() error {
		if got := p.endpoints(ns, svc); got != want {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

func (p *proxy) awaitReady(t *testing.T, within time.Duration) {
	t.Helper()
	eventually(t, "ready", within, p.Ready)
}

func awaitReport(t *testing.T, ns string, ok func(*v1alpha1.MeshProxy) error) *v1alpha1.MeshProxy {
	t.Helper()
	var mp v1alpha1.MeshProxy
	eventually(t, "the MeshProxy", 30*time.Second, func() error {
		if err := api.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "demo-proxy-x"}, &mp); err != nil {
			return err
		}
		return ok(&mp)
	})
	return &mp
}

func TestEditIsServedAndReported(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/a")
	p := start(t, options(m))
	p.await(t, "web:/svc/web=>/a ")
	p.awaitReady(t, 5*time.Second)
	mp := awaitReport(t, ns, func(mp *v1alpha1.MeshProxy) error {
		if mp.Status.DtabRevision != p.Served().Revision {
			return fmt.Errorf("revision %q, serving %q", mp.Status.DtabRevision, p.Served().Revision)
		}
		return nil
	})
	if mp.Spec.MeshUID != string(m.UID) || mp.Spec.NodeName != "node-a" || mp.Status.MeshGeneration != 1 || mp.Status.Since == nil {
		t.Errorf("reported %+v %+v", mp.Spec, mp.Status)
	}
	if o := mp.OwnerReferences; len(o) != 1 || o[0].Kind != "Pod" || o[0].UID != "pod-uid" {
		t.Errorf("owned by %v", o)
	}

	var slowest time.Duration
	for i := range 20 {
		d.Spec.Dentries[0].Dst = fmt.Sprintf("/b/%d", i)
		update(t, d)
		slowest = max(slowest, p.await(t, fmt.Sprintf("web:/svc/web=>/b/%d ", i)))
	}
	if slowest > time.Second {
		t.Errorf("an edit took %v to be served", slowest)
	}
	t.Logf("slowest of 20 edits: %v after the write returned", slowest)
	other := newDtab(t, ns, "zoo", "/z")
	p.await(t, "web:/svc/web=>/b/19 zoo:/svc/zoo=>/z ")
	remove(t, other)
	p.await(t, "web:/svc/web=>/b/19 ")

	// Somebody deletes the report: it comes back with the next edit.
	awaitReport(t, ns, func(mp *v1alpha1.MeshProxy) error {
		if mp.Status.DtabRevision != p.Served().Revision {
			return errors.New("not up to date")
		}
		return nil
	})
	remove(t, mp)
	d.Spec.Dentries[0].Dst = "/c"
	update(t, d)
	awaitReport(t, ns, func(mp *v1alpha1.MeshProxy) error {
		if mp.Status.DtabRevision != p.Served().Revision {
			return errors.New("not up to date")
		}
		return nil
	})
}

// A refusal is logged as an error, with what is served in place of the object, if anything is.
func TestRefusalIsLogged(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/good")
	newDtab(t, ns, "never", "/broken & ")
	o := options(m)
	o.SnapshotDir = t.TempDir()
	logs := make(chan string, 1000)
	o.Log = funcr.New(func(_, args string) { logs <- args }, funcr.Options{})
	p := start(t, o)
	defer p.stop()
	refused := func(name, want string) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for {
			select {
			case line := <-logs:
				if !strings.Contains(line, `"name"="`+name+`"`) {
					continue
				}
				if strings.Contains(line, `"level"=`) || !strings.Contains(line, want) || !strings.Contains(line, `"error"="spec.dentries[0].dst:1:`) {
					t.Errorf("want an error with %q, found %s", want, line)
				}
				return
			case <-deadline:
				t.Fatalf("nothing is logged of %s", name)
			}
		}
	}
	refused("never", "no generation of it is served")
	p.await(t, "web:/svc/web=>/good ")
	d.Spec.Dentries[0].Dst = "/broken & "
	update(t, d)
	refused("web", `its last good generation is served`)
}

func TestLastGoodGenerationIsServed(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/good")
	w, cfg := newWire(t)
	o := options(m)
	o.REST, o.SnapshotDir = cfg, t.TempDir()
	p := start(t, o)
	p.await(t, "web:/svc/web=>/good ")
	good := p.Served()

	d.Spec.Dentries[0].Dst = "/broken & "
	update(t, d)
	eventually(t, "the refusal", 10*time.Second, func() error {
		r := p.Refused()
		if len(r) != 1 || r[0].Generation != 2 || !strings.Contains(r[0].Err.Error(), "spec.dentries[0].dst:1:") {
			return fmt.Errorf("refused %v", r)
		}
		return nil
	})
	newDtab(t, ns, "zoo", "/z") // the others go on
	p.await(t, "web:/svc/web=>/good zoo:/svc/zoo=>/z ")
	awaitReport(t, ns, func(mp *v1alpha1.MeshProxy) error {
		if len(mp.Status.Refused) != 1 || mp.Status.DtabRevision != p.Served().Revision {
			return fmt.Errorf("%+v", mp.Status)
		}
		return nil
	})
	p.stop()

	t.Run("after a restart from the snapshot without the API", func(t *testing.T) {
		w.cut()
		defer w.mend(t)
		again := start(t, o)
		again.await(t, "web:/svc/web=>/good zoo:/svc/zoo=>/z ")
		again.stop()
	})
	t.Run("after a restart from the snapshot with the API", func(t *testing.T) {
		again := start(t, o)
		eventually(t, "the API's answer", 10*time.Second, func() error {
			if len(again.Refused()) != 1 {
				return errors.New("not refused yet")
			}
			return again.Ready()
		})
		again.await(t, "web:/svc/web=>/good zoo:/svc/zoo=>/z ")
		again.stop()
	})
	t.Run("from the ConfigMap alone", func(t *testing.T) {
		o := o
		o.SnapshotDir, o.ConfigDir = t.TempDir(), t.TempDir()
		writeConfigMap(t, o.ConfigDir, good)
		again := start(t, o)
		again.await(t, "web:/svc/web=>/good zoo:/svc/zoo=>/z ")
		again.stop()
	})
	t.Run("a refused generation that was never good is not served", func(t *testing.T) {
		o := o
		o.SnapshotDir = t.TempDir()
		again := start(t, o)
		again.await(t, "zoo:/svc/zoo=>/z ")
		again.stop()
	})
	t.Run("from the ConfigMap in the API when the mounted one is old", func(t *testing.T) {
		old := *good
		old.Dtabs = nil // what was accepted before the Dtab came
		o := o
		o.SnapshotDir, o.ConfigDir = t.TempDir(), t.TempDir()
		writeConfigMap(t, o.ConfigDir, &old)
		stored := &corev1.ConfigMap{Data: map[string]string{v1alpha1.ConfigKey: string(encoded(t, good))}}
		stored.Namespace, stored.Name = ns, v1alpha1.ConfigMapName(m.Name)
		if err := api.Client.Create(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		again := start(t, o)
		again.await(t, "web:/svc/web=>/good zoo:/svc/zoo=>/z ")
		again.stop()
	})
}

func writeConfigMap(t *testing.T, dir string, cfg *config.Config) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, v1alpha1.ConfigKey), encoded(t, cfg), 0o600); err != nil {
		t.Fatal(err)
	}
}

func encoded(t *testing.T, cfg *config.Config) []byte {
	t.Helper()
	var dtabs []*v1alpha1.Dtab
	for _, d := range cfg.Dtabs {
		dtabs = append(dtabs, d.Object)
	}
	data, err := config.Encode(cfg.Mesh.Object, dtabs)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestServesFromDiskWithoutTheAPI(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/a")
	newService(t, ns, "asked", "10.0.0.1")
	newService(t, ns, "never-asked", "10.0.0.2")
	w, cfg := newWire(t)
	o := options(m)
	o.REST, o.SnapshotDir = cfg, t.TempDir()
	p := start(t, o)
	p.await(t, "web:/svc/web=>/a ")
	p.awaitEndpoints(t, ns, "asked", "10.0.0.1:8080 ")
	p.awaitReady(t, 5*time.Second)
	if s := p.stale(); s != 0 {
		t.Errorf("stale for %v with a healthy API server", s)
	}
	eventually(t, "the snapshot, which a killed process leaves", 15*time.Second, func() error {
		snap, err := readSnapshot(o.SnapshotDir)
		if err == nil && len(snap.Endpoints.Slices) < 2 {
			err = errors.New("no endpoints in it")
		}
		return err
	})
	w.cut()
	p.stop()

	began := time.Now()
	again := start(t, o)
	again.await(t, "web:/svc/web=>/a ")
	again.awaitReady(t, 2*time.Second)
	if got := again.endpoints(ns, "never-asked"); got != "10.0.0.2:8080 " {
		t.Errorf("a service that was never asked for is %q", got)
	}
	t.Logf("ready %v after the start", time.Since(began))
	eventually(t, "staleness", 5*time.Second, func() error {
		if again.stale() == 0 {
			return errors.New("not stale")
		}
		return nil
	})
	d.Spec.Dentries[0].Dst = "/b"
	update(t, d)
	w.mend(t)
	again.await(t, "web:/svc/web=>/b ")
	eventually(t, "current again", 20*time.Second, func() error {
		if s := again.stale(); s != 0 {
			return fmt.Errorf("stale for %v", s)
		}
		return again.Ready()
	})
}

// An API server that takes connections and says nothing holds a proxy with a snapshot up for half a second, not for two: kubelets take
// most of the two that a killed proxy has to be back in.
func TestReadyFromDiskWhileTheAPIIsSilent(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	newDtab(t, ns, "web", "/a")
	w, cfg := newWire(t)
	o := options(m)
	o.REST, o.SnapshotDir = cfg, t.TempDir()
	p := start(t, o)
	p.await(t, "web:/svc/web=>/a ")
	p.awaitReady(t, 5*time.Second)
	eventually(t, "the snapshot", 15*time.Second, func() error {
		_, err := readSnapshot(o.SnapshotDir)
		return err
	})
	w.cut()
	p.stop()
	w.silent.Store(true)
	w.mend(t)
	again := start(t, o)
	again.await(t, "web:/svc/web=>/a ")
	again.awaitReady(t, time.Second)
}

func TestNothingOnDiskAndNoAPI(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	newDtab(t, ns, "web", "/a")
	w, cfg := newWire(t)
	o := options(m)
	o.REST, o.ConfigDir, o.SnapshotDir = cfg, t.TempDir(), t.TempDir()
	whole := start(t, o)
	whole.await(t, "web:/svc/web=>/a ")
	whole.stop()
	for name, c := range map[string]struct {
		prepare func(t *testing.T, o *ClusterOptions)
		want    string
	}{
		"nothing": {func(*testing.T, *ClusterOptions) {}, "waiting for the API server"},
		"incomplete": {func(t *testing.T, o *ClusterOptions) {
			writeConfigMap(t, o.ConfigDir, whole.Served())
			if err := os.WriteFile(filepath.Join(o.ConfigDir, v1alpha1.IncompleteConfigKey), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "incomplete"},
		"foreign snapshot": {func(t *testing.T, o *ClusterOptions) {
			documents, err := config.Encode(whole.Served().Mesh.Object, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeSnapshot(o.SnapshotDir, &snapshot{MeshUID: "another", Config: string(documents)}); err != nil {
				t.Fatal(err)
			}
		}, "waiting for the API server"},
		"configuration without endpoints": {func(t *testing.T, o *ClusterOptions) {
			writeConfigMap(t, o.ConfigDir, whole.Served())
		}, "no endpoints are known"},
	} {
		t.Run(name, func(t *testing.T) {
			w.cut()
			o := o
			o.ConfigDir, o.SnapshotDir = t.TempDir(), t.TempDir()
			c.prepare(t, &o)
			p := start(t, o)
			eventually(t, "the reason", 10*time.Second, func() error {
				err := p.Ready()
				if err == nil {
					t.Fatal("ready without anything to serve")
				}
				if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "refused") {
					return err
				}
				return nil
			})
			w.mend(t)
			p.await(t, "web:/svc/web=>/a ")
			p.awaitReady(t, 20*time.Second)
			p.stop()
		})
	}
}

func TestHealsAfterCuts(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/0")
	es := newService(t, ns, "web", "10.0.0.1")
	w, cfg := newWire(t)
	o := options(m)
	o.REST = cfg
	p := start(t, o)
	p.awaitEndpoints(t, ns, "web", "10.0.0.1:8080 ")
	for i := range 3 {
		w.cut()
		d.Spec.Dentries[0].Dst = fmt.Sprintf("/%d", i)
		update(t, d)
		es.Endpoints[0].Addresses[0] = fmt.Sprintf("10.0.1.%d", i)
		update(t, es)
		w.mend(t)
		p.await(t, fmt.Sprintf("web:/svc/web=>/%d ", i))
		p.awaitEndpoints(t, ns, "web", fmt.Sprintf("10.0.1.%d:8080 ", i))
	}
	remove(t, es)
	p.awaitEndpoints(t, ns, "web", "~")
}

func TestReportsWhatIsServedNotWhatIsWanted(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/a")
	p := start(t, options(m))
	p.await(t, "web:/svc/web=>/a ")
	old := p.Served().Revision
	p.fail(errors.New("listen 0.0.0.0:4140: address already in use"))
	d.Spec.Dentries[0].Dst = "/b"
	update(t, d)
	awaitReport(t, ns, func(mp *v1alpha1.MeshProxy) error {
		if len(mp.Status.Refused) != 1 || !strings.Contains(mp.Status.Refused[0].Message, "already in use") {
			return fmt.Errorf("refused %v", mp.Status.Refused)
		}
		if mp.Status.DtabRevision != old {
			t.Fatalf("reports revision %s, serves %s", mp.Status.DtabRevision, old)
		}
		return nil
	})
	p.fail(nil)
	p.await(t, "web:/svc/web=>/b ") // it is tried again without another edit
	awaitReport(t, ns, func(mp *v1alpha1.MeshProxy) error {
		if len(mp.Status.Refused) != 0 || mp.Status.DtabRevision == old {
			return fmt.Errorf("%+v", mp.Status)
		}
		return nil
	})
}

func TestMeshThatIsGoneOrAnother(t *testing.T) {
	ns := namespace(t)
	m := newMesh(t, ns)
	d := newDtab(t, ns, "web", "/a")
	p := start(t, options(m))
	p.await(t, "web:/svc/web=>/a ")
	remove(t, m)
	eventually(t, "the deletion", 10*time.Second, func() error {
		p.Cluster.mu.Lock()
		defer p.Cluster.mu.Unlock()
		if p.state.gone == "" {
			return errors.New("not seen")
		}
		return nil
	})
	newMesh(t, ns) // the same name, another UID
	d.Spec.Dentries[0].Dst = "/b"
	update(t, d)
	eventually(t, "the other UID", 10*time.Second, func() error {
		p.Cluster.mu.Lock()
		defer p.Cluster.mu.Unlock()
		if !strings.Contains(p.state.gone, "another UID") {
			return errors.New(p.state.gone)
		}
		return nil
	})
	p.await(t, "web:/svc/web=>/a ")
	p.awaitReady(t, time.Second)
}
