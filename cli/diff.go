package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// routerDiff is what would move in one router, over all proxies that were asked.
type routerDiff struct {
	Router string `json:"router"`
	// Names in use, of which Compared were looked at.
	Names    int              `json:"names"`
	Compared int              `json:"compared"`
	Proxies  int              `json:"proxies"`
	Changed  []app.Difference `json:"changed"`
	// NewNamers are prefixes of namers that the new documents have and the old do not: nobody knows yet where they lead.
	NewNamers []string `json:"newNamers,omitempty"`
}

// diffOptions are the flags of diff alone.
type diffOptions struct {
	*options
	base  []string
	names string
}

func newDiff(o *options) *cobra.Command {
	d := &diffOptions{options: o}
	c := &cobra.Command{
		Use: "diff -f NEW", Short: "Show which names in use would go elsewhere, and what share of each",
		Long: "Takes the documents of the files in place of the live ones of the same name, and has the proxies compare where each name in\n" +
			"use leads now with where it would lead. Names come from the proxies, or from --names: one a line, with the number of its\n" +
			"requests where that is known. With --base nothing live is asked.",
		Example: "  fairlead dtab diff -f dtab.yaml\n  fairlead dtab diff -f new.yaml --base old.yaml --names names.txt",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := o.context(c)
			defer cancel()
			out, err := d.run(ctx)
			if err != nil {
				return err
			}
			if o.output == "json" {
				return o.writeJSON(out)
			}
			return d.print(out)
		},
	}
	c.Flags().StringArrayVarP(&o.files, "filename", "f", nil, "file with the new Mesh and Dtab documents, - for standard input")
	c.Flags().StringArrayVar(&d.base, "base", nil, "file with the old documents, in place of what is live")
	c.Flags().StringVar(&d.names, "names", "", "file with the names to look at, one a line, in place of those in use; - for standard input")
	c.Flags().BoolVar(&o.standalone, "standalone", false, "take the files as a proxy without a cluster does")
	c.Flags().StringVar(&o.router, "router", "", "router of the Mesh; empty: all")
	c.Flags().StringArrayVar(&o.bound, "bound", nil, "with --base: a name below /#/ that exists; others then do not")
	return c
}

func (d *diffOptions) run(ctx context.Context) ([]routerDiff, error) {
	if len(d.files) == 0 {
		return nil, errNoDocuments
	}
	changes, err := d.readFiles(d.files)
	if err != nil {
		return nil, err
	}
	var names map[string]uint64
	if d.names != "" {
		if names, err = d.readNames(); err != nil {
			return nil, err
		}
	}
	base, answerers, end, err := d.old(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if d.names == "" && len(d.base) > 0 {
		return nil, errors.New("expected --names with --base: files do not know which names are in use")
	}
	if d.names != "" {
		answerers = answerers[:1]
	}
	next, err := changes.over(base).build()
	if err != nil {
		return nil, err
	}
	added := newNamers(base, next)
	var out []routerDiff
	for i := range next.Routers {
		r := &next.Routers[i]
		if d.router != "" && d.router != r.Name {
			continue
		}
		diff, err := compareRouter(ctx, answerers, r, names)
		if err != nil {
			return nil, err
		}
		diff.NewNamers = added
		out = append(out, *diff)
	}
	if len(out) == 0 {
		err = checkRouter(next, d.router)
	}
	return out, err
}

// newNamers returns the prefixes of namers that the old documents do not have.
func newNamers(old *documents, next *config.Config) (out []string) {
	if old.mesh == nil {
		return nil
	}
	before, problem := config.AcceptMesh(old.mesh, old.env)
	if problem != nil {
		return nil // what is live is another generation: there is nothing to hold the new against
	}
	for _, n := range next.Mesh.Spec.Namers {
		if !slices.ContainsFunc(before.Spec.Namers, func(o v1alpha1.Namer) bool { return o.Prefix == n.Prefix }) {
			out = append(out, "/#"+n.Prefix)
		}
	}
	return out
}

// old returns the old documents and who knows where their names lead.
func (d *diffOptions) old(ctx context.Context) (*documents, []answerer, func(), error) {
	none := func() {}
	if len(d.base) > 0 {
		docs, err := d.readFiles(d.base)
		if err != nil {
			return nil, nil, none, err
		}
		cfg, err := docs.build()
		if err != nil {
			return nil, nil, none, err
		}
		a, end, err := d.preview(ctx, cfg)
		return docs, []answerer{a}, end, err
	}
	if d.admin != "" {
		p, err := direct(d.admin)
		if err != nil {
			return nil, nil, none, err
		}
		docs, err := p.documents(ctx)
		return docs, []answerer{p}, none, err
	}
	c, err := d.live(ctx)
	if err != nil {
		return nil, nil, none, err
	}
	docs, err := c.documents(ctx, c.mesh, d.leftOut)
	if err != nil {
		return nil, nil, none, err
	}
	proxies, err := d.liveProxies(ctx, c)
	var answerers []answerer
	for _, p := range proxies {
		answerers = append(answerers, p)
	}
	return docs, answerers, none, err
}

// readNames reads the names of --names.
func (d *diffOptions) readNames() (map[string]uint64, error) {
	data, err := d.read(d.names)
	if err != nil {
		return nil, fmt.Errorf("--names: %w", err)
	}
	file := d.names
	if file == "-" {
		file = standardInput
	}
	out := make(map[string]uint64)
	number := 0
	for line := range bytes.Lines(data) {
		number++
		fields := strings.Fields(string(line))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		name, requests, err := nameOf(fields)
		if err != nil {
			return nil, fmt.Errorf("--names: %s:%d: %w", file, number, err)
		}
		out[name] = requests
	}
	return out, nil
}

// nameOf returns the name of a line and the number of its requests, 0 where it has none.
func nameOf(fields []string) (name string, requests uint64, err error) {
	p, err := dtab.ParsePath(fields[0])
	var wrong *dtab.Error
	switch {
	case errors.As(err, &wrong):
		return "", 0, fmt.Errorf("expected a name, as in /svc/web: %q: %s", fields[0], wrong.Detail())
	case err != nil:
		return "", 0, err
	}
	if len(fields) == 1 {
		return p.String(), 0, nil
	}
	if requests, err = strconv.ParseUint(fields[1], 10, 64); err != nil || len(fields) > 2 {
		return "", 0, fmt.Errorf("expected a name and the number of its requests, as in \"/svc/web 120\", found %q", strings.Join(fields, " "))
	}
	return p.String(), requests, nil
}

// compareRouter asks every proxy, and adds up what they say: the same name may be in use at several.
func compareRouter(ctx context.Context, answerers []answerer, r *config.Router, names map[string]uint64) (*routerDiff, error) {
	q := &app.CompareQuestion{Router: r.Name, Rules: app.Rules(r.Effective())}
	for name := range names {
		q.Names = append(q.Names, name)
	}
	slices.Sort(q.Names)
	out := &routerDiff{Router: r.Name, Proxies: len(answerers), Changed: []app.Difference{}}
	at := make(map[string]int)
	for _, a := range answerers {
		c, err := a.Compare(ctx, q)
		if err != nil {
			return nil, err
		}
		out.Names, out.Compared = out.Names+c.Names, out.Compared+c.Compared
		for _, changed := range c.Changed {
			changed.Requests += names[changed.Name]
			i, ok := at[changed.Name]
			if !ok {
				at[changed.Name] = len(out.Changed)
				out.Changed = append(out.Changed, changed)
				continue
			}
			out.Changed[i].Requests += changed.Requests
		}
	}
	slices.SortFunc(out.Changed, func(a, b app.Difference) int {
		return cmp.Or(cmp.Compare(b.Moved*float64(b.Requests), a.Moved*float64(a.Requests)), cmp.Compare(b.Moved, a.Moved), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

func (d *diffOptions) print(diffs []routerDiff) error {
	p := printer{out: d.Out}
	for _, r := range diffs {
		over := ""
		if r.Proxies > 1 {
			over = fmt.Sprintf(" (over %d proxies)", r.Proxies)
		}
		p.line("router %s: %d of %d names in use%s would go elsewhere", r.Router, len(r.Changed), r.Names, over)
		if r.Compared < r.Names {
			p.line("  there was no time for %d of them", r.Names-r.Compared)
		}
		for _, prefix := range r.NewNamers {
			p.line("  %s is a namer that is not in use yet: what leads there counts as not there", prefix)
		}
		for _, c := range r.Changed {
			soFar := ""
			if c.Requests > 0 { // names of a file may come without
				soFar = fmt.Sprintf(" (%d so far)", c.Requests)
			}
			p.line("  %s: %s of its requests%s would move", c.Name, percent(c.Moved), soFar)
			before, after := describe(&c.Old, untransformed), describe(&c.New, untransformed)
			if before == after {
				before, after = describe(&c.Old, whole), describe(&c.New, whole)
			}
			p.line("    old: %s", before)
			p.line("    new: %s", after)
		}
	}
	return p.err
}
