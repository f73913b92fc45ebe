package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// proxy runs a standalone proxy between a client and two backends, and returns its admin address. Each of the hosts was called.
func proxy(t *testing.T, hosts ...string) (admin, v1, v2, config string) {
	t.Helper()
	backend := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(s.Close)
		return "/$/inet/" + strings.Replace(strings.TrimPrefix(s.URL, "http://"), ":", "/", 1)
	}
	v1, v2 = backend(), backend()
	port, adminPort := freeport.Get(t), freeport.Get(t)
	idle := file(t, "") // a name without endpoints
	config = file(t, fmt.Sprintf("kind: Mesh\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: live}\nspec:\n  admin: {port: %d}\n"+
		"  namers: [{kind: io.l5d.fs, rootDir: %s}]\n  routers:\n  - name: outgoing\n    servers: [{port: %d}]\n    failover: Unhealthy\n"+
		"    dtab: [{prefix: /svc, dst: %s}, {prefix: /svc/idle, dst: /#/io.l5d.fs/%s | %s}]\n"+
		"---\nkind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: web}\nspec:\n  meshRef: {name: live}\n  router: outgoing\n  dentries:\n"+
		"  - {prefix: /svc/web, dst: 3 * %s & 1 * %s}\n", adminPort, filepath.Dir(idle), port, v1, filepath.Base(idle), v2, v1, v2))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.RunOptions{Version: "v9.8", Config: config, Drain: time.Second, Log: testr.New(t)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
	admin = fmt.Sprintf("http://127.0.0.1:%d", adminPort)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for begin := time.Now(); ; {
		response, err := client.Get(admin + "/admin/ready")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the proxy is not ready: %v", err)
		}
	}
	for _, host := range hosts {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := client.Do(request)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", host, response, err)
		}
		response.Body.Close()
	}
	return admin, v1, v2, config
}

// A proxy that serves is asked where names lead, what would move, and what is wrong with its rules.
func TestAskAProxy(t *testing.T) {
	admin, v1, v2, config := proxy(t, "web", "web", "api")
	run(t, "", "dtab", "delegate", "/svc/web", "--admin", admin).expect(t, 0, "75% bound, 1 of 1 endpoints ready", "25% bound", "<- default/web[0] /svc/web => ",
		"    | "+v1+"/web  bound "+v1+" residual /web, 1 of 1 endpoints ready  <- mesh[0] /svc => ")
	run(t, "", "dtab", "delegate", "/svc/api", "--admin", strings.TrimPrefix(admin, "http://"), "--override", "/svc/api => /svc/web").
		expect(t, 0, "<- l5d-dtab[0] /svc/api => /svc/web")
	run(t, "", "dtab", "delegate", "/svc/idle", "--admin", admin).expect(t, 0, "0 of 0 endpoints ready  passed over: no live endpoint  <- mesh[1] /svc/idle",
		"100% bound, 1 of 1 endpoints ready")
	run(t, "", "dtab", "delegate", "svc", "--admin", admin).expect(t, 1, "/delegator.json: 400: path:1:1: ")
	run(t, "", "dtab", "lint", "--admin", admin).expect(t, 0, "0 errors, 0 warnings")

	shift := file(t, "kind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: web}\nspec:\n  meshRef: {name: live}\n  router: outgoing\n  dentries:\n"+
		"  - {prefix: /svc/web, dst: "+v2+"}\n")
	run(t, "", "dtab", "diff", "-f", shift, "--admin", admin).expect(t, 0, "router outgoing: 1 of 2 names in use would go elsewhere",
		"/svc/web: 75% of its requests (2 so far) would move", "old: 75% "+v1+", 25% "+v2, "new: 100% "+v2)
	var diffs []routerDiff
	r := run(t, "", "dtab", "diff", "-f", shift, "--admin", admin, "-o", "json", "--names", file(t, "/svc/other 5\n/svc/web 8")).expect(t, 0)
	if err := json.Unmarshal([]byte(r.out), &diffs); err != nil || len(diffs) != 1 || len(diffs[0].Changed) != 1 || diffs[0].Changed[0].Requests != 8 {
		t.Errorf("%v, %s", err, r)
	}
	// A Dtab more, of another name, comes on top of what is live.
	more := file(t, "kind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: x}\nspec:\n  meshRef: {name: live}\n  router: outgoing\n  priority: 1\n"+
		"  dentries:\n  - {prefix: /svc/api, dst: '!'}\n")
	run(t, "", "dtab", "diff", "-f", more, "--admin", admin).expect(t, 0, "1 of 2 names", "/svc/api: 100% of its requests (1 so far)", "new: stopped (!)")
	run(t, "", "dtab", "lint", "-f", more, "--admin", admin).expect(t, 0, "0 errors, 0 warnings")
	run(t, "", "proxies", "--admin", admin).expect(t, 0, "default/live", "synced", "  v9.8 ")
	run(t, "", "version", "--admin", admin).expect(t, 0, "client:  test\nproxies: v9.8 (1)\n")
	run(t, "", "check", "--admin", admin).expect(t, 0, "ok    proxy 127.0.0.1:")

	// A file that is refused changes nothing of what is served, and is told.
	if err := os.WriteFile(config, []byte("kind: Mesh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var checked result
	for begin := time.Now(); checked.code != levelFail && time.Since(begin) < 20*time.Second; {
		checked = run(t, "", "check", "--admin", admin)
	}
	checked.expect(t, levelFail, "it refuses its file and serves the one before: "+config+":1:1: ")
	run(t, "", "proxies", "--admin", admin).expect(t, 0, "default/live", "refusing")
}

// Through the API server the same pages are asked, below pods/proxy, and its own refusals are told in its words.
func TestThroughTheAPIServer(t *testing.T) {
	admin, _, v2, _ := proxy(t, "web")
	to, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "/api/v1/namespaces/prod/pods/demo-proxy-a:9990/proxy"
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, prefix)
	}}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix+"/") {
			forward.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods is forbidden","reason":"Forbidden","code":403}`)
	}))
	defer api.Close()
	through := func(pod string) *liveProxy {
		p, err := throughAPI(&rest.Config{Host: api.URL}, "prod", pod, 9990)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := through("demo-proxy-a")
	step, err := p.Delegate(t.Context(), &app.DelegateQuestion{Router: "outgoing", Path: "/svc/web", Dtab: "/x => /y"})
	if err != nil || step.Outcome != "bound" {
		t.Fatalf("%+v, %v", step, err)
	}
	diff, err := p.Compare(t.Context(), &app.CompareQuestion{Rules: []app.Rule{{Prefix: "/svc", Dst: v2}}})
	if err != nil || len(diff.Changed) != 1 {
		t.Errorf("%+v, %v", diff, err)
	}
	if _, err := p.Delegate(t.Context(), &app.DelegateQuestion{Path: "svc"}); err == nil || !strings.Contains(err.Error(), "proxy demo-proxy-a: /delegator.json: 400: path:1:1: expected ") {
		t.Errorf("%v", err)
	}
	if _, err := through("other").documents(t.Context()); err == nil || !strings.Contains(err.Error(), "403: pods is forbidden") {
		t.Errorf("%v", err)
	}
}
