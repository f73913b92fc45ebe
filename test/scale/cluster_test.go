//go:build scale

package scale

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/test/testkit/apiserver"
)

const (
	namespace = "fairlead"
	meshName  = "demo"
	account   = "demo-proxy"
)

// cluster is an API server with a Mesh; what an operator and nodes would make of it is made by the test.
type cluster struct {
	server *apiserver.Server
	admin  client.Client
	mesh   *v1alpha1.Mesh
}

func newCluster(t *testing.T, address string) *cluster {
	t.Helper()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "") // nothing may stand between the parts
	}
	s, err := apiserver.Start("../..", func(server *envtest.APIServer) {
		server.SecureServing.Address, server.SecureServing.Port = address, "6443"
		server.Configure().Set("service-cluster-ip-range", "10.96.0.0/16").Set("advertise-address", address)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{server: s, admin: s.Client}
	c.mesh = &v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: meshName}}
	c.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: account},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: account}},
		}, c.mesh)
	return c
}

func (c *cluster) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.admin.Create(t.Context(), o); err != nil {
			t.Fatalf("%T %s: %v", o, o.GetName(), err)
		}
	}
}

// pod makes the Pod of a proxy and writes a kubeconfig with a token bound to it, as the kubelet mounts one. It returns what the
// downward API would tell.
func (c *cluster) pod(t *testing.T, name string, n node, kubeconfig string) (env []string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			NodeName: n.namespace, ServiceAccountName: account,
			Containers: []corev1.Container{{Name: "proxy", Image: "fairlead.dev/fairlead:dev"}},
		},
	}
	c.create(t, pod)
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: pod.UID},
	}}
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := c.admin.SubResource("token").Create(t.Context(), owner, token); err != nil {
		t.Fatalf("token of %s: %v", name, err)
	}
	c.writeKubeconfig(t, kubeconfig, &clientcmdapi.AuthInfo{Token: token.Status.Token})
	return []string{
		"POD_NAME=" + name, "POD_NAMESPACE=" + namespace, "POD_UID=" + string(pod.UID), "NODE_NAME=" + n.namespace,
		"POD_IP=" + n.address.String(), "HOST_IP=" + n.address.String(),
	}
}

func (c *cluster) writeKubeconfig(t *testing.T, file string, user *clientcmdapi.AuthInfo) {
	t.Helper()
	if err := c.server.WriteKubeconfig(file, user); err != nil {
		t.Fatal(err)
	}
}

// adminKubeconfig is for the operator.
func (c *cluster) adminKubeconfig(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	c.writeKubeconfig(t, file, c.server.Admin())
	return file
}

// service makes a Service with one slice of endpoints.
func (c *cluster) service(ctx context.Context, name string, port int32, addresses ...string) error {
	portName, ready := "http", true
	meta := metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: portName, Port: 80}},
	}}
	if err := c.admin.Create(ctx, service); err != nil {
		return fmt.Errorf("service %s: %w", name, err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	for i, address := range addresses {
		node, zone := fmt.Sprintf("node-%d", i), "zone-a"
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, NodeName: &node, Zone: &zone,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("%s-7d4b9c6f5d-%05d", name, i)},
		})
	}
	if err := c.admin.Create(ctx, slice); err != nil {
		return fmt.Errorf("endpoints of %s: %w", name, err)
	}
	return nil
}

// dtab routes web to one of its versions.
func dtab(version string) *v1alpha1.Dtab {
	return &v1alpha1.Dtab{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: v1alpha1.DtabSpec{
			MeshRef: v1alpha1.MeshReference{Name: meshName}, Router: "outgoing",
			Dentries: []v1alpha1.Dentry{{Prefix: "/svc/web", Dst: "/#/io.l5d.k8s/default/http/web-" + version}},
		},
	}
}

// emptyFolder is where a ConfigMap that holds nothing yet is mounted.
func emptyFolder(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}
