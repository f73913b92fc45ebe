package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/test/testkit/apiserver"
)

const (
	configRoot = "../config"
	testImage  = "fairlead.test/fairlead:test"
	// patience is how long a test waits for what must come; it covers two paces of Mesh.status.
	patience = 20 * time.Second
)

// api is the API server of this package's tests. It is set by TestMain and only read after.
var api *apiserver.Server //nolint:gochecknoglobals // TestMain has no other way to hand it over

func TestMain(m *testing.M) {
	// Owner references are checked for rights, as on the strictest clusters.
	strict := func(s *envtest.APIServer) {
		s.Configure().Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	}
	os.Exit(apiserver.Run("..", strict, func(s *apiserver.Server) (int, error) {
		api = s
		for _, folder := range []string{"default/namespaces.yaml", "rbac", "proxy", "policy"} {
			if err := install(context.Background(), filepath.Join(configRoot, folder)); err != nil {
				return 1, err
			}
		}
		return m.Run(), nil
	}))
}

// install creates the objects of the manifests below a path.
func install(ctx context.Context, root string) error {
	return filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "kustomization.yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			var o unstructured.Unstructured
			if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if err := api.Client.Create(ctx, &o); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	})
}

// operator is a running operator, with the rights of config/rbac and nothing more.
type operator struct {
	stop func()
	mu   sync.Mutex
	sent []string
}

// writes returns the writing requests since the last call.
func (o *operator) writes() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	sent := o.sent
	o.sent = nil
	return sent
}

type counting struct {
	next http.RoundTripper
	o    *operator
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		c.o.mu.Lock()
		c.o.sent = append(c.o.sent, r.Method+" "+r.URL.Path)
		c.o.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

// startOperator runs the controllers as their service account until stop, or the end of the test.
func startOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{}
	config := rest.CopyConfig(api.Config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:fairlead-system:fairlead-operator",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:fairlead-system", "system:authenticated"},
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{next: next, o: o} })
	yes := true
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: api.Scheme, Cache: CacheOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: ctrlconfig.Controller{SkipNameValidation: &yes},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := Setup(ctx, mgr, Options{ProxyImage: testImage}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("operator: %v", err)
		}
	})
	t.Cleanup(o.stop)
	return o
}

// eventually asks until check has nothing to complain about.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// newNamespace makes a namespace for one test.
func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	create(t, ns)
	return ns.Name
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := api.Client.Create(t.Context(), o); err != nil {
		t.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

func update(t *testing.T, o client.Object, change func()) {
	t.Helper()
	get(t, o)
	before := o.DeepCopyObject().(client.Object)
	change()
	if err := api.Client.Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
		t.Fatalf("patch %T %s: %v", o, o.GetName(), err)
	}
}

func updateStatus(t *testing.T, o client.Object, change func()) {
	t.Helper()
	get(t, o)
	change()
	if err := api.Client.Status().Update(t.Context(), o); err != nil {
		t.Fatalf("update status of %T %s: %v", o, o.GetName(), err)
	}
}

func get(t *testing.T, o client.Object) {
	t.Helper()
	if err := api.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatalf("get %T %s: %v", o, o.GetName(), err)
	}
}

// newMesh makes a Mesh that goes with the test. Its children stay: no garbage collector runs here.
func newMesh(t *testing.T, namespace, name string, spec v1alpha1.MeshSpec) *v1alpha1.Mesh {
	t.Helper()
	mesh := &v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	create(t, mesh)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(api.Client.Delete(context.Background(), mesh)); err != nil {
			t.Error(err)
		}
	})
	return mesh
}

func newDtab(t *testing.T, namespace, name, mesh string, rules ...v1alpha1.Dentry) *v1alpha1.Dtab {
	t.Helper()
	d := &v1alpha1.Dtab{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.DtabSpec{MeshRef: v1alpha1.MeshReference{Name: mesh}, Router: "outgoing", Dentries: rules},
	}
	create(t, d)
	return d
}

// expectCondition waits for a condition of the present generation.
func expectCondition(t *testing.T, o client.Object, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, fmt.Sprintf("%s of %T %s", kind, o, o.GetName()), func() error {
		if err := api.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		list := conditionsOf(o)
		i := slices.IndexFunc(list, func(c metav1.Condition) bool { return c.Type == kind })
		if i < 0 {
			return fmt.Errorf("no condition %s in %v", kind, list)
		}
		found = list[i]
		if found.Status != status || found.Reason != reason || found.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("is %+v, want %s %s for generation %d", found, status, reason, o.GetGeneration())
		}
		return nil
	})
	return found
}

func conditionsOf(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.Mesh:
		return o.Status.Conditions
	case *v1alpha1.Dtab:
		return o.Status.Conditions
	}
	return nil
}

// storedDocuments returns what the ConfigMap of a mesh holds.
func storedDocuments(t *testing.T, mesh *v1alpha1.Mesh) (string, error) {
	t.Helper()
	var cm corev1.ConfigMap
	key := client.ObjectKey{Namespace: mesh.Namespace, Name: v1alpha1.ConfigMapName(mesh.Name)}
	if err := api.Client.Get(t.Context(), key, &cm); err != nil {
		return "", err
	}
	data, err := desired.Documents(cm.Data, cm.BinaryData)
	return string(data), err
}

func daemonSetOf(mesh *v1alpha1.Mesh) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: mesh.Namespace, Name: desired.ProxyObject(mesh.Name)}}
}
