package rollup

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// maxBalancers is how many balancers a Mesh lists.
const maxBalancers = 20

// MeshInput is what the operator decided about a Mesh.
type MeshInput struct {
	// Object is namespace/name.
	Object     string
	Generation int64
	// Refusal is why Generation is not accepted.
	Refusal *Refusal
	// Accepted is the generation that should be served; 0: none.
	Accepted int64
	Revision string
	// Failure is why a child could not be applied; "": all were.
	Failure string
	// Incomplete is set where the configuration does not fit its ConfigMap: how large it is, and how large it may be.
	Incomplete string
	// Faults tells which faults the accepted generation injects; "": none.
	Faults string
}

// Mesh returns the status of a Mesh. Its conditions have no times yet (Settle).
func (f *Fleet) Mesh(in MeshInput) v1alpha1.MeshStatus {
	status := v1alpha1.MeshStatus{
		ObservedGeneration: in.Generation, AcceptedGeneration: in.Accepted, DtabRevision: in.Revision,
	}
	programmed, short := f.meshProgrammed(in)
	status.Conditions = []metav1.Condition{accepted(in.Generation, in.Refusal), f.available(in), programmed}
	summary := ready(status.Conditions, in.Generation)
	summary = remark(summary, v1alpha1.ReasonFaultsInjected, in.Faults)
	// A proxy that starts without the API server would not become ready, whatever else is wrong.
	summary = remark(summary, v1alpha1.ReasonConfigIncomplete, in.Incomplete)
	status.Conditions = append(status.Conditions, summary)
	if in.Accepted == 0 {
		return status
	}
	status.Summary.Programmed = short
	status.Summary.Nodes = fmt.Sprintf("%d/%d", f.ready, f.total+f.missing)
	status.Balancers = f.balancers()
	f.summarise(&status)
	return status
}

// remark adds what is to be known of a Mesh in any state: the reason where nothing is wrong, else a part of the message.
func remark(ready metav1.Condition, reason, message string) metav1.Condition {
	switch {
	case message == "":
		return ready
	case ready.Status == metav1.ConditionTrue && ready.Message == "":
		return condition(ready.Type, ready.Status, ready.ObservedGeneration, reason, message)
	case ready.Status == metav1.ConditionTrue:
		ready.Reason = reason
	}
	ready.Message = cut(ready.Message+"; "+message, maxMessage)
	return ready
}

func (f *Fleet) available(in MeshInput) metav1.Condition {
	state := func(s metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition(v1alpha1.ConditionAvailable, s, in.Generation, reason, message)
	}
	all := f.total + f.missing
	switch {
	case in.Accepted == 0:
		return state(metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, "there is no accepted generation to run")
	case in.Failure != "":
		return state(metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, in.Failure)
	case f.unknown:
		return state(metav1.ConditionUnknown, v1alpha1.ReasonPending, "the DaemonSet has not been looked at yet")
	case all == 0:
		return state(metav1.ConditionFalse, v1alpha1.ReasonNoNodes, "no node should have a proxy")
	case f.ready == all:
		return state(metav1.ConditionTrue, v1alpha1.ReasonAvailable, fmt.Sprintf("%d/%d proxies are ready", f.ready, all))
	}
	message := fmt.Sprintf("%d/%d proxies are ready", f.ready, all)
	if f.missing > 0 {
		message += ", " + notCreated(f.missing)
	}
	if f.blocked != "" {
		message += ": " + f.blocked
	}
	if len(f.unreachable) > 0 {
		message += ", unreachable: " + list(f.unreachable)
	}
	return state(metav1.ConditionFalse, v1alpha1.ReasonProxiesNotReady, message)
}

// meshProgrammed compares what each live proxy reports with what it should serve.
func (f *Fleet) meshProgrammed(in MeshInput) (metav1.Condition, string) {
	if c := f.unprogrammable(in.Generation, in.Accepted); c != nil {
		return *c, ""
	}
	var behind []straggler
	for _, p := range f.live {
		switch {
		case p.status.MeshGeneration != in.Accepted:
			behind = append(behind, straggler{p.node, fmt.Sprintf("serves generation %d", p.status.MeshGeneration)})
		case p.status.DtabRevision != in.Revision:
			behind = append(behind, straggler{p.node, "serves other rules"})
		}
	}
	return f.programmed(in.Generation, behind, refusal{"Mesh", in.Object, in.Accepted})
}

// unprogrammable returns the condition where there is nothing to count.
func (f *Fleet) unprogrammable(generation, acceptedGeneration int64) *metav1.Condition {
	var c metav1.Condition
	switch {
	case acceptedGeneration == 0:
		c = condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, generation, v1alpha1.ReasonNotAccepted,
			"no generation was accepted yet")
	case f.wanted() == 0 && f.unknown:
		c = condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, generation, v1alpha1.ReasonWaiting,
			"0/0, the DaemonSet has not been looked at yet")
	case f.wanted() == 0:
		_, message, _ := f.tally(nil)
		c = condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, generation, v1alpha1.ReasonNoNodes,
			message+", no node has a proxy that could be asked")
	default:
		return nil
	}
	return &c
}

func (f *Fleet) programmed(generation int64, behind []straggler, skew refusal) (metav1.Condition, string) {
	short, message, complete := f.tally(behind)
	status, reason := metav1.ConditionTrue, v1alpha1.ReasonProgrammed
	if !complete {
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonWaiting
	}
	if s, ok := f.refused[skew]; ok && !complete {
		reason = v1alpha1.ReasonVersionSkew
		message = fmt.Sprintf("%s; the proxy on %s refuses what the operator accepts: %s", message, s.node, s.why)
	}
	return condition(v1alpha1.ConditionProgrammed, status, generation, reason, message), short
}

// balancers merges what proxies say of the same bound name and keeps those that lost most.
func (f *Fleet) balancers() []v1alpha1.BalancerSummary {
	merged := map[string]v1alpha1.BalancerSummary{}
	for _, p := range f.live {
		for _, b := range p.status.Balancers {
			sum, ok := merged[b.Client]
			if !ok {
				sum = v1alpha1.BalancerSummary(b)
			}
			sum.Endpoints, sum.Available = max(sum.Endpoints, b.Endpoints), min(sum.Available, b.Available)
			sum.Ejected = max(sum.Ejected, b.Ejected)
			merged[b.Client] = sum
		}
	}
	out := make([]v1alpha1.BalancerSummary, 0, len(merged))
	for _, b := range merged {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b v1alpha1.BalancerSummary) int {
		return cmp.Or(cmp.Compare(b.Endpoints-b.Available, a.Endpoints-a.Available), cmp.Compare(a.Client, b.Client))
	})
	if len(out) > maxBalancers {
		out = out[:maxBalancers]
	}
	return out
}

// summarise fills the columns of numbers. Balancers and endpoints belong to services, not to proxies, so they are not added up:
// the largest total and the largest loss over proxies count.
func (f *Fleet) summarise(status *v1alpha1.MeshStatus) {
	var balancers, unhealthy int32
	var endpoints, lost int
	for _, p := range f.live {
		t := p.status.Totals
		balancers = max(balancers, t.Balancers)
		unhealthy = max(unhealthy, t.Balancers-t.HealthyBalancers)
		if available, total, ok := fraction(t.Endpoints); ok {
			endpoints, lost = max(endpoints, total), max(lost, total-available)
		}
	}
	if len(f.live) == 0 {
		return
	}
	status.Summary.Balancers = fmt.Sprintf("%d/%d", max(0, balancers-unhealthy), balancers)
	status.Summary.Endpoints = fmt.Sprintf("%d/%d", max(0, endpoints-lost), endpoints)
	if len(status.Balancers) > 0 {
		if w := status.Balancers[0]; w.Available < w.Endpoints || w.Endpoints == 0 {
			failing := ""
			if w.Ejected > 0 {
				failing = fmt.Sprintf(", %d failing", w.Ejected)
			}
			status.Summary.Worst = cut(fmt.Sprintf("%d/%d %s%s", w.Available, w.Endpoints, w.Client, failing), 512)
		}
	}
}

// fraction reads "3/4".
func fraction(text string) (part, whole int, ok bool) {
	a, b, found := strings.Cut(text, "/")
	part, err1 := strconv.Atoi(a)
	whole, err2 := strconv.Atoi(b)
	return part, whole, found && err1 == nil && err2 == nil && part >= 0 && whole >= 0
}

// MeshUrgent returns the part of a status that must not wait for the slow pace of numbers: all but totals, which drift with
// traffic. What was lost stays in it.
func MeshUrgent(status v1alpha1.MeshStatus) v1alpha1.MeshStatus {
	out := *status.DeepCopy()
	if available, total, ok := fraction(out.Summary.Endpoints); ok {
		out.Summary.Endpoints = strconv.Itoa(total - available)
	}
	if healthy, total, ok := fraction(out.Summary.Balancers); ok {
		out.Summary.Balancers = strconv.Itoa(total - healthy)
	}
	out.Balancers = slices.DeleteFunc(out.Balancers, func(b v1alpha1.BalancerSummary) bool { return b.Available >= b.Endpoints })
	if len(out.Balancers) == 0 {
		out.Balancers = nil
	}
	return out
}
