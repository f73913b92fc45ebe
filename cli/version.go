package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// versions are those of this command and of the proxies.
type versions struct {
	Client string `json:"client"`
	// Proxies are absent where none was asked, or could be.
	Proxies []proxyVersion `json:"proxies,omitempty"`
	// Error is why the proxies' are not known.
	Error string `json:"error,omitempty"`
}

// proxyVersion is a version and the number of proxies that run it, "" for those that have not reported one.
type proxyVersion struct {
	Version string `json:"version"`
	Count   int    `json:"count"`
}

func newVersion(o *options) *cobra.Command {
	var clientOnly bool
	c := &cobra.Command{
		Use: "version", Short: "Show the version of this command, and those of the proxies",
		Long: "Shows the version of this command, and how many proxies of the cluster, or that of --admin, run which. Where they cannot be\n" +
			"asked it says why; the exit code is 0 all the same.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := o.context(c)
			defer cancel()
			v := versions{Client: o.version}
			if !clientOnly {
				var err error
				if v.Proxies, err = o.proxyVersions(ctx); err != nil {
					v.Error = err.Error()
				}
			}
			if o.output == "json" {
				return o.writeJSON(v)
			}
			return o.printVersions(&v, clientOnly)
		},
	}
	c.Flags().BoolVar(&clientOnly, "client", false, "ask nobody for the versions of the proxies")
	return c
}

func (o *options) proxyVersions(ctx context.Context) ([]proxyVersion, error) {
	rows, err := o.proxyRows(ctx)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for _, r := range rows {
		if r.State != stateGone {
			counts[r.Version]++
		}
	}
	var out []proxyVersion
	for v, n := range counts {
		out = append(out, proxyVersion{v, n})
	}
	slices.SortFunc(out, func(a, b proxyVersion) int { return strings.Compare(a.Version, b.Version) })
	return out, nil
}

func (o *options) printVersions(v *versions, clientOnly bool) error {
	p := printer{out: o.Out}
	p.line("client:  %s", v.Client)
	if clientOnly {
		return p.err
	}
	said := "none"
	if v.Error != "" {
		said = "not known: " + v.Error
	} else if len(v.Proxies) > 0 {
		parts := make([]string, len(v.Proxies))
		for i, q := range v.Proxies {
			parts[i] = fmt.Sprintf("%s (%d)", q.Version, q.Count)
			if q.Version == "" {
				parts[i] = fmt.Sprintf("not reported (%d)", q.Count)
			}
		}
		said = strings.Join(parts, ", ")
	}
	p.line("proxies: %s", said)
	return p.err
}
