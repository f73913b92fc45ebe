package desired

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

var update = flag.Bool("update", false, "write the golden files")

func accepted(t *testing.T, spec v1alpha1.MeshSpec) *config.Mesh {
	t.Helper()
	m, err := config.AcceptMesh(&v1alpha1.Mesh{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead", Name: "demo", UID: types.UID("11111111-2222-3333-4444-555555555555"), Generation: 1},
		Spec:       spec,
	}, config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tunedSpec() v1alpha1.MeshSpec {
	return v1alpha1.MeshSpec{
		Admin: v1alpha1.AdminSpec{Port: 9991},
		Proxy: v1alpha1.ProxySpec{
			Image: "registry.test/proxy:1", ImagePullPolicy: corev1.PullAlways, HostNetwork: true, LogLevel: "debug",
			MaxUnavailable: "10%", TerminationGracePeriodSeconds: 60, PriorityClassName: "mesh",
			NodeSelector: map[string]string{"pool": "edge"},
			Tolerations:  []corev1.Toleration{{Key: "edge", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
			Resources: &corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
			},
			Labels:      map[string]string{"team": "edge", LabelName: "mine"},
			Annotations: map[string]string{"example.com/note": "x"},
		},
		Routers: []v1alpha1.Router{
			{Name: "out", Servers: []v1alpha1.Server{{Port: 5140}, {Port: 5141}, {IP: "127.0.0.1", Port: 5142}}},
			{Name: "in", Servers: []v1alpha1.Server{{IP: "10.0.0.1", Port: 5143}, {IP: "10.0.0.2", Port: 5143}}},
		},
	}
}

func TestGolden(t *testing.T) {
	for name, spec := range map[string]v1alpha1.MeshSpec{"default": {}, "tuned": tunedSpec()} {
		t.Run(name, func(t *testing.T) {
			m := accepted(t, spec)
			var got bytes.Buffer
			for _, o := range []any{
				ServiceAccount(m), RoleBinding(m), Service(m, "PreferSameNode"), DaemonSet(m, "fairlead.test/fairlead:1"),
				ConfigMap(m, Content{Key: v1alpha1.ConfigKey, Data: []byte("---\n")}, ""),
				ClusterRoleBinding([]types.NamespacedName{{Namespace: "z", Name: "a"}, {Namespace: m.Namespace, Name: m.Name}}),
			} {
				text, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&got, "---\n%s", text)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("differs from %s (run with -update where that is meant):\n%s", file, diff)
			}
		})
	}
}

// TestTemplateDependsOnProxyAndPortsAlone: any other edit would restart every proxy.
func TestTemplateDependsOnProxyAndPortsAlone(t *testing.T) {
	template := func(change func(*v1alpha1.MeshSpec)) string {
		spec := *(&v1alpha1.MeshSpec{}).WithDefaults()
		change(&spec)
		m := accepted(t, spec)
		m.Generation = rand.Int64()
		text, err := yaml.Marshal(DaemonSet(m, "fairlead.test/fairlead:1"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := template(func(*v1alpha1.MeshSpec) {})
	for name, change := range map[string]func(*v1alpha1.MeshSpec){
		"rules":  func(s *v1alpha1.MeshSpec) { s.Routers[0].Dtab = []v1alpha1.Dentry{{Prefix: "/a", Dst: "/b"}} },
		"limits": func(s *v1alpha1.MeshSpec) { s.Routers[0].MaxHeadersKB = 16; s.Routers[0].Servers[0].MaxConnections = 5 },
		"namers": func(s *v1alpha1.MeshSpec) { s.Namers = s.Namers[:1] },
		"clients": func(s *v1alpha1.MeshSpec) {
			s.Routers[1].Clients = []v1alpha1.Client{{Prefix: "/", RequestAttemptTimeoutMs: 5}}
		},
		"policy":    func(s *v1alpha1.MeshSpec) { s.Dtabs.From = v1alpha1.DtabsFromList },
		"log level": func(s *v1alpha1.MeshSpec) { s.Proxy.LogLevel = "debug" },
		"names":     func(s *v1alpha1.MeshSpec) { s.Routers[0].Name = "egress" },
	} {
		if after := template(change); after != before {
			t.Errorf("%s: an edit changes the Pod template:\n%s", name, cmp.Diff(before, after))
		}
	}
	for name, change := range map[string]func(*v1alpha1.MeshSpec){
		"port":  func(s *v1alpha1.MeshSpec) { s.Routers[0].Servers[0].Port = 5140 },
		"admin": func(s *v1alpha1.MeshSpec) { s.Admin.Port = 5990 },
		"image": func(s *v1alpha1.MeshSpec) { s.Proxy.Image = "other" },
	} {
		if template(change) == before {
			t.Errorf("%s: an edit does not change the Pod template", name)
		}
	}
}

func TestContent(t *testing.T) {
	m := accepted(t, v1alpha1.MeshSpec{})
	soft := []byte(strings.Repeat("all alike\n", MaxConfigBytes/10+1))
	hard := make([]byte, MaxConfigBytes+MaxConfigBytes/20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(hard)
	mesh := []byte("---\n{\"kind\":\"Mesh\"}\n")
	for name, c := range map[string]struct {
		all        []byte
		key        string
		incomplete bool
		want       []byte
	}{
		"fits":        {[]byte("---\n"), v1alpha1.ConfigKey, false, []byte("---\n")},
		"just fits":   {soft[:MaxConfigBytes], v1alpha1.ConfigKey, false, soft[:MaxConfigBytes]},
		"fits packed": {soft, v1alpha1.CompressedConfigKey, false, soft},
		"too large":   {hard, v1alpha1.ConfigKey, true, mesh},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := NewContent(c.all, mesh)
			if err != nil {
				t.Fatal(err)
			}
			if content.Key != c.key || content.Incomplete != c.incomplete || content.Size != len(c.all) || len(content.Data) > MaxConfigBytes {
				t.Errorf("got %s, incomplete %v, size %d, %d bytes", content.Key, content.Incomplete, content.Size, len(content.Data))
			}
			cm := ConfigMap(m, content, "7")
			if *cm.ResourceVersion != "7" || (cm.Data[v1alpha1.IncompleteConfigKey] == "true") != c.incomplete {
				t.Errorf("resourceVersion %s, mark %q", *cm.ResourceVersion, cm.Data[v1alpha1.IncompleteConfigKey])
			}
			back, err := Documents(cm.Data, cm.BinaryData)
			if err != nil || !bytes.Equal(back, c.want) {
				t.Errorf("read back %d bytes (%v), want %d", len(back), err, len(c.want))
			}
		})
	}
	if _, err := Documents(nil, map[string][]byte{v1alpha1.CompressedConfigKey: []byte("no gzip")}); err == nil {
		t.Error("damaged data was read")
	}
}

func TestHostPorts(t *testing.T) {
	spec := tunedSpec()
	if got := HostPorts(spec.WithDefaults()); !cmp.Equal(got, []int32{5140, 5141, 5143, 9991}) {
		t.Errorf("host network: %v", got)
	}
	spec.Proxy.HostNetwork = false
	if got := HostPorts(spec.WithDefaults()); !cmp.Equal(got, []int32{5140, 5141, 5143}) {
		t.Errorf("host ports: %v", got)
	}
	for _, c := range []struct {
		a, b map[string]string
		want bool
	}{
		{nil, nil, false},
		{map[string]string{"pool": "a"}, nil, false},
		{map[string]string{"pool": "a"}, map[string]string{"pool": "a"}, false},
		{map[string]string{"pool": "a", "zone": "1"}, map[string]string{"pool": "b", "zone": "1"}, true},
	} {
		if got := Disjoint(c.a, c.b); got != c.want {
			t.Errorf("Disjoint(%v, %v) = %v", c.a, c.b, got)
		}
	}
}
