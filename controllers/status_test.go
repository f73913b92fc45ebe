package controllers

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// TestFaultsShow: the Mesh itself says that it injects faults, as long as it does.
func TestFaultsShow(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	spec := v1alpha1.MeshSpec{Routers: []v1alpha1.Router{{
		Name: "outgoing", Servers: []v1alpha1.Server{{Port: 4140}},
		Services: []v1alpha1.Service{{Prefix: "/svc/web", Faults: &v1alpha1.Faults{Abort: &v1alpha1.FaultAbort{Percent: 5, Status: 503}}}},
	}}}
	mesh := newMesh(t, ns, "demo", spec)
	f := newFleet(t, mesh, "a")
	f.expectRevision("")
	f.serve("a")
	f.expectProgrammed(mesh, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "1/1")
	expectCondition(t, mesh, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonFaultsInjected)
}

func TestProgrammedTellsTheTruth(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	f := newFleet(t, mesh, "a", "b")
	at := func(name string) string { return ns + "-" + name }
	empty := f.expectRevision("")
	f.serve("a", "b")
	f.expectProgrammed(mesh, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")
	expectCondition(t, mesh, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	// A new Dtab: nobody serves it before both say so.
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: "9 * " + goodRule + " & 1 * " + nextRule})
	f.expectProgrammed(web, metav1.ConditionFalse, v1alpha1.ReasonWaiting, "0/2, waiting for "+at("a")+", "+at("b"))
	f.expectRevision(empty)
	f.serve("a")
	f.expectProgrammed(web, metav1.ConditionFalse, v1alpha1.ReasonWaiting, "1/2, waiting for "+at("b"))
	f.serve("b")
	f.expectProgrammed(web, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")
	f.expectProgrammed(mesh, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")

	// Another Dtab is none of web's business: a proxy on the revision before still serves web.
	newDtab(t, ns, "other", "demo", v1alpha1.Dentry{Prefix: "/svc/other", Dst: "/svc/web"})
	f.expectProgrammed(mesh, metav1.ConditionFalse, v1alpha1.ReasonWaiting,
		fmt.Sprintf("0/2, waiting for %s (serves other rules), %s (serves other rules)", at("a"), at("b")))
	f.expectProgrammed(web, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")
	f.serve("a", "b")
	f.expectProgrammed(mesh, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")

	// A frozen proxy writes nothing; its readiness probe fails.
	started := f.pods["b"].Status.ContainerStatuses[0].State.Running.StartedAt.Time
	f.running("b", false, started)
	frozen := "1/2, waiting for " + at("b") + " (not responding or not ready)"
	f.expectProgrammed(mesh, metav1.ConditionFalse, v1alpha1.ReasonWaiting, frozen)
	f.expectProgrammed(web, metav1.ConditionFalse, v1alpha1.ReasonWaiting, frozen)
	f.running("b", true, started)
	f.expectProgrammed(mesh, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")
	f.expectProgrammed(web, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "2/2")

	// A restarted container has not reported, whatever its predecessor said.
	f.running("b", true, time.Now().Add(2*time.Second))
	f.expectProgrammed(web, metav1.ConditionFalse, v1alpha1.ReasonWaiting,
		"1/2, waiting for "+at("b")+" (has not reported since it restarted)")

	// A node that is gone is nobody's fault.
	f.nodeReady("b", corev1.ConditionUnknown)
	f.expectProgrammed(web, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "1/1, unreachable: "+at("b"))
}

func TestVersionSkew(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	f := newFleet(t, mesh, "a")
	empty := f.expectRevision("")
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule})
	f.report("a", func(s *v1alpha1.MeshProxyStatus) {
		s.MeshGeneration, s.DtabRevision = mesh.Generation, empty
		s.Refused = []v1alpha1.RefusedObject{{Kind: "Dtab", Namespace: ns, Name: "web", Generation: 1, Message: "cannot read it"}}
	})
	c := expectCondition(t, web, v1alpha1.ConditionProgrammed, metav1.ConditionFalse, v1alpha1.ReasonVersionSkew)
	if !strings.Contains(c.Message, ns+"-a") || !strings.Contains(c.Message, "cannot read it") {
		t.Errorf("message names neither node nor reason: %s", c.Message)
	}
}

func TestColumns(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: "9 * " + goodRule + " & 1 * " + nextRule})
	f := newFleet(t, mesh, "a", "b")
	expectCondition(t, web, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	f.expectRevision("")
	report := func(name string, available int32) {
		f.report(name, func(s *v1alpha1.MeshProxyStatus) {
			s.MeshGeneration, s.DtabRevision = mesh.Generation, f.mesh.Status.DtabRevision
			s.Dtabs = []v1alpha1.ProxyDestination{
				{Dtab: ns + "/web", Dst: goodRule, Endpoints: 3, Available: available, Requests: 901, State: "bound"},
				{Dtab: ns + "/web", Dst: nextRule, Endpoints: 1, Available: 1, Requests: 99, State: "bound"},
			}
			s.Balancers = []v1alpha1.ProxyBalancer{{Client: "/%/web-v1", Endpoints: 3, Available: available}}
			s.Totals = v1alpha1.ProxyTotals{Balancers: 2, HealthyBalancers: 1, Endpoints: fmt.Sprintf("%d/4", available+1)}
		})
	}
	report("a", 3)
	report("b", 2) // one proxy lost an endpoint: the worse word counts
	expectCondition(t, web, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	expectCondition(t, mesh, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	expectRow(t, ns, "meshes", map[string]string{
		"Name": "demo", "Ready": "True", "Nodes": "2/2", "Programmed": "2/2", "Balancers": "1/2", "Endpoints": "3/4",
		"Worst": "2/3 /%/web-v1",
	})
	expectRow(t, ns, "dtabs", map[string]string{
		"Name": "web", "Mesh": "demo", "Router": "outgoing", "Ready": "True", "Programmed": "2/2", "Endpoints": "3/4",
		"Split": "90.1%/90% web-v1, 9.9%/10% web-v2",
	})
	expectRow(t, ns, "meshproxies", map[string]string{
		"Name": "demo-proxy-a", "Mesh": "demo", "Node": ns + "-a", "Generation": "1", "Revision": f.mesh.Status.DtabRevision,
	})
	report("a", 1)
	expectRow(t, ns, "dtabs", map[string]string{"Endpoints": "2/4"}) // a loss does not wait for the minute
}

// expectRow waits for the first row that kubectl get -o wide would print of a resource.
func expectRow(t *testing.T, namespace, resource string, want map[string]string) {
	t.Helper()
	config := rest.CopyConfig(api.Config)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/apis", &v1alpha1.GroupVersion, scheme.Codecs.WithoutConversion()
	rc, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "row of "+resource, func() error {
		var table metav1.Table
		if err := rc.Get().Namespace(namespace).Resource(resource).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(t.Context()).Into(&table); err != nil {
			return err
		}
		if len(table.Rows) == 0 {
			return fmt.Errorf("no row")
		}
		got := map[string]string{}
		for i, column := range table.ColumnDefinitions {
			got[column.Name] = fmt.Sprint(table.Rows[0].Cells[i])
		}
		for name, value := range want {
			if got[name] != value {
				return fmt.Errorf("%s is %q, want %q in %v", name, got[name], value, got)
			}
		}
		return nil
	})
}

// TestIdleIsQuiet: once all is said, nothing is written, whatever proxies repeat.
func TestIdleIsQuiet(t *testing.T) {
	o := startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule})
	f := newFleet(t, mesh, "a", "b")
	expectCondition(t, web, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	f.expectRevision("")
	f.serve("a", "b")
	expectCondition(t, web, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	expectCondition(t, mesh, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	settle := 2 * meshWriteEvery
	quiet(t, o, settle) // what follows from the last write

	get(t, mesh)
	get(t, web)
	get(t, f.ds)
	meshVersion, webVersion, dsVersion := mesh.ResourceVersion, web.ResourceVersion, f.ds.ResourceVersion
	o.writes()
	for range 5 { // numbers of traffic change, nothing else
		f.report("a", func(s *v1alpha1.MeshProxyStatus) { s.Totals.Requests += 1000 })
	}
	update(t, f.reports["b"], func() { f.reports["b"].Annotations = map[string]string{"touched": "true"} })
	if sent := quiet(t, o, settle); len(sent) > 0 {
		t.Errorf("writes while nothing changed: %v", sent)
	}
	get(t, mesh)
	get(t, web)
	get(t, f.ds)
	if mesh.ResourceVersion != meshVersion || web.ResourceVersion != webVersion || f.ds.ResourceVersion != dsVersion {
		t.Error("an object changed while nothing did")
	}
}

// quiet returns what the operator writes within a time that is the subject of the test, not a wait for something.
func quiet(t *testing.T, o *operator, d time.Duration) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
	return o.writes()
}

func TestSchemaRefuses(t *testing.T) {
	ns := newNamespace(t)
	object := metav1.ObjectMeta{Namespace: ns, Name: "demo"}
	router := func(change func(*v1alpha1.Router)) v1alpha1.MeshSpec {
		r := v1alpha1.Router{Name: "outgoing", Servers: []v1alpha1.Server{{Port: 4140}}}
		change(&r)
		return v1alpha1.MeshSpec{Routers: []v1alpha1.Router{r}}
	}
	for name, c := range map[string]struct {
		object client.Object
		want   string
	}{
		"long name":   {&v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: strings.Repeat("a", 41)}}, "at most 40 characters"},
		"dotted name": {&v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a.b"}}, "DNS label"},
		"identity":    {&v1alpha1.Mesh{ObjectMeta: object, Spec: v1alpha1.MeshSpec{Identity: &v1alpha1.Reserved{}}}, "not supported yet"},
		"sidecar":     {&v1alpha1.Mesh{ObjectMeta: object, Spec: v1alpha1.MeshSpec{Proxy: v1alpha1.ProxySpec{Mode: "Sidecar"}}}, "not supported yet"},
		"server tls": {&v1alpha1.Mesh{ObjectMeta: object, Spec: router(func(r *v1alpha1.Router) {
			r.Servers[0].TLS = &v1alpha1.Reserved{}
		})}, "not supported yet"},
		"client tls": {&v1alpha1.Mesh{ObjectMeta: object, Spec: router(func(r *v1alpha1.Router) {
			r.Clients = []v1alpha1.Client{{Prefix: "/", TLS: &v1alpha1.Reserved{}}}
		})}, "not supported yet"},
		"unknown kind": {&v1alpha1.Mesh{ObjectMeta: object, Spec: v1alpha1.MeshSpec{Namers: []v1alpha1.Namer{{Kind: "io.l5d.zk"}}}}, "Unsupported value"},
		"namespaces without list": {&v1alpha1.Mesh{ObjectMeta: object, Spec: v1alpha1.MeshSpec{Dtabs: v1alpha1.DtabPolicy{
			Namespaces: []v1alpha1.DtabNamespace{{Name: "shop", Prefixes: []string{"/svc/shop"}}},
		}}}, "needs from: List"},
		"no router": {&v1alpha1.Dtab{ObjectMeta: object, Spec: v1alpha1.DtabSpec{MeshRef: v1alpha1.MeshReference{Name: "demo"}}}, "spec.router"},
		"long dst": {&v1alpha1.Dtab{ObjectMeta: object, Spec: v1alpha1.DtabSpec{
			MeshRef: v1alpha1.MeshReference{Name: "demo"}, Router: "outgoing",
			Dentries: []v1alpha1.Dentry{{Prefix: "/a", Dst: strings.Repeat("/b", 2049)}},
		}}, "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			err := api.Client.Create(t.Context(), c.object)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	report := &v1alpha1.MeshProxy{ObjectMeta: object, Spec: v1alpha1.MeshProxySpec{
		MeshRef: v1alpha1.MeshReference{Name: "demo"}, MeshUID: "u", NodeName: "a",
	}}
	create(t, report)
	report.Spec.NodeName = "b"
	if err := api.Client.Update(t.Context(), report); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("a report moved to another node: %v", err)
	}
}
