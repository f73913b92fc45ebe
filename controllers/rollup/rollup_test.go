package rollup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

func started() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// pod is a ready Pod on node-<n>.
func pod(n string) Pod {
	return Pod{Name: "p-" + n, UID: "uid-" + n, Node: "node-" + n, Ready: true, Started: started()}
}

// report is that of the Pod p-<n>, on generation 1 and the revision.
func report(n, revision string) *v1alpha1.MeshProxy {
	since := metav1.NewTime(started().Add(time.Second))
	return &v1alpha1.MeshProxy{
		ObjectMeta: metav1.ObjectMeta{Name: "p-" + n, OwnerReferences: []metav1.OwnerReference{{Kind: "Pod", Name: "p-" + n, UID: types.UID("uid-" + n)}}},
		Status:     v1alpha1.MeshProxyStatus{MeshGeneration: 1, DtabRevision: revision, Since: &since},
	}
}

// three is an observation of three proxies on the revision.
func three(revision string) Observation {
	o := Observation{Desired: 3, ReadyNodes: map[string]bool{}, Reports: map[string]*v1alpha1.MeshProxy{}}
	for _, n := range []string{"a", "b", "c"} {
		o.Pods = append(o.Pods, pod(n))
		o.ReadyNodes["node-"+n] = true
		r := report(n, revision)
		o.Reports[r.Name] = r
	}
	return o
}

func find(t *testing.T, list []metav1.Condition, kind string) metav1.Condition {
	t.Helper()
	for _, c := range list {
		if c.Type == kind {
			return c
		}
	}
	t.Fatalf("no condition %s in %v", kind, list)
	return metav1.Condition{}
}

func revisions() *Revisions {
	var r Revisions
	r.Add("old", []config.Member{{UID: "web", Generation: 1}})
	r.Add("new", []config.Member{{UID: "web", Generation: 2}, {UID: "other", Generation: 1}})
	return &r
}

func TestMeshProgrammed(t *testing.T) {
	in := MeshInput{Object: "ns/demo", Generation: 1, Accepted: 1, Revision: "new"}
	for name, c := range map[string]struct {
		change  func(*Observation, *MeshInput)
		status  metav1.ConditionStatus
		reason  string
		message string
	}{
		"all":            {func(*Observation, *MeshInput) {}, "True", "Programmed", "3/3"},
		"other rules":    {func(o *Observation, _ *MeshInput) { o.Reports["p-b"].Status.DtabRevision = "old" }, "False", "Waiting", "2/3, waiting for node-b (serves other rules)"},
		"old generation": {func(_ *Observation, in *MeshInput) { in.Accepted, in.Generation = 2, 2 }, "False", "Waiting", "0/3, waiting for node-a (serves generation 1), node-b (serves generation 1), node-c (serves generation 1)"},
		"frozen":         {func(o *Observation, _ *MeshInput) { o.Pods[1].Ready = false }, "False", "Waiting", "2/3, waiting for node-b (not responding or not ready)"},
		"not started":    {func(o *Observation, _ *MeshInput) { o.Pods[1].Ready, o.Pods[1].Started = false, time.Time{} }, "False", "Waiting", "2/3, waiting for node-b (not started)"},
		"silent":         {func(o *Observation, _ *MeshInput) { delete(o.Reports, "p-b") }, "False", "Waiting", "2/3, waiting for node-b (has not reported)"},
		"report of an earlier Pod of that name": {func(o *Observation, _ *MeshInput) { o.Pods[1].UID = "next" }, "False", "Waiting",
			"2/3, waiting for node-b (has not reported)"},
		"report from before the restart": {func(o *Observation, _ *MeshInput) { o.Pods[1].Started = started().Add(2 * time.Second) }, "False", "Waiting",
			"2/3, waiting for node-b (has not reported since it restarted)"},
		"report in the second of the start": {func(o *Observation, _ *MeshInput) { o.Pods[1].Started = started().Add(time.Second) }, "True", "Programmed", "3/3"},
		"report without a time":             {func(o *Observation, _ *MeshInput) { o.Reports["p-b"].Status.Since = nil }, "False", "Waiting", "2/3, waiting for node-b (has not reported since it restarted)"},
		"unreachable":                       {func(o *Observation, _ *MeshInput) { o.ReadyNodes["node-b"] = false }, "True", "Programmed", "2/2, unreachable: node-b"},
		"not created": {func(o *Observation, _ *MeshInput) { o.Pods = o.Pods[:2]; o.Blocked = "forbidden" }, "False", "Waiting",
			"2/3, 1 Pod not created (forbidden)"},
		"none yet":       {func(o *Observation, _ *MeshInput) { *o = Observation{Desired: -1} }, "False", "Waiting", "0/0, the DaemonSet has not been looked at yet"},
		"no nodes":       {func(o *Observation, _ *MeshInput) { *o = Observation{} }, "False", "NoNodes", "0/0, no node has a proxy that could be asked"},
		"never accepted": {func(_ *Observation, in *MeshInput) { in.Accepted = 0 }, "False", "NotAccepted", "no generation was accepted yet"},
		"skew": {func(o *Observation, _ *MeshInput) {
			o.Reports["p-b"].Status.MeshGeneration = 0
			o.Reports["p-b"].Status.Refused = []v1alpha1.RefusedObject{{Kind: "Mesh", Namespace: "ns", Name: "demo", Generation: 1, Message: "odd"}}
		}, "False", "VersionSkew", "2/3, waiting for node-b (serves generation 0); the proxy on node-b refuses what the operator accepts: odd"},
	} {
		t.Run(name, func(t *testing.T) {
			o, in := three("new"), in
			c.change(&o, &in)
			got := find(t, NewFleet(o).Mesh(in).Conditions, v1alpha1.ConditionProgrammed)
			want := condition(v1alpha1.ConditionProgrammed, c.status, in.Generation, c.reason, c.message)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessageIsBounded(t *testing.T) {
	o := Observation{Desired: 500, ReadyNodes: map[string]bool{}}
	for i := range 500 {
		p := pod(fmt.Sprintf("%03d", i))
		o.ReadyNodes[p.Node] = true
		o.Pods = append(o.Pods, p)
	}
	got := find(t, NewFleet(o).Mesh(MeshInput{Generation: 1, Accepted: 1}).Conditions, v1alpha1.ConditionProgrammed).Message
	want := "0/500, waiting for node-000 (has not reported), node-001 (has not reported), node-002 (has not reported) and 497 more"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMeshAvailableAndReady(t *testing.T) {
	in := MeshInput{Object: "ns/demo", Generation: 1, Accepted: 1, Revision: "new"}
	for name, c := range map[string]struct {
		change                                                func(*Observation, *MeshInput)
		available, availableReason, ready, readyReason, nodes string
	}{
		"all":         {func(*Observation, *MeshInput) {}, "True", "Available", "True", "Ready", "3/3"},
		"one down":    {func(o *Observation, _ *MeshInput) { o.Pods[0].Ready = false }, "False", "ProxiesNotReady", "False", "ProxiesNotReady", "2/3"},
		"unreachable": {func(o *Observation, _ *MeshInput) { o.ReadyNodes["node-b"] = false }, "False", "ProxiesNotReady", "False", "ProxiesNotReady", "2/3"},
		"not applied": {func(_ *Observation, in *MeshInput) { in.Failure = "no" }, "False", "ApplyFailed", "False", "ApplyFailed", "3/3"},
		"incomplete":  {func(_ *Observation, in *MeshInput) { in.Incomplete = "too large" }, "True", "Available", "True", "ConfigIncomplete", "3/3"},
		"refused":     {func(_ *Observation, in *MeshInput) { in.Refusal = &Refusal{"Invalid", "bad"} }, "True", "Available", "False", "Invalid", "3/3"},
		"no nodes":    {func(o *Observation, _ *MeshInput) { *o = Observation{} }, "False", "NoNodes", "False", "NoNodes", "0/0"},
	} {
		t.Run(name, func(t *testing.T) {
			o, in := three("new"), in
			c.change(&o, &in)
			s := NewFleet(o).Mesh(in)
			a, r := find(t, s.Conditions, v1alpha1.ConditionAvailable), find(t, s.Conditions, v1alpha1.ConditionReady)
			got := []string{string(a.Status), a.Reason, string(r.Status), r.Reason, s.Summary.Nodes}
			want := []string{c.available, c.availableReason, c.ready, c.readyReason, c.nodes}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFaultsAreSaid: who looks at a Mesh sees that it injects faults, whatever else there is to say.
func TestFaultsAreSaid(t *testing.T) {
	const faults = "faults are injected: router outgoing, /svc/web: 503 for 5 %"
	in := MeshInput{Object: "ns/demo", Generation: 1, Accepted: 1, Revision: "new", Faults: faults}
	for _, c := range []struct {
		change          func(*Observation, *MeshInput)
		status          metav1.ConditionStatus
		reason, message string
	}{
		{func(*Observation, *MeshInput) {}, metav1.ConditionTrue, v1alpha1.ReasonFaultsInjected, faults},
		{func(_ *Observation, in *MeshInput) { in.Incomplete = "too large" }, metav1.ConditionTrue, v1alpha1.ReasonConfigIncomplete, faults + "; too large"},
		{func(o *Observation, _ *MeshInput) { o.Pods[0].Ready = false }, metav1.ConditionFalse, v1alpha1.ReasonProxiesNotReady, "2/3 proxies are ready; " + faults},
	} {
		o, in := three("new"), in
		c.change(&o, &in)
		r := find(t, NewFleet(o).Mesh(in).Conditions, v1alpha1.ConditionReady)
		if r.Status != c.status || r.Reason != c.reason || r.Message != c.message {
			t.Errorf("%s %s: %q, want %s %s: %q", r.Status, r.Reason, r.Message, c.status, c.reason, c.message)
		}
	}
}

// TestIncompleteIsSaidInAnyState: another reason does not hide that a proxy could not start without the API server.
func TestIncompleteIsSaidInAnyState(t *testing.T) {
	o := three("new")
	o.Pods[0].Ready = false
	s := NewFleet(o).Mesh(MeshInput{Object: "ns/demo", Generation: 1, Accepted: 1, Revision: "new", Incomplete: "1000000 bytes"})
	r := find(t, s.Conditions, v1alpha1.ConditionReady)
	if r.Reason != v1alpha1.ReasonProxiesNotReady || !strings.HasSuffix(r.Message, "; 1000000 bytes") {
		t.Errorf("%s: %s", r.Reason, r.Message)
	}
}

func TestDtabProgrammedPerMember(t *testing.T) {
	for name, c := range map[string]struct {
		in       DtabInput
		revision [3]string
		want     string
	}{
		"all on the newest":              {DtabInput{UID: "web", Accepted: 2}, [3]string{"new", "new", "new"}, "True 3/3"},
		"one behind":                     {DtabInput{UID: "web", Accepted: 2}, [3]string{"new", "old", "new"}, "False 2/3, waiting for node-b"},
		"unknown is not programmed":      {DtabInput{UID: "web", Accepted: 2}, [3]string{"new", "new", "what"}, "False 2/3, waiting for node-c (serves unknown rules)"},
		"an old revision has it as well": {DtabInput{UID: "web", Accepted: 1}, [3]string{"old", "old", "old"}, "True 3/3"},
		"not a member of what is served": {DtabInput{UID: "other", Accepted: 1}, [3]string{"new", "old", "old"}, "False 1/3, waiting for node-b, node-c"},
		"nothing was accepted":           {DtabInput{UID: "web"}, [3]string{"new", "new", "new"}, "False no generation was accepted yet"},
	} {
		t.Run(name, func(t *testing.T) {
			o := three("")
			for i, n := range []string{"p-a", "p-b", "p-c"} {
				o.Reports[n].Status.DtabRevision = c.revision[i]
			}
			got := find(t, NewFleet(o).Dtab(c.in, revisions()).Conditions, v1alpha1.ConditionProgrammed)
			if text := string(got.Status) + " " + got.Message; text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
		})
	}
}

func parse(t *testing.T, dsts ...string) *dtab.Rules {
	t.Helper()
	var rules dtab.Dtab
	for _, dst := range dsts {
		d, err := dtab.ParseDentry("/svc/web", dst)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, d)
	}
	return dtab.RulesOf(rules)
}

func TestLeaves(t *testing.T) {
	got := Leaves(parse(t, "9 * /a & 1 * /b", "3 * (/x & /y) & /x | /z | ~"))
	want := []Leaf{{0, "/a", 0.9}, {0, "/b", 0.1}, {1, "/x", 0.625}, {1, "/y", 0.375}, {1, "/z", 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := Leaves(parse(t, strings.Repeat("/a & ", 0)+"/a")); len(got) != 1 || got[0].Share != 1 {
		t.Errorf("one leaf: %v", got)
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("/n/%d", i)
	}
	if got := Leaves(parse(t, many...)); len(got) != maxLeaves {
		t.Errorf("%d leaves", len(got))
	}
}

func TestDtabNumbers(t *testing.T) {
	o := three("new")
	see := func(n string, endpoints, available int32, requests int64, state string) {
		o.Reports[n].Status.Dtabs = append(o.Reports[n].Status.Dtabs, v1alpha1.ProxyDestination{
			Dtab: "ns/web", Dst: "/a", Endpoints: endpoints, Available: available, Requests: requests, State: state,
		}, v1alpha1.ProxyDestination{Dtab: "ns/web", Dst: "/b", Endpoints: 1, Available: 1, Requests: 33, State: "bound"})
	}
	see("p-a", 3, 3, 500, "bound")
	see("p-b", 4, 2, 401, "bound")
	see("p-c", 9, 0, 999, "neg")
	o.Pods[2].Ready = false // its word does not count
	in := DtabInput{Object: "ns/web", UID: "web", Generation: 2, Accepted: 2, Leaves: Leaves(parse(t, "9 * /a & 1 * /b"))}
	s := NewFleet(o).Dtab(in, revisions())
	if diff := cmp.Diff(v1alpha1.DtabSummary{Programmed: "2/3", Endpoints: "3/5", Split: "93.2%/90% a, 6.8%/10% b"}, s.Summary); diff != "" {
		t.Error(diff)
	}
	want := []v1alpha1.DestinationStatus{
		{Dst: "/a", Weight: 900, Endpoints: 4, Available: 2, Requests: 900},
		{Dst: "/b", Weight: 100, Endpoints: 1, Available: 1, Requests: 66},
	}
	if diff := cmp.Diff(want, s.Destinations); diff != "" {
		t.Error(diff)
	}
	if c := find(t, s.Conditions, v1alpha1.ConditionResolvedRefs); c.Status != metav1.ConditionTrue {
		t.Errorf("ResolvedRefs: %+v", c)
	}
	for state, reason := range map[string]string{"neg": "Unresolved", "failed": "Unresolved", "loop": "Loop", "pending": "Pending"} {
		o.Reports["p-a"].Status.Dtabs[0].State = state
		if c := find(t, NewFleet(o).Dtab(in, revisions()).Conditions, v1alpha1.ConditionResolvedRefs); c.Reason != reason {
			t.Errorf("%s: %+v", state, c)
		}
	}
	in.Accepted = 1 // what they say is about other rules
	if s := NewFleet(o).Dtab(in, revisions()); s.Summary.Endpoints != "" || s.Destinations != nil {
		t.Errorf("numbers of another generation: %+v", s)
	}
}

func TestUrgent(t *testing.T) {
	dtabStatus := func(requests int64, available int32) v1alpha1.DtabStatus {
		return v1alpha1.DtabStatus{
			Summary:      v1alpha1.DtabSummary{Split: fmt.Sprint(requests), Endpoints: fmt.Sprint(available)},
			Destinations: []v1alpha1.DestinationStatus{{Dst: "/a", Requests: requests, Available: available}},
		}
	}
	if !cmp.Equal(DtabUrgent(dtabStatus(1, 3)), DtabUrgent(dtabStatus(2, 3))) {
		t.Error("requests are urgent")
	}
	if cmp.Equal(DtabUrgent(dtabStatus(1, 3)), DtabUrgent(dtabStatus(1, 2))) {
		t.Error("a lost endpoint is not urgent")
	}
	mesh := func(endpoints, balancers string) v1alpha1.MeshStatus {
		return v1alpha1.MeshStatus{Summary: v1alpha1.MeshSummary{Endpoints: endpoints, Balancers: balancers}}
	}
	if !cmp.Equal(MeshUrgent(mesh("9/10", "3/4")), MeshUrgent(mesh("19/20", "7/8"))) {
		t.Error("totals are urgent")
	}
	if cmp.Equal(MeshUrgent(mesh("9/10", "3/4")), MeshUrgent(mesh("8/10", "3/4"))) {
		t.Error("a lost endpoint is not urgent")
	}
}

func TestRevisionsAreBounded(t *testing.T) {
	var r Revisions
	for i := range 300 {
		r.Add(fmt.Sprint(i), []config.Member{{UID: "web", Generation: int64(i)}})
		r.Add(fmt.Sprint(i), nil)
	}
	if r.Known("43") || !r.Known("44") || !r.Holds("299", "web", 299) || len(r.members) != maxRevisions || len(r.order) != maxRevisions {
		t.Errorf("%d remembered", len(r.members))
	}
	r.Add("44", nil) // again the newest
	r.Add("300", nil)
	if !r.Known("44") || r.Known("45") {
		t.Error("a revision that is served again was forgotten first")
	}
}

func TestSettle(t *testing.T) {
	before := []metav1.Condition{{Type: "A", Status: "True", LastTransitionTime: metav1.NewTime(started())}}
	now := started().Add(time.Hour)
	got := Settle(before, []metav1.Condition{{Type: "A", Status: "True", Message: "new"}, {Type: "B", Status: "True"}}, now)
	if !got[0].LastTransitionTime.Time.Equal(started()) || !got[1].LastTransitionTime.Time.Equal(now) {
		t.Errorf("times: %v", got)
	}
	got = Settle(before, []metav1.Condition{{Type: "A", Status: "False"}}, now)
	if !got[0].LastTransitionTime.Time.Equal(now) {
		t.Errorf("turned, but not now: %v", got)
	}
}

// TestStatusIsBounded: 500 proxies that report all they may.
func TestStatusIsBounded(t *testing.T) {
	o := Observation{Desired: 500, ReadyNodes: map[string]bool{}, Reports: map[string]*v1alpha1.MeshProxy{}}
	for i := range 500 {
		n := fmt.Sprint(i)
		o.Pods = append(o.Pods, pod(n))
		o.ReadyNodes["node-"+n] = true
		r := report(n, "new")
		for j := range 20 {
			r.Status.Balancers = append(r.Status.Balancers, v1alpha1.ProxyBalancer{Client: fmt.Sprintf("/%%/%d/%d", i, j), Endpoints: 9})
		}
		for j := range 200 {
			r.Status.Dtabs = append(r.Status.Dtabs, v1alpha1.ProxyDestination{Dtab: "ns/web", Dentry: int32(j), Dst: fmt.Sprintf("/%d/%d", i, j)})
		}
		o.Reports[r.Name] = r
	}
	f := NewFleet(o)
	if got := f.Mesh(MeshInput{Generation: 1, Accepted: 1, Revision: "new"}); len(got.Balancers) != maxBalancers {
		t.Errorf("%d balancers", len(got.Balancers))
	}
	many := make([]Leaf, 200)
	for j := range many {
		many[j] = Leaf{Dentry: j, Dst: fmt.Sprintf("/7/%d", j)}
	}
	got := f.Dtab(DtabInput{Object: "ns/web", UID: "web", Accepted: 2, Leaves: many}, revisions())
	if len(got.Destinations) != maxDestinations || len(got.Summary.Split) > maxSplit {
		t.Errorf("%d destinations, split of %d bytes", len(got.Destinations), len(got.Summary.Split))
	}
}
