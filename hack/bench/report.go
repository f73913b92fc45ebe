package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// toCome is what costs a request something elsewhere and is not built yet.
const toCome = "TLS, HTTP/2, tracing"

// report is the result, as it is written to a file.
type report struct {
	Date     time.Time         `json:"date"`
	Commit   string            `json:"commit"`
	Machine  string            `json:"machine"`
	Load     [2]string         `json:"loadAverages"` // one minute, before and after
	Rounds   int               `json:"rounds"`
	Duration time.Duration     `json:"durationNanoseconds"`
	Versions map[string]string `json:"versions"`
	Missing  []string          `json:"notInstalled,omitempty"`
	Results  []result          `json:"results"`
	// Idle is resident memory of an idle connection, in bytes.
	Idle    map[string]float64 `json:"bytesPerIdleConnection,omitempty"`
	Samples []sample           `json:"samples"`
}

// result is one line of a table: medians over all rounds.
type result struct {
	Case   string        `json:"case"`
	Proxy  string        `json:"proxy"`
	Cost   float64       `json:"cpuMicrosecondsPerRequest"`
	User   float64       `json:"userMicrosecondsPerRequest"`
	Rate   float64       `json:"requestsPerSecond"`
	P50    time.Duration `json:"p50Nanoseconds"`
	P99    time.Duration `json:"p99Nanoseconds"`
	Memory int64         `json:"memoryBytes"`
	// CPU and Tail are the cost and the p99 of the first line of the table by those of this one.
	CPU  ratio `json:"cpuRatio"`
	Tail ratio `json:"p99Ratio"`
}

// ratio is a median of ratios within a round, with its interval.
type ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func (r ratio) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", r.Median, r.Low, r.High) }

// paired compares figures of the same rounds.
func paired(ours, theirs []float64) ratio {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	r := ratio{Median: median(ratios)}
	r.Low, r.High = interval(ratios)
	return r
}

func newReport(ctx context.Context, b *bench) *report {
	r := &report{
		Date: time.Now().UTC().Truncate(time.Second), Rounds: b.options.rounds, Duration: b.options.duration,
		Versions: map[string]string{}, Idle: map[string]float64{},
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
func (r *report) finish(b *bench) {
	r.Load[1] = loadAverage()
	user := func(s sample) float64 { return float64(s.User) / float64(s.Requests) / 1000 }
	rate := func(s sample) float64 { return float64(s.Requests) / s.Seconds }
	p50 := func(s sample) float64 { return float64(s.P50) }
	p99 := func(s sample) float64 { return float64(s.P99) }
	memory := func(s sample) float64 { return float64(s.Memory) }
	for _, c := range b.options.cases {
		of := func(name string, figure func(sample) float64) []float64 { return r.of(name, c.name, figure) }
		for _, p := range b.compared(c) {
			r.Results = append(r.Results, result{
				Case: c.name, Proxy: p.name,
				Cost: median(of(p.name, sample.cost)), User: median(of(p.name, user)), Rate: median(of(p.name, rate)),
				P50: time.Duration(median(of(p.name, p50))), P99: time.Duration(median(of(p.name, p99))),
				Memory: int64(median(of(p.name, memory))),
				CPU:    paired(of(c.base(), sample.cost), of(p.name, sample.cost)),
				Tail:   paired(of(c.base(), p99), of(p.name, p99)),
			})
		}
	}
	r.Missing = b.missing
	for _, p := range b.proxies {
		r.Versions[p.name] = p.version
	}
}

// of returns a figure of one proxy for every round, in the order of the rounds.
func (r *report) of(name, work string, figure func(sample) float64) []float64 {
	var all []float64
	for _, s := range r.Samples {
		if s.Proxy == name && s.Case == work {
			all = append(all, figure(s))
		}
	}
	return all
}

// markdown prints one table for each case.
func (r *report) markdown(w io.Writer, cases []work) {
	fmt.Fprintf(w, "%s, commit %s, %s. %d rounds of %s; load average %s before, %s after.\n",
		r.Date.Format(time.DateTime)+" UTC", r.Commit, r.Machine, r.Rounds, r.Duration, r.Load[0], r.Load[1])
	fmt.Fprintf(w, "Features that do not exist yet in fairlead, so that they cost nothing here: %s.\n", toCome)
	if len(r.Missing) > 0 {
		fmt.Fprintf(w, "Left out, since they are not installed: %s.\n", strings.Join(r.Missing, ", "))
	}
	for _, c := range cases {
		fmt.Fprintf(w, "\n%s (`%s`):\n\n", c.title, c.name)
		fmt.Fprintf(w, "| proxy | CPU us/request (user + system) | CPU of %s by this one's (95 %%) | requests/s |"+
			" p50 us | p99 us | p99 of %[1]s by this one's | memory MB |\n", c.base())
		fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- |")
		for _, line := range r.Results {
			if line.Case == c.name {
				r.line(w, c, line)
			}
		}
		if c.idle > 0 {
			fmt.Fprintf(w, "\nMemory of one idle connection, without the kernel's, KiB: %s.\n", r.idle(c))
		}
	}
}

func (r *report) idle(c work) string {
	var all []string
	for _, line := range r.Results {
		if line.Case == c.name {
			all = append(all, fmt.Sprintf("%s %.1f", line.Proxy, r.Idle[line.Proxy]/(1<<10)))
		}
	}
	return strings.Join(all, ", ")
}

// lines prints the CPU ratios alone, one line a case: CASE ours/haproxy=R ours/nginx=R. A peer that is not there is not in it.
func (r *report) lines(w io.Writer, cases []work) {
	for _, c := range cases {
		text := c.name
		for _, line := range r.Results {
			switch {
			case line.Case != c.name:
			case slices.Contains(peerNames, line.Proxy):
				text += fmt.Sprintf(" ours/%s=%.2f", line.Proxy, line.CPU.Median)
			case line.Proxy == oneHop:
				text += fmt.Sprintf(" two/one=%.2f", line.CPU.Median)
			}
		}
		fmt.Fprintln(w, text)
	}
}

func (r *report) line(w io.Writer, c work, line result) {
	cpu, tail := "-", "-"
	if line.Proxy != c.base() {
		cpu, tail = line.CPU.String(), line.Tail.String()
	}
	name := line.Proxy
	if v := r.Versions[name]; v != "" {
		name += " " + v
	}
	fmt.Fprintf(w, "| %s | %.1f (%.1f + %.1f) | %s | %.0f | %d | %d | %s | %.1f |\n", name, line.Cost, line.User, line.Cost-line.User, cpu,
		line.Rate, line.P50.Microseconds(), line.P99.Microseconds(), tail, float64(line.Memory)/(1<<20))
}
