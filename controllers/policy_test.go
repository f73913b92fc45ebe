package controllers

import (
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	v1alpha1ac "github.com/fairlead/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// tokenClient returns a client with a token of the service account, bound to the Pod unless that is nil.
func tokenClient(t *testing.T, namespace, account string, pod *corev1.Pod) client.Client {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := api.Client.SubResource("token").Create(t.Context(), sa, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(api.Config)
	config.BearerToken = request.Status.Token
	c, err := client.New(config, client.Options{Scheme: api.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reportOf is a report as the proxy in the Pod writes it, changed.
func reportOf(pod *corev1.Pod, mesh string, change func(*v1alpha1ac.MeshProxyApplyConfiguration)) *v1alpha1ac.MeshProxyApplyConfiguration {
	ac := v1alpha1ac.MeshProxy(pod.Name, pod.Namespace).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion("v1").WithKind("Pod").WithName(pod.Name).WithUID(pod.UID)).
		WithSpec(v1alpha1ac.MeshProxySpec().
			WithMeshRef(v1alpha1ac.MeshReference().WithName(mesh)).WithMeshUID("u").WithNodeName(pod.Spec.NodeName))
	if change != nil {
		change(ac)
	}
	return ac
}

// TestAReportIsWrittenByItsPodAlone runs with the roles of config/proxy, which the operator bound, and with config/policy.
func TestAReportIsWrittenByItsPodAlone(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	f := newFleet(t, mesh, "a", "b", "c")
	a, b, c := f.pods["a"], f.pods["b"], f.pods["c"] // a and b have reports, c has none yet
	owner := client.FieldOwner("fairlead-proxy")
	asA, asC, unbound := tokenClient(t, ns, "demo-proxy", a), tokenClient(t, ns, "demo-proxy", c), tokenClient(t, ns, "demo-proxy", nil)

	apply := func(c client.Client, ac *v1alpha1ac.MeshProxyApplyConfiguration) error {
		return c.Apply(t.Context(), ac, owner, client.ForceOwnership)
	}
	status := v1alpha1ac.MeshProxyStatus().WithDtabRevision("r")
	applyStatus := func(c client.Client, pod *corev1.Pod) error {
		return c.Status().Apply(t.Context(), v1alpha1ac.MeshProxy(pod.Name, ns).WithStatus(status), owner, client.ForceOwnership)
	}
	eventually(t, "own report", func() error { return apply(asA, reportOf(a, "demo", nil)) })
	if err := applyStatus(asA, a); err != nil {
		t.Errorf("status of the own report: %v", err)
	}
	create(t, &v1alpha1.MeshProxy{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: b.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: b.Name, UID: b.UID}},
		},
		Spec: v1alpha1.MeshProxySpec{MeshRef: v1alpha1.MeshReference{Name: "demo"}, MeshUID: "u", NodeName: b.Spec.NodeName},
	})

	for name, tc := range map[string]struct {
		try  func() error
		want string
	}{
		"report of another Pod": {func() error { return apply(asA, reportOf(b, "demo", nil)) }, "named like the Pod"},
		"status of another Pod": {func() error { return applyStatus(asA, b) }, "named like the Pod"},
		"token without a Pod":   {func() error { return apply(unbound, reportOf(a, "demo", nil)) }, "(none)"},
		"another node": {func() error {
			return apply(asC, reportOf(c, "demo", func(ac *v1alpha1ac.MeshProxyApplyConfiguration) { ac.Spec.WithNodeName(b.Spec.NodeName) }))
		}, "node of the Pod"},
		"another mesh": {func() error { return apply(asC, reportOf(c, "other", nil)) }, "by its own proxies"},
		"another owner": {func() error {
			return apply(asC, reportOf(c, "demo", func(ac *v1alpha1ac.MeshProxyApplyConfiguration) {
				ac.OwnerReferences[0].WithUID(types.UID("forged"))
			}))
		}, "one owner"},
	} {
		t.Run(name, func(t *testing.T) {
			// A policy takes effect a moment after it was made.
			eventually(t, "denial", func() error {
				if err := tc.try(); err == nil || !strings.Contains(err.Error(), tc.want) {
					return fmt.Errorf("got %w, want a denial with %q", err, tc.want)
				}
				return nil
			})
		})
	}
	t.Run("rights of a proxy", func(t *testing.T) {
		var dtabs v1alpha1.DtabList
		if err := asA.List(t.Context(), &dtabs); err != nil {
			t.Errorf("a proxy cannot list dtabs: %v", err)
		}
		if err := asA.List(t.Context(), &corev1.SecretList{}, client.InNamespace(ns)); err == nil {
			t.Error("a proxy can list secrets")
		}
		if err := asA.Delete(t.Context(), mesh.DeepCopy()); err == nil {
			t.Error("a proxy can delete its Mesh")
		}
	})
}
