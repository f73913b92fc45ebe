package app

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// at is mesh with the IP address of its server.
func at(ip string, port int, dentry string) string {
	return strings.Replace(mesh(port, dentry), "{port: ", "{ip: '"+ip+"', port: ", 1)
}

// A listener on one address stands in the way of one on all, and the other way round: it goes first, and comes back where that was in vain.
func TestOneAddressAndAll(t *testing.T) {
	web := backend(t, "web")
	port := freeport.Get(t)
	a := start(t, Options{})
	rule := "/svc/web => " + inet(web)
	serves := func(what string) {
		t.Helper()
		if status, body, _ := get(t, client(t), port, "web"); status != http.StatusOK || body != "web" {
			t.Errorf("%s: got %d %s", what, status, body)
		}
	}
	for _, ip := range []string{"127.0.0.1", "0.0.0.0", "127.0.0.1", "::", "127.0.0.1"} {
		if err := a.Apply(t.Context(), decode(t, at(ip, port, rule))); err != nil {
			t.Fatalf("%s: %v", ip, err)
		}
		serves(ip)
	}
	other, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before := a.Config()
	if err := a.Apply(t.Context(), decode(t, at("0.0.0.0", port, rule))); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address that another process has: got %v", err)
	}
	if a.Config() != before {
		t.Error("the configuration changed")
	}
	serves("after one that was refused")
	other.Close()
	if err := a.Apply(t.Context(), decode(t, at("0.0.0.0", port, rule))); err != nil {
		t.Error(err)
	}
	serves("once there is room")
}

// assembled is a process without a cluster that has no configuration yet.
func assembled(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{metrics: telemetry.New(), applying: make(chan struct{}, 1)}
	p.options = RunOptions{Config: filepath.Join(t.TempDir(), "mesh.yaml"), Log: testr.NewWithInterface(t, testr.Options{})}
	if err := p.assemble(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// The admin server and a router may exchange their ports, and the admin server its address, in one edit; what cannot be bound changes
// nothing.
func TestAdminPortIsExchanged(t *testing.T) {
	web := backend(t, "web")
	one, two, taken := freeport.Get(t), freeport.Get(t), freeport.Get(t)
	other, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", taken))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	p := assembled(t)
	apply := func(adminIP string, admin int, ip string, port int) error {
		text := strings.Replace(at(ip, port, "/svc/web => "+inet(web)), "spec:\n", fmt.Sprintf("spec:\n  admin: {ip: '%s', port: %d}\n", adminIP, admin), 1)
		return p.apply(t.Context(), decode(t, text))
	}
	serves := func(what string, admin, port int) {
		t.Helper()
		c := client(t)
		if status, body, _ := get(t, c, port, "web"); status != http.StatusOK || body != "web" {
			t.Errorf("%s: the router answers %d %s", what, status, body)
		}
		resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/admin/ping", admin)) //nolint:noctx // it is at hand
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: the admin server answers %s", what, resp.Status)
		}
	}
	const lo, all = "127.0.0.1", "0.0.0.0"
	for _, s := range []struct {
		what        string
		adminIP     string
		admin       int
		ip          string
		port        int
		fails       string
		nowA, nowIs int
	}{
		{"at first", lo, one, lo, two, "", one, two},
		{"exchanged", lo, two, lo, one, "", two, one},
		{"exchanged and wider", all, one, all, two, "", one, two},
		{"admin narrower", lo, one, all, two, "", one, two},
		{"admin in the place of the router", lo, two, lo, taken, "in use", one, two},
		{"router in the place of admin", lo, taken, lo, one, "in use", one, two},
		{"exchanged with one that is taken", lo, taken, all, two, "in use", one, two},
		{"exchanged at last", lo, two, all, one, "", two, one},
	} {
		err := apply(s.adminIP, s.admin, s.ip, s.port)
		if s.fails == "" && err != nil || s.fails != "" && (err == nil || !strings.Contains(err.Error(), s.fails)) {
			t.Fatalf("%s: got %v, want %q", s.what, err, s.fails)
		}
		serves(s.what, s.nowA, s.nowIs)
	}
}
