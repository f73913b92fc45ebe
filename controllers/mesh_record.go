package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/controllers/rollup"
	"github.com/fairlead/fairlead/proxy/config"
)

// blockedEvery is how often the events of a DaemonSet that lacks Pods are looked at.
const blockedEvery = 30 * time.Second

// record folds what proxies say and writes the status of the Mesh, with what went wrong at applying its children. It returns when
// to look again.
func (r *meshReconciler) record(ctx context.Context, s *meshState, in *inputs, applyErr error) (time.Duration, error) {
	seen, err := r.observeProxies(ctx, s, in.mesh)
	if err != nil {
		return 0, err
	}
	fleet := rollup.NewFleet(seen)
	if err := r.judgeDtabs(ctx, s, in, fleet); err != nil {
		return 0, err
	}
	input := s.meshInput(in.mesh)
	if applyErr != nil {
		input.Failure = applyErr.Error()
	}
	wait, err := r.writeMesh(ctx, s, in.mesh, fleet.Mesh(input))
	if seen.Desired > len(seen.Pods) && (wait == 0 || wait > blockedEvery) {
		wait = blockedEvery
	}
	return wait, err
}

func (s *meshState) meshInput(mesh *v1alpha1.Mesh) rollup.MeshInput {
	in := rollup.MeshInput{
		Object: client.ObjectKeyFromObject(mesh).String(), Generation: mesh.Generation, Refusal: s.conflict,
	}
	if s.refusal != nil {
		in.Refusal = refusalOf(s.refusal)
	}
	if s.accepted == nil || s.config == nil {
		return in
	}
	in.Accepted, in.Revision = s.accepted.Generation, s.config.Revision
	if faults := s.accepted.Faults(); faults != "" {
		in.Faults = "faults are injected: " + faults
	}
	if c := s.content; c.Incomplete {
		in.Incomplete = fmt.Sprintf("the configuration has %d bytes, %d packed; the ConfigMap holds at most %d: "+
			"it holds the Mesh alone, so proxies cannot start while the API server is away", c.Size, c.Compressed, desired.MaxConfigBytes)
	}
	return in
}

func refusalOf(err *config.Error) *rollup.Refusal {
	return &rollup.Refusal{Reason: err.Reason, Message: err.Error()}
}

// judgeDtabs makes the status of every Dtab of the mesh.
func (r *meshReconciler) judgeDtabs(ctx context.Context, s *meshState, in *inputs, fleet *rollup.Fleet) error {
	mesh := client.ObjectKeyFromObject(in.mesh)
	for i := range in.dtabs {
		object := &in.dtabs[i]
		input, ok := s.dtabInput(object)
		if !ok {
			continue
		}
		v := verdict{uid: object.UID, mesh: mesh, status: fleet.Dtab(input, &s.revisions)}
		if err := r.judge(ctx, object, v); err != nil {
			return err
		}
	}
	return nil
}

// dtabInput returns what was decided about a Dtab; false while the cache shows an old generation of it.
func (s *meshState) dtabInput(object *v1alpha1.Dtab) (rollup.DtabInput, bool) {
	key := client.ObjectKeyFromObject(object)
	in := rollup.DtabInput{Object: key.String(), UID: string(object.UID), Generation: object.Generation}
	if s.accepted == nil {
		in.Refusal = &rollup.Refusal{
			Reason:  v1alpha1.ReasonMeshNotAccepted,
			Message: "spec.meshRef: no generation of the Mesh " + meshOfDtab(object).String() + " was accepted yet",
		}
		return in, true
	}
	d := s.dtabs[key]
	if d == nil || d.tried != object.Generation {
		return in, false
	}
	if d.refusal != nil {
		in.Refusal = refusalOf(d.refusal)
	}
	if d.current == nil {
		return in, true
	}
	if err := s.tail[d.current.UID]; err != nil {
		in.Refusal = refusalOf(err)
		return in, true
	}
	in.Accepted, in.Leaves = d.current.Generation, d.leaves
	return in, true
}

// observeProxies reads Pods, nodes, reports and the DaemonSet of a mesh.
func (r *meshReconciler) observeProxies(ctx context.Context, s *meshState, mesh *v1alpha1.Mesh) (rollup.Observation, error) {
	o := rollup.Observation{Desired: -1, ReadyNodes: map[string]bool{}, Reports: map[string]*v1alpha1.MeshProxy{}}
	var daemonSet appsv1.DaemonSet
	key := types.NamespacedName{Namespace: mesh.Namespace, Name: desired.ProxyObject(mesh.Name)}
	if err := r.client.Get(ctx, key, &daemonSet); apierrors.IsNotFound(err) {
		return o, nil
	} else if err != nil {
		return o, fmt.Errorf("get daemonset %s: %w", key, err)
	}
	var pods corev1.PodList
	var nodes corev1.NodeList
	var reports v1alpha1.MeshProxyList
	if err := errors.Join(
		r.client.List(ctx, &pods, client.InNamespace(mesh.Namespace), client.MatchingLabels{desired.LabelInstance: mesh.Name},
			client.UnsafeDisableDeepCopy),
		r.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy),
		r.client.List(ctx, &reports, client.MatchingFields{indexMesh: client.ObjectKeyFromObject(mesh).String()},
			client.UnsafeDisableDeepCopy),
	); err != nil {
		return o, fmt.Errorf("list proxies of mesh %s: %w", client.ObjectKeyFromObject(mesh), err)
	}
	for i := range pods.Items {
		if pod, ok := podOf(&pods.Items[i], daemonSet.UID); ok {
			o.Pods = append(o.Pods, pod)
		}
	}
	for i := range nodes.Items {
		o.ReadyNodes[nodes.Items[i].Name] = nodeReady(&nodes.Items[i])
	}
	for i := range reports.Items {
		if report := &reports.Items[i]; report.Spec.MeshUID == string(mesh.UID) {
			o.Reports[report.Name] = report
		}
	}
	if daemonSet.Status.ObservedGeneration >= daemonSet.Generation {
		o.Desired = int(daemonSet.Status.DesiredNumberScheduled)
	}
	if o.Desired > len(o.Pods) {
		o.Blocked = r.blocked(ctx, s, &daemonSet)
	}
	return o, nil
}

// podOf returns what matters of a proxy Pod; false for one that is on its way out or not of the DaemonSet.
func podOf(pod *corev1.Pod, daemonSet types.UID) (rollup.Pod, bool) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.UID != daemonSet || pod.DeletionTimestamp != nil ||
		pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return rollup.Pod{}, false
	}
	out := rollup.Pod{Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, Ready: podReady(pod)}
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == desired.ContainerName && c.State.Running != nil {
			out.Started = c.State.Running.StartedAt.Time
		}
	}
	return out, true
}

// blocked returns why Pods of the DaemonSet cannot be created: its controller says so in events alone. They are asked for seldom,
// and only while Pods are missing. No answer is no reason, so an error is not one either.
func (r *meshReconciler) blocked(ctx context.Context, s *meshState, daemonSet *appsv1.DaemonSet) string {
	if r.now().Sub(s.blockedAt) < blockedEvery {
		return s.blocked
	}
	s.blocked, s.blockedAt = "", r.now()
	var list eventsv1.EventList
	if err := r.live.List(ctx, &list, client.InNamespace(daemonSet.Namespace), client.Limit(20), client.MatchingFields{
		"regarding.uid": string(daemonSet.UID), "reason": "FailedCreate",
	}); err != nil {
		return ""
	}
	var newest time.Time
	for i := range list.Items {
		if at := list.Items[i].CreationTimestamp.Time; !at.Before(newest) {
			newest, s.blocked = at, list.Items[i].Note
		}
	}
	return s.blocked
}
