package rollup

import (
	"fmt"
	"math"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

const (
	// maxLeaves is how many destinations of a Dtab are looked at; a proxy reports no more over all Dtabs.
	maxLeaves = 200
	// maxDestinations is how many a Dtab lists.
	maxDestinations = 50
	// maxSplit bounds the split column, in bytes.
	maxSplit = 1024
)

// States of a destination as proxies report them.
const (
	stateNeg     = "neg"
	stateFailed  = "failed"
	statePending = "pending"
	stateLoop    = "loop"
)

// Leaf is one destination of one rule.
type Leaf struct {
	Dentry int
	Dst    string
	// Share of the rule's requests that it should get, from 0 to 1: of alternates the first, while it is there.
	Share float64
}

// Leaves returns the destinations of the rules in order, at most 200.
func Leaves(rules *dtab.Rules) []Leaf {
	var out []Leaf
	for i, d := range rules.All() {
		if len(out) == maxLeaves {
			break
		}
		first := len(out)
		walk(d.Dst, 1, func(path dtab.Path, share float64) {
			text := path.String()
			for j := first; j < len(out); j++ {
				if out[j].Dst == text {
					out[j].Share += share
					return
				}
			}
			if len(out) < maxLeaves {
				out = append(out, Leaf{Dentry: i, Dst: text, Share: share})
			}
		})
	}
	return out
}

func walk(t dtab.Tree, share float64, visit func(dtab.Path, float64)) {
	switch t.Kind {
	case dtab.Leaf:
		visit(t.Path, share)
	case dtab.Alt:
		for i, b := range t.Branches {
			if i > 0 {
				share = 0
			}
			walk(b.Tree, share, visit)
		}
	case dtab.Union:
		var sum float64
		for _, b := range t.Branches {
			sum += b.Weight
		}
		for _, b := range t.Branches {
			part := 0.0
			if sum > 0 {
				part = share * b.Weight / sum
			}
			walk(b.Tree, part, visit)
		}
	case dtab.Neg, dtab.Fail, dtab.Empty:
	}
}

// DtabInput is what the operator decided about a Dtab.
type DtabInput struct {
	// Object is namespace/name.
	Object, UID string
	Generation  int64
	// Refusal is why Generation is not accepted.
	Refusal *Refusal
	// Accepted is the generation that should be served; 0: none.
	Accepted int64
	// Leaves of the accepted generation.
	Leaves []Leaf
}

// Dtab returns the status of a Dtab. Its conditions have no times yet (Settle).
func (f *Fleet) Dtab(in DtabInput, revisions *Revisions) v1alpha1.DtabStatus {
	status := v1alpha1.DtabStatus{ObservedGeneration: in.Generation, AcceptedGeneration: in.Accepted}
	programmed, short := f.dtabProgrammed(in, revisions)
	sums := f.destinations(in, revisions)
	status.Conditions = []metav1.Condition{accepted(in.Generation, in.Refusal), resolved(in, sums), programmed}
	status.Conditions = append(status.Conditions, ready(status.Conditions, in.Generation, v1alpha1.ConditionResolvedRefs))
	if in.Accepted == 0 {
		return status
	}
	status.Summary.Programmed = short
	present(&status, in.Leaves, sums)
	return status
}

// Orphan returns the status of a Dtab whose Mesh does not exist.
func Orphan(generation int64, mesh string) v1alpha1.DtabStatus {
	f := NewFleet(Observation{})
	return f.Dtab(DtabInput{
		Generation: generation,
		Refusal:    &Refusal{Reason: v1alpha1.ReasonMeshNotFound, Message: "spec.meshRef: there is no Mesh " + mesh},
	}, &Revisions{})
}

// dtabProgrammed asks the revision that each live proxy reports whether it has the accepted generation.
func (f *Fleet) dtabProgrammed(in DtabInput, revisions *Revisions) (metav1.Condition, string) {
	if c := f.unprogrammable(in.Generation, in.Accepted); c != nil {
		return *c, ""
	}
	var behind []straggler
	for revision, proxies := range f.byRevision {
		if revisions.Holds(revision, in.UID, in.Accepted) {
			continue
		}
		why := ""
		if !revisions.Known(revision) {
			why = "serves unknown rules"
		}
		for _, p := range proxies {
			behind = append(behind, straggler{p.node, why})
		}
	}
	return f.programmed(in.Generation, behind, refusal{"Dtab", in.Object, in.Accepted})
}

// sum is one leaf over all proxies.
type sum struct {
	reports              int
	endpoints, available int32
	requests             int64
	state                string
}

// destinations folds what live proxies that serve the accepted generation say. The key is dentry and dst.
func (f *Fleet) destinations(in DtabInput, revisions *Revisions) map[Leaf]*sum {
	sums := map[Leaf]*sum{}
	for _, s := range f.seen[in.Object] {
		if !revisions.Holds(s.revision, in.UID, in.Accepted) {
			continue
		}
		d := s.destination
		key := Leaf{Dentry: int(d.Dentry), Dst: d.Dst}
		t, ok := sums[key]
		if !ok {
			t = &sum{available: math.MaxInt32}
			sums[key] = t
		}
		t.reports++
		t.endpoints, t.available = max(t.endpoints, d.Endpoints), min(t.available, d.Available)
		t.requests += d.Requests
		if severity(d.State) > severity(t.state) {
			t.state = d.State
		}
	}
	return sums
}

func severity(state string) int {
	switch state {
	case statePending:
		return 1
	case stateNeg:
		return 2
	case stateFailed:
		return 3
	case stateLoop:
		return 4
	}
	return 0
}

func resolved(in DtabInput, sums map[Leaf]*sum) metav1.Condition {
	state := func(s metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition(v1alpha1.ConditionResolvedRefs, s, in.Generation, reason, message)
	}
	var pending, known int
	for _, leaf := range in.Leaves {
		t, ok := sums[Leaf{Dentry: leaf.Dentry, Dst: leaf.Dst}]
		if !ok {
			continue
		}
		known++
		at := fmt.Sprintf("spec.dentries[%d].dst: %s", leaf.Dentry, leaf.Dst)
		switch t.state {
		case stateNeg:
			return state(metav1.ConditionFalse, v1alpha1.ReasonUnresolved, at+" does not exist")
		case stateFailed:
			return state(metav1.ConditionFalse, v1alpha1.ReasonUnresolved, at+" cannot be resolved")
		case stateLoop:
			return state(metav1.ConditionFalse, v1alpha1.ReasonLoop, at+" leads back to itself")
		case statePending:
			pending++
		}
	}
	switch {
	case in.Accepted == 0:
		return state(metav1.ConditionUnknown, v1alpha1.ReasonPending, "no generation was accepted yet")
	case len(in.Leaves) > 0 && known == 0:
		return state(metav1.ConditionUnknown, v1alpha1.ReasonPending, "no proxy has reported these destinations yet")
	case pending > 0:
		return state(metav1.ConditionUnknown, v1alpha1.ReasonPending, "destinations are being looked up")
	}
	return state(metav1.ConditionTrue, v1alpha1.ReasonResolved, "")
}

// present fills the columns and the list of destinations.
func present(status *v1alpha1.DtabStatus, leaves []Leaf, sums map[Leaf]*sum) {
	perRule := map[int]int64{}
	for key, t := range sums {
		perRule[key.Dentry] += t.requests
	}
	var endpoints, available int64
	var split []string
	for _, leaf := range leaves {
		t, ok := sums[Leaf{Dentry: leaf.Dentry, Dst: leaf.Dst}]
		if !ok {
			continue
		}
		endpoints += int64(t.endpoints)
		available += int64(t.available)
		split = append(split, splitText(leaf, t.requests, perRule[leaf.Dentry]))
		if len(status.Destinations) < maxDestinations {
			status.Destinations = append(status.Destinations, v1alpha1.DestinationStatus{
				Dentry: int32(leaf.Dentry), Dst: leaf.Dst, Weight: int32(math.Round(leaf.Share * 1000)),
				Endpoints: t.endpoints, Available: t.available, Requests: rounded(t.requests),
			})
		}
	}
	if len(split) == 0 {
		return
	}
	status.Summary.Endpoints = fmt.Sprintf("%d/%d", available, endpoints)
	status.Summary.Split = cut(strings.Join(split, ", "), maxSplit)
}

// splitText returns "90.1%/90% web-v1": the share seen beside the share asked for.
func splitText(leaf Leaf, requests, all int64) string {
	seen := "-"
	if all > 0 {
		seen = percent(float64(requests) / float64(all))
	}
	return seen + "/" + percent(leaf.Share) + " " + leaf.Dst[strings.LastIndexByte(leaf.Dst, '/')+1:]
}

// percent shows one decimal where it is not zero.
func percent(share float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", share*100), ".0") + "%"
}

// rounded keeps two digits that count: more would only make writes.
func rounded(n int64) int64 {
	step := int64(1)
	for n/step >= 100 {
		step *= 10
	}
	return (n + step/2) / step * step
}

// DtabUrgent returns the part of a status that must not wait for the slow pace of numbers: all but counts of requests.
func DtabUrgent(status v1alpha1.DtabStatus) v1alpha1.DtabStatus {
	out := *status.DeepCopy()
	out.Summary.Split = ""
	for i := range out.Destinations {
		out.Destinations[i].Requests = 0
	}
	return out
}
