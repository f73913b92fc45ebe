package controllers

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/controllers/rollup"
)

// A Pod counts as a wanted proxy while it is the DaemonSet's and not on its way out, ready or not.
func TestPodsThatCount(t *testing.T) {
	started := metav1.NewTime(time.Unix(1_000_000, 0))
	now, owner := metav1.Now(), true
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
		ready  bool
	}{
		"ready":        {change: func(*corev1.Pod) {}, want: true, ready: true},
		"not ready":    {change: func(p *corev1.Pod) { p.Status.Conditions = nil }, want: true},
		"about to end": {change: func(p *corev1.Pod) { p.DeletionTimestamp = &now }},
		"failed":       {change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		"succeeded":    {change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }},
		"somebody's":   {change: func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }},
		"nobody's":     {change: func(p *corev1.Pod) { p.OwnerReferences = nil }},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", OwnerReferences: []metav1.OwnerReference{{UID: "daemonset", Controller: &owner}}},
			Spec:       corev1.PodSpec{NodeName: "n"},
			Status: corev1.PodStatus{
				Phase:      corev1.PodRunning,
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{{
					Name: desired.ContainerName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}},
				}},
			},
		}
		c.change(pod)
		got, ok := podOf(pod, "daemonset")
		want := rollup.Pod{}
		if c.want {
			want = rollup.Pod{Name: "p", UID: "u", Node: "n", Ready: c.ready, Started: started.Time}
		}
		if ok != c.want || got != want {
			t.Errorf("%s: %+v, %t; want %+v, %t", name, got, ok, want, c.want)
		}
	}
}
