package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// report is the result, as it is written to a file.
type report struct {
	Date     time.Time         `json:"date"`
	Commit   string            `json:"commit"`
	Machine  string            `json:"machine"`
	Load     [2]string         `json:"loadAverages"` // one minute, before and after
	Rounds   int               `json:"rounds"`
	Duration time.Duration     `json:"durationNanoseconds"`
	Versions map[string]string `json:"versions"`
	Memory   map[string]int64  `json:"memoryBytes"`
	Results  []result          `json:"results"`
	Samples  []sample          `json:"samples"`
}

// result is one line of a table: medians over all rounds.
type result struct {
	Proxy string  `json:"proxy"`
	Conns int     `json:"conns"`
	Cost  float64 `json:"cpuMicrosecondsPerRequest"`
	User  float64 `json:"userMicrosecondsPerRequest"`
	// Ratio is Fairlead's cost by this proxy's, with its interval.
	Ratio float64       `json:"ratio"`
	Low   float64       `json:"ratioLow"`
	High  float64       `json:"ratioHigh"`
	Rate  float64       `json:"requestsPerSecond"`
	P50   time.Duration `json:"p50Nanoseconds"`
	P99   time.Duration `json:"p99Nanoseconds"`
}

func newReport(ctx context.Context, b *bench) *report {
	r := &report{
		Date: time.Now().UTC().Truncate(time.Second), Rounds: b.options.rounds, Duration: b.options.duration,
		Versions: map[string]string{}, Memory: map[string]int64{},
	}
	out, _ := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output() // no repository: no commit
	r.Commit = strings.TrimSpace(string(out))
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	release, _, _ := strings.Cut(strings.TrimSpace(string(kernel)), "-")
	r.Machine = fmt.Sprintf("%s, %d cores, Linux %s", cpuModel(), runtime.NumCPU(), release)
	r.Load[0] = loadAverage()
	return r
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func loadAverage() string {
	data, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(data), " ")
	return load
}

// finish computes what the tables show.
func (r *report) finish(b *bench) error {
	r.Load[1] = loadAverage()
	for _, conns := range b.options.conns {
		ours := r.of(fairlead, conns, sample.cost)
		for _, p := range b.proxies {
			theirs := r.of(p.name, conns, sample.cost)
			ratios := make([]float64, len(ours))
			for i := range ours {
				ratios[i] = ours[i] / theirs[i]
			}
			line := result{Proxy: p.name, Conns: conns, Cost: median(theirs), Ratio: median(ratios)}
			line.Low, line.High = interval(ratios)
			line.User = median(r.of(p.name, conns, func(s sample) float64 { return float64(s.User) / float64(s.Requests) / 1000 }))
			line.Rate = median(r.of(p.name, conns, func(s sample) float64 { return float64(s.Requests) / s.Seconds }))
			line.P50 = time.Duration(median(r.of(p.name, conns, func(s sample) float64 { return float64(s.P50) })))
			line.P99 = time.Duration(median(r.of(p.name, conns, func(s sample) float64 { return float64(s.P99) })))
			r.Results = append(r.Results, line)
		}
	}
	for _, p := range b.proxies {
		bytes, err := p.Memory()
		if err != nil {
			return err
		}
		r.Memory[p.name], r.Versions[p.name] = bytes, p.version
	}
	return nil
}

// of returns a figure of one proxy for every round, in the order of the rounds.
func (r *report) of(name string, conns int, figure func(sample) float64) []float64 {
	var all []float64
	for _, s := range r.Samples {
		if s.Proxy == name && s.Conns == conns {
			all = append(all, figure(s))
		}
	}
	return all
}

// markdown prints one table for each number of connections.
func (r *report) markdown(w io.Writer) {
	fmt.Fprintf(w, "%s, commit %s, %s. %d rounds of %s; load average %s before, %s after.\n",
		r.Date.Format(time.DateTime)+" UTC", r.Commit, r.Machine, r.Rounds, r.Duration, r.Load[0], r.Load[1])
	conns := 0
	for _, line := range r.Results {
		if line.Conns != conns {
			conns = line.Conns
			fmt.Fprintf(w, "\n%d connections:\n\n", conns)
			fmt.Fprintln(w, "| proxy | CPU us/request (user) | fairlead's CPU by this one's (95 %) |"+
				" requests/s | p50 us | p99 us | memory MB |")
			fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- |")
		}
		ratio := "-"
		if line.Proxy != fairlead {
			ratio = fmt.Sprintf("%.2f (%.2f-%.2f)", line.Ratio, line.Low, line.High)
		}
		name := line.Proxy
		if v := r.Versions[name]; v != "" {
			name += " " + v
		}
		fmt.Fprintf(w, "| %s | %.1f (%.1f) | %s | %.0f | %d | %d | %.1f |\n", name, line.Cost, line.User, ratio, line.Rate,
			line.P50.Microseconds(), line.P99.Microseconds(), float64(r.Memory[line.Proxy])/(1<<20))
	}
}
