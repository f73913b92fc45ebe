package watch

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/control"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// kubeconfig writes cfg to a file.
func kubeconfig(t *testing.T, cfg *rest.Config) string {
	t.Helper()
	k := clientcmdapi.NewConfig()
	k.Clusters["c"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData, TLSServerName: cfg.ServerName}
	k.Contexts["x"] = &clientcmdapi.Context{Cluster: "c"}
	k.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*k, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// runProxy runs a whole proxy of a Mesh of ns. It returns how to reach its router and its admin server.
func runProxy(t *testing.T, ns string, i *injector) (router, admin string) {
	t.Helper()
	port, adminPort := int32(freeport.Get(t)), int32(freeport.Get(t))
	mesh := &v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "demo"}, Spec: v1alpha1.MeshSpec{
		Admin: v1alpha1.AdminSpec{IP: "127.0.0.1", Port: adminPort},
		Routers: []v1alpha1.Router{{
			Name: "outgoing", Servers: []v1alpha1.Server{{IP: "127.0.0.1", Port: port}},
			Dtab: []v1alpha1.Dentry{{Prefix: "/svc", Dst: "/#/io.l5d.k8s/" + ns + "/http"}},
		}},
	}}
	if err := api.Client.Create(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	o := app.RunOptions{Version: "test", Drain: time.Second, Log: logr.Discard(), LogLevel: func(string) {}, Cluster: &app.ClusterOptions{
		Kubeconfig: kubeconfig(t, i.config()), Mesh: ns + "/demo", MeshUID: string(mesh.UID),
		Pod: control.Pod{Name: "demo-proxy-x", Namespace: ns, UID: "pod-uid", Node: "n"}, Own: []netip.Addr{netip.MustParseAddr("10.250.0.1")},
	}}
	go func() { done <- app.Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", adminPort)
}

func ask(t *testing.T, c *http.Client, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// TestOneWatchPerKind counts the watches of a whole proxy while a thousand names are in use.
func TestOneWatchPerKind(t *testing.T) {
	const names, existing = 1000, 200 // a name that does not exist is in use as well: it may come to be
	ns, i := namespace(t), newInjector(t, api.Config)
	router, admin := runProxy(t, ns, i)
	var making sync.WaitGroup
	var next atomic.Int64
	for range writers {
		making.Go(func() {
			for n := next.Add(1); n <= existing; n = next.Add(1) {
				name := fmt.Sprintf("name-%d", n)
				// A port and no endpoint: the name is bound, and requests for it fail at once.
				for _, err := range []error{
					api.Client.Create(t.Context(), service(ns, name)), api.Client.Create(t.Context(), slice(ns, name, name)),
				} {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	making.Wait()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	eventually(t, "ready", 20*time.Second, time.Now(), func() string {
		if code, text := ask(t, client, admin+"/admin/ready", ""); code != http.StatusOK {
			return text
		}
		return ""
	})
	for n := range names {
		if code, text := ask(t, client, router, fmt.Sprintf("name-%d", n+1)); code == 0 {
			t.Fatal(text)
		}
	}
	if _, bound := ask(t, client, admin+"/bound-names.json", ""); strings.Count(bound, "/svc/name-") < names {
		t.Fatalf("%d of %d names are in use", strings.Count(bound, "/svc/name-"), names)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	want := map[string]int{"services": 1, "endpointslices": 1, "meshes": 1, "dtabs": 1}
	if !maps.Equal(i.live, want) {
		t.Errorf("watches %v with %d names in use, want %v", i.live, names, want)
	}
	for kind, most := range i.most {
		if most > 1 && want[kind] > 0 {
			t.Errorf("%s: %d relists at a time", kind, most)
		}
	}
}
