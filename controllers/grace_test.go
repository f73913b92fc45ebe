package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// After an edit proxies have a second before the Mesh says that it waits for them; nothing else waits.
func TestGraceForWhatIsNew(t *testing.T) {
	status := func(revision string, programmed metav1.ConditionStatus, programmedReason, acceptedReason string) *v1alpha1.MeshStatus {
		return &v1alpha1.MeshStatus{DtabRevision: revision, Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: acceptedReason},
			{Type: v1alpha1.ConditionProgrammed, Status: programmed, Reason: programmedReason},
			{Type: v1alpha1.ConditionReady, Status: programmed, Reason: programmedReason},
		}}
	}
	served := status("old", metav1.ConditionTrue, v1alpha1.ReasonProgrammed, v1alpha1.ReasonAccepted)
	waiting := status("new", metav1.ConditionFalse, v1alpha1.ReasonWaiting, v1alpha1.ReasonAccepted)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		have, want *v1alpha1.MeshStatus
		grace      time.Duration
	}{
		"new rules, not served yet":       {served, waiting, newsGrace},
		"new rules, served":               {served, status("new", metav1.ConditionTrue, v1alpha1.ReasonProgrammed, v1alpha1.ReasonAccepted), 0},
		"a proxy is stuck with old rules": {served, status("old", metav1.ConditionFalse, v1alpha1.ReasonWaiting, v1alpha1.ReasonAccepted), 0},
		"a proxy refuses them":            {served, status("new", metav1.ConditionFalse, v1alpha1.ReasonVersionSkew, v1alpha1.ReasonAccepted), 0},
		"the Mesh is invalid too":         {served, status("new", metav1.ConditionFalse, v1alpha1.ReasonWaiting, v1alpha1.ReasonInvalid), 0},
		"said already":                    {waiting, status("newer", metav1.ConditionFalse, v1alpha1.ReasonWaiting, v1alpha1.ReasonAccepted), 0},
		"nothing said yet":                {&v1alpha1.MeshStatus{}, waiting, 0},
	} {
		if got := new(meshState).grace(c.have, c.want, begin); got != c.grace {
			t.Errorf("%s: %s, want %s", name, got, c.grace)
		}
	}

	// Edits without end do not put it off.
	s := new(meshState)
	s.grace(served, waiting, begin)
	newer := status("newer", metav1.ConditionFalse, v1alpha1.ReasonWaiting, v1alpha1.ReasonAccepted)
	if got := s.grace(served, newer, begin.Add(newsGrace/2)); got != newsGrace/2 {
		t.Errorf("after half of it, with further news: %s", got)
	}
	if got := s.grace(served, newer, begin.Add(newsGrace)); got != 0 {
		t.Errorf("after all of it: %s", got)
	}
	s.grace(served, served, begin.Add(2*newsGrace)) // served: what comes next has its own
	if got := s.grace(served, waiting, begin.Add(3*newsGrace)); got != newsGrace {
		t.Errorf("after it was served: %s", got)
	}
}
