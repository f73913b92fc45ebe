package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/dtab/lint"
)

// lintReport is what was found in one router.
type lintReport struct {
	Router string `json:"router"`
	lint.Report
}

func newLint(o *options) *cobra.Command {
	failOn := string(lint.Error)
	var ignored []string
	c := &cobra.Command{
		Use: "lint", Short: "Find rules that are hidden, unreachable, or lead nowhere or in a circle",
		Long: "Reads the rules of a Mesh and its Dtabs, from the cluster or from files, and asks no namer: what it finds holds whatever\n" +
			"exists. Files without a Mesh are taken in place of the live objects of the same name. Exit code 1 for errors.",
		Example: "  fairlead dtab lint\n  fairlead dtab lint -f mesh.yaml -f dtabs.yaml --fail-on=warning --ignore unreachable:prod/canary",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if failOn != string(lint.Error) && failOn != string(lint.Warning) {
				return fmt.Errorf("--fail-on: expected error or warning, found %q", failOn)
			}
			ignore, err := ignoring(ignored)
			if err != nil {
				return err
			}
			ctx, cancel := o.context(c)
			defer cancel()
			reports, err := o.lint(ctx, ignore)
			if err != nil {
				return err
			}
			if o.output == "json" {
				err = o.writeJSON(reports)
			} else {
				err = o.printLint(reports)
			}
			if err == nil && fails(reports, lint.Severity(failOn)) {
				err = &failure{code: exitFailure}
			}
			return err
		},
	}
	o.addSources(c)
	c.Flags().StringSliceVar(&ignored, "ignore", nil, "findings to count alone: CODE, or CODE:NAMESPACE/NAME for one Dtab, CODE:mesh for the Mesh's rules")
	c.Flags().StringVar(&failOn, "fail-on", failOn, "the least severity for exit code 1: error or warning")
	completes(c, "ignore", completeIgnored)
	completes(c, "fail-on", only(string(lint.Error), string(lint.Warning)))
	return c
}

// meshObject is how the rules of the Mesh itself are named.
const meshObject = "mesh"

// ignoring returns what --ignore says.
func ignoring(list []string) (func(code, object string) bool, error) {
	all := make(map[string]bool)
	for _, entry := range list {
		code, _, _ := strings.Cut(entry, ":")
		if !slices.Contains(lint.Codes(), code) {
			return nil, fmt.Errorf("--ignore: expected one of %s, found %q", strings.Join(lint.Codes(), ", "), code)
		}
		all[entry] = true
	}
	return func(code, object string) bool { return all[code] || all[code+":"+cmp.Or(object, meshObject)] }, nil
}

func (o *options) lint(ctx context.Context, ignore func(code, object string) bool) ([]lintReport, error) {
	if o.ruled {
		d, err := dtab.Parse(o.rules)
		if err != nil {
			return nil, at("--dtab", err)
		}
		// Nothing is known of namers, nor of what requests ask for.
		return []lintReport{{"", lint.Check(lint.Input{Dtab: d, Namers: []lint.Namer{{Prefix: dtab.Path{"#"}}}, Ignore: ignore})}}, nil
	}
	cfg, err := o.configuration(ctx)
	if err != nil {
		return nil, err
	}
	var out []lintReport
	for i := range cfg.Routers {
		if r := &cfg.Routers[i]; o.router == "" || o.router == r.Name {
			report, err := app.Lint(cfg, r, ignore)
			if err != nil {
				return nil, err
			}
			out = append(out, lintReport{r.Name, report})
		}
	}
	if len(out) == 0 {
		err = checkRouter(cfg, o.router)
	}
	return out, err
}

// liveDocuments are those of the proxy of --admin, or of the cluster.
func (o *options) liveDocuments(ctx context.Context) (*documents, error) {
	if o.admin != "" {
		p, err := direct(o.admin)
		if err != nil {
			return nil, err
		}
		return p.documents(ctx)
	}
	c, err := o.live(ctx)
	if err != nil {
		return nil, err
	}
	return c.documents(ctx, c.mesh, o.leftOut)
}

// configuration is that of the files, over the live one where they have no Mesh, or the live one.
func (o *options) configuration(ctx context.Context) (*config.Config, error) {
	docs := &documents{}
	if len(o.files) > 0 {
		var err error
		if docs, err = o.readFiles(o.files); err != nil {
			return nil, err
		}
	}
	if docs.mesh != nil {
		return docs.build()
	}
	base, err := o.liveDocuments(ctx)
	if err != nil {
		if len(o.files) > 0 {
			err = fmt.Errorf("the files have no Mesh, and the live one cannot be had: %w", err)
		}
		return nil, err
	}
	return docs.over(base).build()
}

func fails(reports []lintReport, least lint.Severity) bool {
	for _, r := range reports {
		for _, f := range r.Findings {
			if f.Severity == lint.Error || least == lint.Warning {
				return true
			}
		}
	}
	return false
}

func (o *options) printLint(reports []lintReport) error {
	p := printer{out: o.Out}
	counts, ignored := map[lint.Severity]int{}, 0
	for _, r := range reports {
		for _, f := range r.Findings {
			counts[f.Severity]++
			p.line("%s", f.Line(r.Router))
			p.line("  why: %s", f.Why)
			p.line("  do:  %s", f.Do)
		}
		ignored += r.Ignored
		if r.More > 0 {
			p.line("and %d more in router %s", r.More, r.Router)
		}
		if r.Incomplete {
			p.line("router %s: the rules are too many, or too entangled, to look at all of them", r.Router)
		}
	}
	sum := counted(counts[lint.Error], "error") + ", " + counted(counts[lint.Warning], "warning")
	if ignored > 0 {
		sum += fmt.Sprintf(", %d ignored", ignored)
	}
	p.line("%s", sum)
	return p.err
}

// counted is a number of things: "1 error", "2 errors".
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// errNoDocuments is for commands that compare.
var errNoDocuments = errors.New("expected --filename: what to compare with what is live")
