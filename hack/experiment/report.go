package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// report is one table in Markdown.
func report(o *options, table string, sides []string, results map[string][]result, busy float64) string {
	var b strings.Builder
	what := "Nothing but balancing: no circuits, no retries."
	if table == tableOn {
		what = "Circuits as they are by default, retries of what may be sent again, each attempt for a third of the time."
	}
	fmt.Fprintf(&b, "%s %d backends, one %v slower for %v of %v; %d requests a second, %d rounds, %d sides at once, processors busy to %.0f %%.\n",
		what, endpoints, o.phases.delay, o.phases.slow, o.phases.total(), o.rate, o.rounds, o.atOnce, 100*busy)
	fmt.Fprintf(&b, "Where each backend gets as many requests, %.2f %% succeed.\n\n", o.phases.expected())
	b.WriteString("| side | succeed, % (least to most) | p50 | p95 | p99 | p99.9 | to the slow one | failures |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range sides {
		rs := results[name]
		if len(rs) == 0 {
			continue
		}
		rates := sorted(rs, func(r result) float64 { return 100 * (1 - float64(r.Failures)/float64(r.Requests)) })
		fmt.Fprintf(&b, "| %s | %.3f (%.3f to %.3f) |", name, middle(rates), rates[0], rates[len(rates)-1])
		for i := range quantiles {
			q := middle(sorted(rs, func(r result) float64 { return float64(r.Quantiles[i]) }))
			fmt.Fprintf(&b, " %v |", time.Duration(q).Round(100*time.Microsecond))
		}
		fmt.Fprintf(&b, " %.0f | %s |\n", middle(sorted(rs, func(r result) float64 { return float64(r.Slow) })), reasons(rs))
	}
	return b.String()
}

func sorted(rs []result, of func(result) float64) []float64 {
	out := make([]float64, len(rs))
	for i, r := range rs {
		out[i] = of(r)
	}
	slices.Sort(out)
	return out
}

// middle is the median of what is sorted.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// reasons sums up why requests failed.
func reasons(rs []result) string {
	sum := make(map[string]int)
	for _, r := range rs {
		for reason, n := range r.Reasons {
			sum[reason] += n
		}
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(sum)) {
		parts = append(parts, fmt.Sprintf("%s: %d", reason, sum[reason]))
	}
	return strings.Join(parts, ", ")
}
