package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

func newDelegate(o *options) *cobra.Command {
	var override string
	c := &cobra.Command{
		Use: "delegate PATH", Short: "Show where a name leads, every branch tried",
		Long: "Shows the whole tree that the rules make of a name. What requests take is marked with *, each step names the rule it came\n" +
			"from. Without -f and --dtab a proxy of the cluster is asked, with what its namers know; with them none is: names of a cluster\n" +
			"then exist, all of them or those of --bound, files of io.l5d.fs are read and hosts are looked up from here.",
		Example: "  fairlead dtab delegate /svc/web\n  fairlead dtab delegate /svc/web -f mesh.yaml -f dtabs.yaml\n" +
			"  fairlead dtab delegate /svc/web --dtab '/svc => /#/a | /#/b' --bound /#/b",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("expected one PATH, as in /svc/web, found %d arguments", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := dtab.Parse(override); err != nil {
				return at("--override", err)
			}
			ctx, cancel := o.context(c)
			defer cancel()
			a, end, err := o.answerer(ctx)
			if err != nil {
				return err
			}
			defer end()
			root, err := a.Delegate(ctx, &app.DelegateQuestion{Router: o.router, Path: args[0], Dtab: override})
			if err != nil {
				return err
			}
			if o.output == "json" {
				return o.writeJSON(root)
			}
			p := printer{out: o.Out}
			p.step(root, 0, "", nil)
			return p.err
		},
	}
	o.addSources(c)
	c.Flags().StringArrayVar(&o.bound, "bound", nil, "with -f or --dtab: a name below /#/ that exists; others then do not")
	c.Flags().StringVar(&override, "override", "", "rules as a request brings them in l5d-dtab")
	return c
}

// answerer is who answers for the flags given.
func (o *options) answerer(ctx context.Context) (answerer, func(), error) {
	var cfg *config.Config
	var err error
	offline := o.ruled || len(o.files) > 0
	switch {
	case offline && (o.admin != "" || o.proxy != ""):
		return nil, nil, errors.New("expected --admin or --proxy, or else --filename or --dtab, found both: with rules given no proxy is asked")
	case o.ruled && len(o.files) > 0:
		return nil, nil, fmt.Errorf("expected --filename or --dtab, found both")
	case o.ruled:
		cfg, err = plainDtab(o.rules, o.bound)
	case len(o.files) > 0:
		var docs *documents
		if docs, err = o.readFiles(o.files); err == nil {
			cfg, err = docs.build()
		}
	default:
		p, err := o.liveProxy(ctx)
		return p, func() {}, err
	}
	if err != nil {
		return nil, nil, err
	}
	return o.preview(ctx, cfg)
}

// printer prints an explanation, one line a step.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// step prints s and what follows it. above is the rule of the step above, which is not repeated.
func (p *printer) step(s *naming.Step, depth int, weight string, above *naming.StepDentry) {
	mark := " "
	if s.Primary {
		mark = "*"
	}
	indent := mark + " " + strings.Repeat("  ", depth)
	text := indent + weight + s.Path
	if note := note(s); note != "" {
		text += "  " + note
	}
	switch {
	case s.Unhealthy && s.Primary:
		text += "  no live endpoint, as no alternate has one"
	case s.Unhealthy:
		text += "  passed over: no live endpoint"
	}
	if s.Dentry != nil && (above == nil || *above != *s.Dentry) {
		text += "  <- " + origin(s.Dentry)
	}
	p.line("%s", text)
	if s.Bound != nil && s.Bound.Addr != nil {
		for _, e := range s.Bound.Addr.Addrs {
			p.line("  %s%s", strings.Repeat("  ", depth+1), endpoint(&e))
		}
		if more := s.Bound.Addr.Total - len(s.Bound.Addr.Addrs); more > 0 {
			p.line("  %sand %d more", strings.Repeat("  ", depth+1), more)
		}
	}
	if s.Delegate != nil {
		p.step(s.Delegate, depth+1, "", s.Dentry)
	}
	if s.Tree != nil {
		p.step(s.Tree, depth+1, "", s.Dentry)
	}
	for _, a := range s.Alt {
		p.step(a, depth+1, "| ", s.Dentry)
	}
	for _, u := range s.Union {
		p.step(u.Tree, depth+1, fmt.Sprintf("& %.2f * ", u.Weight), s.Dentry)
	}
	if s.Truncated {
		p.line("  %s... more steps are left out: at most %d are shown", strings.Repeat("  ", depth+1), naming.MaxSteps)
	}
}

// origin names a rule: the Dtab, which of its rules, and its text.
func origin(d *naming.StepDentry) string {
	object := d.Object
	if object == "" {
		object = "mesh"
	}
	return fmt.Sprintf("%s[%d] %s => %s", object, d.Index, d.Prefix, d.Dst)
}

func endpoint(e *naming.StepEndpoint) string {
	out := e.Addr
	if e.Node != "" {
		out += " on " + e.Node
	}
	if e.Weight != 1 {
		out += fmt.Sprintf(" weight %g", e.Weight)
	}
	if !e.Serving {
		out += " not ready"
	}
	return out
}

// note says what a step is.
func note(s *naming.Step) string {
	if len(s.Cycle) > 0 {
		return circleNote(s)
	}
	switch s.Type {
	case naming.StepLeaf:
		return boundNote(s)
	case naming.StepTransformation:
		return "through " + s.Name
	case naming.StepException:
		return "error: " + s.Message
	case naming.StepPending:
		return s.Message
	case naming.StepEmpty:
		if s.Share > 0 {
			return percent(s.Share) + " " + nowhere(naming.StepEmpty)
		}
		return nowhere(s.Type)
	case naming.StepNeg, naming.StepFail:
		if s.Message != "" {
			return nowhere(s.Type) + ": " + s.Message
		}
		return nowhere(s.Type)
	}
	if s.Outcome != "bound" && s.Outcome != "" {
		return "(" + s.Outcome + ")"
	}
	return ""
}

// boundNote says what a leaf is bound to, and what answers there.
func boundNote(s *naming.Step) string {
	out := ""
	if s.Share > 0 {
		out = percent(s.Share) + " "
	}
	if s.Bound.Status != 0 {
		return out + fmt.Sprintf("answers with status %d", s.Bound.Status)
	}
	out += "bound"
	if id := untransformed(s.Bound.ID); id != s.Path {
		out += " " + id
	}
	if s.Bound.Path != "/" {
		out += " residual " + s.Bound.Path
	}
	switch a := s.Bound.Addr; {
	case a == nil:
	case a.State == "bound" && a.Error != "":
		out += ", no endpoints: " + a.Error
	case a.State == "bound":
		out += fmt.Sprintf(", %d of %d endpoints ready", a.Available, a.Total)
	case a.Error != "" && a.Total > 0:
		out += fmt.Sprintf(", %d of %d endpoints ready, as known before: %s", a.Available, a.Total, a.Error)
	case a.Error != "":
		out += ", endpoints not known: " + a.Error
	default:
		out += ", endpoints " + a.State
	}
	return out
}

// circleNote names a circle as dtab lint does, if it is not too long.
func circleNote(s *naming.Step) string {
	const shown = 6
	way := s.Cycle
	if more := len(way) - shown; more > 0 {
		way = append(slices.Clone(way[:shown-1]), fmt.Sprintf("%d more", more), way[len(way)-1])
	}
	out := "leads in a circle: " + strings.Join(way, " -> ")
	if s.Type == naming.StepException && s.Primary {
		out = "error: " + out
	}
	if s.Share > 0 {
		out = percent(s.Share) + " " + out
	}
	return out
}
