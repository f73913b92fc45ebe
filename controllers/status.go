package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	v1alpha1ac "github.com/fairlead/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/controllers/rollup"
)

// writeMesh applies the status of a Mesh where it differs and the pace allows, and returns when to come again.
func (r *meshReconciler) writeMesh(ctx context.Context, s *meshState, mesh *v1alpha1.Mesh,
	want v1alpha1.MeshStatus) (time.Duration, error) {
	now := r.now()
	have := s.pace.base(mesh.Status, mesh.ResourceVersion, now)
	want.Conditions = rollup.Settle(have.Conditions, want.Conditions, now)
	if equality.Semantic.DeepEqual(have, want) {
		return 0, nil
	}
	numbersOnly := equality.Semantic.DeepEqual(rollup.MeshUrgent(have), rollup.MeshUrgent(want))
	if wait := max(s.pace.wait(numbersOnly, meshWriteEvery, now), s.grace(&have, &want, now)); wait > 0 {
		return wait, nil
	}
	ac := v1alpha1ac.Mesh(mesh.Name, mesh.Namespace).WithUID(mesh.UID).WithStatus(meshStatus(&want))
	if err := r.client.Status().Apply(ctx, ac, client.FieldOwner(desired.StatusFieldOwner), client.ForceOwnership); gone(err) {
		return 0, nil // the event of its end or of its successor is on the way
	} else if err != nil {
		return 0, fmt.Errorf("apply status of mesh %s: %w", client.ObjectKeyFromObject(mesh), err)
	}
	s.pace.wrote(want, mesh.ResourceVersion, now)
	announce(r.events, mesh, have.Conditions, want.Conditions, v1alpha1.ConditionAccepted, v1alpha1.ConditionAvailable)
	return 0, nil
}

// grace returns how long a write must wait that only says that proxies, which served all there was, do not serve what is new yet. They
// take milliseconds for it, and a status that says so at once says so for meshWriteEvery.
func (s *meshState) grace(have, want *v1alpha1.MeshStatus, now time.Time) time.Duration {
	before := meta.FindStatusCondition(have.Conditions, v1alpha1.ConditionProgrammed)
	after := meta.FindStatusCondition(want.Conditions, v1alpha1.ConditionProgrammed)
	news := have.DtabRevision != want.DtabRevision || have.AcceptedGeneration != want.AcceptedGeneration
	if !news || before == nil || before.Status != metav1.ConditionTrue || after == nil || after.Reason != v1alpha1.ReasonWaiting ||
		turnedElsewhere(have.Conditions, want.Conditions) {
		s.newsSince = time.Time{}
		return 0
	}
	if s.newsSince.IsZero() { // further news do not begin it anew
		s.newsSince = now
	}
	return max(0, newsGrace-now.Sub(s.newsSince))
}

// turnedElsewhere reports whether a condition turned that does not follow from Programmed.
func turnedElsewhere(have, want []metav1.Condition) bool {
	for _, c := range want {
		if c.Type == v1alpha1.ConditionProgrammed || c.Type == v1alpha1.ConditionReady {
			continue
		}
		before := meta.FindStatusCondition(have, c.Type)
		if before == nil || before.Status != c.Status || before.Reason != c.Reason {
			return true
		}
	}
	return false
}

// gone reports whether a status could not be applied because its object (of that UID) is no more.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// announce records an event for each of the condition types that turned. The first pass is no turn unless something is wrong.
func announce(recorder events.EventRecorder, object runtime.Object, before, after []metav1.Condition, types ...string) {
	for i := range after {
		c := &after[i]
		known := false
		var last metav1.Condition
		for _, b := range before {
			if b.Type == c.Type {
				last, known = b, true
			}
		}
		wanted := false
		for _, t := range types {
			wanted = wanted || t == c.Type
		}
		bad := c.Status == metav1.ConditionFalse
		turned := known && (last.Status != c.Status ||
			bad && (last.Reason != c.Reason || last.ObservedGeneration != c.ObservedGeneration))
		if !wanted || c.Status == metav1.ConditionUnknown || !turned && (known || !bad) {
			continue
		}
		kind, note := corev1.EventTypeNormal, c.Message
		if bad {
			kind = corev1.EventTypeWarning
		}
		if note == "" {
			note = fmt.Sprintf("generation %d", c.ObservedGeneration)
		}
		recorder.Eventf(object, nil, kind, c.Reason, "Reconcile", "%s=%s: %s", c.Type, c.Status, note)
	}
}

func meshStatus(s *v1alpha1.MeshStatus) *v1alpha1ac.MeshStatusApplyConfiguration {
	out := v1alpha1ac.MeshStatus().WithConditions(conditions(s.Conditions)...).WithObservedGeneration(s.ObservedGeneration)
	if s.AcceptedGeneration != 0 {
		out.WithAcceptedGeneration(s.AcceptedGeneration)
	}
	if s.DtabRevision != "" {
		out.WithDtabRevision(s.DtabRevision)
	}
	if s.Summary != (v1alpha1.MeshSummary{}) {
		out.WithSummary(v1alpha1ac.MeshSummary())
		set(&out.Summary.Nodes, s.Summary.Nodes)
		set(&out.Summary.Programmed, s.Summary.Programmed)
		set(&out.Summary.Balancers, s.Summary.Balancers)
		set(&out.Summary.Endpoints, s.Summary.Endpoints)
		set(&out.Summary.Worst, s.Summary.Worst)
	}
	for _, b := range s.Balancers {
		out.WithBalancers(v1alpha1ac.BalancerSummary().
			WithClient(b.Client).WithEndpoints(b.Endpoints).WithAvailable(b.Available))
	}
	return out
}

func dtabStatus(s *v1alpha1.DtabStatus) *v1alpha1ac.DtabStatusApplyConfiguration {
	out := v1alpha1ac.DtabStatus().WithConditions(conditions(s.Conditions)...).WithObservedGeneration(s.ObservedGeneration)
	if s.AcceptedGeneration != 0 {
		out.WithAcceptedGeneration(s.AcceptedGeneration)
	}
	if s.Summary != (v1alpha1.DtabSummary{}) {
		out.WithSummary(v1alpha1ac.DtabSummary())
		set(&out.Summary.Programmed, s.Summary.Programmed)
		set(&out.Summary.Endpoints, s.Summary.Endpoints)
		set(&out.Summary.Split, s.Summary.Split)
	}
	for _, d := range s.Destinations {
		out.WithDestinations(v1alpha1ac.DestinationStatus().
			WithDentry(d.Dentry).WithDst(d.Dst).WithWeight(d.Weight).
			WithEndpoints(d.Endpoints).WithAvailable(d.Available).WithRequests(d.Requests))
	}
	return out
}

// set states a field only where it has a value: an apply of "" would claim it for nothing.
func set(field **string, value string) {
	if value != "" {
		*field = &value
	}
}

func conditions(list []metav1.Condition) []*metav1ac.ConditionApplyConfiguration {
	out := make([]*metav1ac.ConditionApplyConfiguration, len(list))
	for i, c := range list {
		out[i] = metav1ac.Condition().
			WithType(c.Type).WithStatus(c.Status).WithObservedGeneration(c.ObservedGeneration).
			WithLastTransitionTime(c.LastTransitionTime).WithReason(c.Reason).WithMessage(c.Message)
	}
	return out
}
