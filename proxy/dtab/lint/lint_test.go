package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	namer "github.com/fairlead/fairlead/proxy/naming/utility"
)

func input(t *testing.T, text string) Input {
	t.Helper()
	d, err := dtab.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range d {
		d[i].Source = dtab.Source{Object: "prod/web", Index: i}
	}
	return Input{Dtab: d, Entry: dtab.Path{"svc"}, Namers: []Namer{
		{Prefix: dtab.Path{"#", "io.l5d.k8s"}},
		{Prefix: dtab.Path{"#", "nsSvc"}, Rewrite: "/#/io.l5d.k8s/{ns}/http/{svc}"},
		{Prefix: dtab.Path{"#", "again"}, Rewrite: "/svc/{x}"},
	}}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  []string
	}{
		// What later rules hide.
		{"/svc/a => /#/io.l5d.k8s/a; /svc => /$/inet/10.0.0.1/80", []string{"warning 0 shadowed"}},
		{"/svc => /#/io.l5d.k8s/a; /svc => /#/io.l5d.k8s/b", nil},
		{"/svc => /#/io.l5d.k8s/a; /svc => /#/io.l5d.k8s/b | !", []string{"warning 0 shadowed"}},
		{"/svc => /#/io.l5d.k8s/a; /svc => ! & !", nil}, // a union of fails is Neg
		{"/svc => /#/io.l5d.k8s/a; /svc/* => $", nil},   // /svc itself still is the first rule's
		{"/svc/a => /#/io.l5d.k8s/a; /svc/* => $", []string{"warning 0 shadowed"}},
		{"/svc/* => /#/io.l5d.k8s/a; /svc/a => $", nil},
		{"/svc => /#/io.l5d.k8s/a; /svc => /safe; /safe => /#/io.l5d.k8s/b | /$/inet/10.0.0.1/80", []string{"warning 0 shadowed"}},
		{"/svc => /#/io.l5d.k8s/a; /svc => 9 * /$/inet/1/80 & 1 * /#/io.l5d.k8s/b", nil}, // an error and a Neg make a Neg
		{"/svc => /#/io.l5d.k8s/a; /svc => 9 * $ & 1 * /#/io.l5d.k8s/b", []string{"warning 0 shadowed"}},
		{"/$/inet => ~; /svc => /#/io.l5d.k8s/a; /svc => /$/inet/10.0.0.1/80", nil},
		// What is never tried.
		{"/svc => /$/inet/10.0.0.1/80 | /#/io.l5d.k8s/a", []string{"warning 0 unreachable-branch"}},
		{"/svc => /#/io.l5d.k8s/a | ! | /#/io.l5d.k8s/b", []string{"warning 0 unreachable-branch"}},
		{"/svc => /#/io.l5d.k8s/a | /#/io.l5d.k8s/b | !", nil},
		{"/svcc/web => /#/io.l5d.k8s/a; /svc => /#/io.l5d.k8s/b", []string{"warning 0 unreachable"}},
		{"/host => /#/nsSvc/default; /host => /#/nsSvc; /svc => /$/io.buoyant.http.domainToPathPfx/host", nil},
		{"/host => /#/nsSvc; /svc => /$/io.buoyant.http.domainToPathPfx/hots", []string{"warning 0 unreachable"}},
		{"/x => !; /svc => /$/io.buoyant.http.anyHost", nil}, // the host may be x
		{"/x => !; /svc/* => /", nil},
		{"/#/io.l5d.k8s/a => !; /svc => /#/nsSvc", nil},
		{"/#/io.l5d.k8s/*/grpc => !; /svc => /#/nsSvc", []string{"warning 0 unreachable"}},
		// What leads nowhere.
		{"/svc => /#/io.l5d.k8x/a", []string{"warning 0 no-namer"}},
		{"/svc => /hots", []string{"warning 0 no-namer"}},
		{"/off => ~; /svc => /off", nil},
		{"/host/web => !; /svc => /host", nil},
		// What leads back.
		{"/svc/web => /svc/web", []string{"error 0 self-reference /svc/web -> /svc/web"}},
		{"/svc/web => /svc/web | /#/io.l5d.k8s/a", []string{"error 0 self-reference /svc/web -> /svc/web"}},
		{"/svc/web => /#/io.l5d.k8s/a | /svc/web", []string{"warning 0 self-reference /svc/web -> /svc/web"}},
		{"/svc => /svc/x", []string{"error 0 self-reference /svc/x -> /svc/x/x"}},
		{"/svc => /svc/x; /svc/x => /$/inet/10.0.0.1/80", nil},
		{"/svc => /a; /a => /b; /b => /a", []string{"error 1 loop /b -> /a -> /b", "error 2 loop /a -> /b -> /a"}},
		{"/svc/a => /svc; /svc => /#/io.l5d.k8s/x", nil}, // the name gets shorter
		{"/svc/a/b => /svc/b; /svc/b => /svc/a", nil},
		{"/ => /$/inet/127.1/80", []string{"error 0 self-reference /$/inet/127.1/80 -> /$/inet/127.1/80/$/inet/127.1/80"}},
		{"/svc => /$/io.buoyant.http.domainToPathPfx/svc", []string{
			"warning 0 loop /$/io.buoyant.http.domainToPathPfx/svc -> /svc -> /$/io.buoyant.http.domainToPathPfx/svc"}},
		{"/svc => /#/again", []string{"warning 0 loop /#/again -> /svc -> /#/again"}},
		// Weights.
		{"/svc => 0 * /#/io.l5d.k8s/a & 0 * /#/io.l5d.k8s/b", []string{"warning 0 zero-weights"}},
		{"/svc => 0 * /#/io.l5d.k8s/a & 1 * /#/io.l5d.k8s/b", nil},
	} {
		r := Check(input(t, c.rules))
		var got []string
		for _, f := range r.Findings {
			line := strings.TrimSpace(fmt.Sprintf("%s %d %s %s", f.Severity, f.Index, f.Code, strings.Join(f.Cycle, " -> ")))
			got = append(got, line)
			if f.Object != "prod/web" || f.Text != input(t, c.rules).Dtab[f.Index].String() || f.Why == "" || f.Do == "" {
				t.Errorf("%s: %+v", c.rules, f)
			}
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") || r.Incomplete {
			t.Errorf("%s:\n got %q\nwant %q", c.rules, got, c.want)
		}
	}
}

// Names below /$/ that are none are told with what was expected. Whether the namer of /$/ takes a name is asked of itself.
func TestCheckUtilities(t *testing.T) {
	for dst, want := range map[string]string{
		"/$/inet/127.0.0.1:80": "error expected the port as an element of its own, as in /$/inet/127.0.0.1/80", "/$/inet/::1/80": "",
		"/$/foo": "error expected one of inet, ", "/$/inett/web/80": `error did you mean "inet"?`, "/$/rinet/80/web": `error did you mean "io.buoyant.rinet"?`,
		"/$/io.buoyant.http.domainToPathPf/host": `error did you mean "io.buoyant.http.domainToPathPfx"?`,
		"/$/inet/host/http":                      `error expected a port number from 1 to 65535 after the host, as in /$/inet/host/80, found "http"`,
		"/$/inet/host/0":                         `error found "0"`, "/$/fixedinet/host/65536": `error found "65536"`,
		"/$/io.buoyant.rinet/web/80": `error before the host, found "web"`, "/$/io.buoyant.http.status/99": `error expected a status from 100 to 599, found "99"`,
		"/#/io.l5d.k8s/a | /$/foo": "warning expected one of", "1 * /$/foo & 1 * /#/io.l5d.k8s/a": "warning expected one of",
		"/$/inet": "", "/$/inet/host": "", "/$/inet/80": "", "/$/inet/80/http": "", "/$/inet/host/80/x": "", "/$": "", "/$/nil": "", "/$/fail/x": "",
		"/$/io.buoyant.rinet/80": "", "/$/io.buoyant.http.status": "", "/$/io.buoyant.http.status/404/x": "", "/$/mine/x": "",
		"/$/io.buoyant.http.domainToPathPfx/svc2": "",
	} {
		got := ""
		for _, f := range Check(input(t, "/$/mine => /#/io.l5d.k8s; /svc => "+dst)).Findings {
			if f.Code == BadUtility {
				got = string(f.Severity) + " " + f.Why
			}
		}
		severity, text, _ := strings.Cut(want, " ")
		if !strings.HasPrefix(got, severity) || !strings.Contains(got, text) || (got == "") != (want == "") {
			t.Errorf("%s: found %q, want %q", dst, got, want)
		}
	}
	resolver := dns.New(dns.Options{})
	defer resolver.Close()
	for _, name := range append([]string{"foo"}, utilities...) {
		live := namer.Mounts(resolver)[0].Namer.Lookup(dtab.Path{name})
		_, _, err := live.Load()
		mounted := slices.ContainsFunc(namer.Mounts(resolver), func(m naming.Mount) bool { return m.Prefix.String() == "/$/"+name })
		if known := err == nil || mounted; known != slices.Contains(utilities, name) {
			t.Errorf("/$/%s is known: %v, %v", name, known, err)
		}
	}
}

// Rules without a Mesh: nothing is known of namers and of names.
func TestCheckOfRulesAlone(t *testing.T) {
	in := input(t, "/x => /#/any/a; /y => /#/any/b | !; /y => /z/a")
	in.Entry, in.Namers = nil, []Namer{{Prefix: dtab.Path{"#"}}}
	for _, f := range Check(in).Findings {
		if f.Code != NoNamer || f.Index != 2 {
			t.Errorf("%+v", f)
		}
	}
}

// Many rules, and rules that fan out, take a bounded time.
func TestCheckIsBounded(t *testing.T) {
	var wide strings.Builder
	for i := range 30 {
		fmt.Fprintf(&wide, "/svc/%d => /svc/%d & /svc/%d | /svc/%d;", i, i+1, i+2, i/2)
	}
	var many strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&many, "/svc/s%d => /#/io.l5d.k8s/default/http/s%d | /svc/fallback;", i, i)
	}
	many.WriteString("/svc/fallback => /$/inet/10.0.0.1/80")
	var fan strings.Builder
	for i := range 200 {
		fmt.Fprintf(&fan, "/n%d => /n%d/0", i, i+1)
		for k := range 400 {
			fmt.Fprintf(&fan, " | /n%d/%d", i+1, k)
		}
		fan.WriteString(";")
	}
	var crossed strings.Builder // each rule that hides others looks below all of the others
	for i := range 25_000 {
		fmt.Fprintf(&crossed, "/svc/a%d/x => /$/inet/10.0.0.1/80; /svc/*/y%d => !;", i, i)
	}
	for _, text := range []string{
		wide.String() + "/svc/x => !", many.String(), many.String() + "; /svc => !", fan.String(),
		strings.Repeat("/svc => /$/inet/10.0.0.1/80;", 50_000), strings.Repeat("/svc => /svc/x | /svc;", 20_000),
		strings.Repeat("/svc/*/* => /svc/a/b;", 20_000),
		crossed.String(),
	} {
		begin := time.Now()
		r := Check(input(t, text))
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%.40s...: %d findings after %s", text, len(r.Findings), took)
		}
		if len(r.Findings) > MaxFindings || len(r.Findings) == MaxFindings && r.More == 0 {
			t.Errorf("%d findings and %d more", len(r.Findings), r.More)
		}
	}
}
