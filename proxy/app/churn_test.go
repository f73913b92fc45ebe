package app

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
	"github.com/fairlead/fairlead/test/testkit/zone"
)

// churn is a mesh of all namers that need no cluster, whose files, zones and rules change while requests are sent.
type churn struct {
	t     *testing.T
	zone  *zone.Zone
	dir   string
	alive [2]netip.AddrPort
	port  int
}

// config returns a mesh whose rules lead web to somebody alive by way of one of the shapes.
func (c *churn) config(shape, kept string) *config.Config {
	c.t.Helper()
	text := mesh(c.port,
		"/srv => /#/io.l5d.dnssrv/_http._tcp.web.test", "/file => /#/io.l5d.fs", "/way => /#/rw", "/self => "+inet(c.alive[0]),
		"/fallen => /#/io.l5d.dnssrv/_none._tcp.web.test", "/svc/web => "+shape, "/svc/kept => "+kept)
	return decode(c.t, text+fmt.Sprintf("  namers:\n  - {kind: io.l5d.fs, rootDir: %q}\n  - {kind: io.l5d.dnssrv, dnsHosts: [%q]}\n"+
		"  - {kind: io.l5d.rewrite, prefix: /rw, pattern: \"/{name}\", name: \"/file/{name}\"}\n", c.dir, c.zone.Addr))
}

// file replaces a file at once, as a mounted ConfigMap does.
func (c *churn) file(name, text string) {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		c.t.Fatal(err)
	}
}

func (c *churn) line(i int) string {
	return fmt.Sprintf("%s %d\n", c.alive[i].Addr(), c.alive[i].Port())
}

func (c *churn) srv(i int) string {
	return fmt.Sprintf("1 IN SRV 1 %d %d %s.test.", i, c.alive[i].Port(), []string{"a", "b"}[i])
}

// step changes the files and zones in one of the ways that leave every name somebody alive. Files that come and go are beside those.
func (c *churn) step(i int) {
	c.file("web", []string{c.line(0), c.line(1), c.line(0) + c.line(1), c.line(1) + "not a line\n"}[i%4])
	if flap := filepath.Join(c.dir, "flap"); i%2 == 0 {
		c.file("flap", c.line(i/2%2))
	} else if err := os.Remove(flap); err != nil {
		c.t.Fatal(err)
	}
	c.zone.Set("_http._tcp.web.test.", [][]string{{c.srv(0)}, {c.srv(1)}, {c.srv(0), c.srv(1)}}[i%3]...)
	c.zone.Break(i%7 == 6)
}

// TestChurnOverAllNamers: while everything a name depends on changes, no request fails as long as somebody is alive by every state of it;
// and nothing stays of what is not led to any more.
func TestChurnOverAllNamers(t *testing.T) {
	c := &churn{t: t, zone: zone.New(t), dir: t.TempDir(), port: freeport.Get(t)}
	c.alive = [2]netip.AddrPort{backend(t, "a"), backend(t, "b")}
	c.zone.Set("a.test.", "1 IN A 127.0.0.1")
	c.zone.Set("b.test.", "1 IN A 127.0.0.1")
	c.step(0)
	var shapes []*config.Config
	for _, shape := range []string{
		"/file/web", "/srv", "/way/web", "/self", "/file/web & /srv & /self", "0.3*/way/web & 0.7*/srv", "/file/flap | /file/web",
		"/file/flap | /fallen | /way/web", "(/file/flap | /srv) & 2*(/fallen | /self)", "/way/flap | /way/none | /srv | /self",
	} {
		shapes = append(shapes, c.config(shape, "/srv"))
	}
	nothing := c.config("!", "!")
	metrics := telemetry.New()
	a := start(t, Options{Metrics: metrics})
	cl := client(t)
	if err := a.Apply(t.Context(), shapes[0]); err != nil {
		t.Fatal(err)
	}
	sent, stop := traffic(t, c.port)
	for i := range 120 {
		if t.Failed() {
			break
		}
		// It is asked for before the name server fails, so that what it said stays for all others too.
		if status, _, h := get(t, cl, c.port, "kept"); status != 200 {
			t.Errorf("kept: status %d, l5d-err %q", status, h.Get("l5d-err"))
		}
		c.step(i)
		if i%3 == 0 {
			if err := a.Apply(t.Context(), shapes[i/3%len(shapes)]); err != nil {
				t.Error(err)
			}
		}
		more(t, sent, 40)
	}
	stop()
	c.zone.Break(false)
	if questions, followers := followed(); questions == 0 || followers == 0 || watchedFiles(t) == 0 {
		t.Errorf("%d questions, %d followers, %d watches of files while there are names", questions, followers, watchedFiles(t))
	}
	if err := a.Apply(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"web", "kept"} {
		if status, _, _ := get(t, cl, c.port, host); status != 502 {
			t.Errorf("%s: status %d of a name that fails", host, status)
		}
	}
	eventually(t, "questions and watches of files end with the names, and but one follower of each client stays", func() bool {
		questions, followers := followed()
		return questions == 0 && followers <= len(a.Clients()["outgoing"]) && watchedFiles(t) == 0
	})
}

// followed counts the goroutines that ask name servers again and again, and those that follow a value. A client follows its endpoints for
// as long as it is kept for what may lead to it again.
func followed() (questions, followers int) {
	b := make([]byte, 4<<20)
	all := string(b[:runtime.Stack(b, true)])
	return strings.Count(all, "proxy/naming/dns.(*question[...]).run("),
		strings.Count(all, "created by github.com/fairlead/fairlead/proxy/naming.Watch")
}

// watchedFiles counts the watches that this process has in the kernel.
func watchedFiles(t *testing.T) (n int) {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range infos {
		text, _ := os.ReadFile(file) // one that was closed meanwhile has none
		n += strings.Count(string(text), "inotify wd:")
	}
	return n
}
