// Command bench compares what one request costs in Fairlead's proxy and in its peers: HAProxy, nginx and httputil.ReverseProxy.
// It is a comparison of processes side by side on one machine, not a load test: absolute figures depend on the machine and on
// what else it does; the ratios of one round do so far less.
//
// All proxies are up at once on one core, in front of the same three backends; the backends and the load have another core. A round
// loads every proxy in every case (cases.go), in random order. The cost of a request is the CPU time (user and system) that the proxy's
// processes took in that time by the number of requests answered. A ratio is the median over all rounds of the ratios within a round, with
// a bootstrap interval of 95 %. A second instance of Fairlead's proxy shows how large a ratio this machine makes of no difference at all.
// With -dentries a third one has that many rules: what they cost a request. The cases "hops" compare one proxy of Fairlead's with two, as
// they stand on two nodes of a cluster.
//
// The load is wrk's; that of an open loop, the idle connections and the backends are this program in processes of their own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds   int
	duration time.Duration
	cases    []work
	peers    []string
	proxy    string
	other    string
	commands string
	jsonFile string
	dentries int
	quick    bool
}

func main() {
	if len(os.Args) > 1 {
		parts := map[string]func([]string) error{
			reverseProxyArg: serveReverseProxy, backendArg: serveBackend, openLoopArg: runOpenLoop, holdArg: holdConnections,
		}
		if part := parts[os.Args[1]]; part != nil {
			exit(part(os.Args[2:]))
		}
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse(args []string) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := set.Bool("quick", false, "other defaults, for a result in a minute: "+quickCases+", HAProxy and nginx, rounds of 300ms; "+
		"standard output has one line a case, the tables go to standard error")
	set.IntVar(&o.rounds, "rounds", 15, "how many rounds; every proxy is loaded once in each")
	set.DurationVar(&o.duration, "duration", time.Second, "how long one proxy is loaded in one round")
	cases := set.String("cases", allCases, "what to compare: some of "+caseNames())
	peers := set.String("peers", strings.Join(peerNames, ","), "what to compare with")
	set.StringVar(&o.proxy, "proxy", "bin/proxy", "Fairlead's proxy")
	set.StringVar(&o.other, "other", "", "another build of it for the second instance, to compare two builds; empty: the same")
	set.StringVar(&o.commands, "commands", "", "folder with haproxy, nginx and wrk; empty: those in PATH")
	set.StringVar(&o.jsonFile, "json", "", "file for every round's figures, as JSON")
	set.IntVar(&o.dentries, "dentries", 0, "a third instance with that many rules in Dtabs of 2,000, the other two with ten; 0: none")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if o.quick = *quick; o.quick {
		given := make(map[string]bool)
		set.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range map[string]string{"cases": quickCases, "peers": "haproxy,nginx", "duration": "300ms"} {
			if given[name] {
				continue
			}
			if err := set.Set(name, value); err != nil {
				return nil, err
			}
		}
	}
	var err error
	if o.cases, err = parseCases(*cases); err != nil {
		return nil, err
	}
	for _, p := range strings.FieldsFunc(*peers, func(r rune) bool { return r == ',' }) {
		if !slices.Contains(peerNames, p) {
			return nil, fmt.Errorf("-peers: expected some of %s, found %q", strings.Join(peerNames, ","), p)
		}
		o.peers = append(o.peers, p)
	}
	if o.rounds < 1 || o.duration < 200*time.Millisecond || set.NArg() > 0 {
		return nil, errors.New("expected -rounds of at least 1, -duration of at least 200ms, and no arguments")
	}
	if o.dentries < 0 || o.dentries > maxDentries {
		return nil, fmt.Errorf("-dentries: expected 0 to %d, found %d", maxDentries, o.dentries)
	}
	if o.other == "" {
		o.other = o.proxy
	}
	return o, nil
}

// run compares and prints.
func run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing can be done about it
	b, err := newBench(o, dir)
	if err != nil {
		return err
	}
	r := newReport(ctx, b)
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	measured, failed := b.rounds(ctx, r)
	if len(measured) == 0 {
		return failed
	}
	o.cases = measured
	r.finish(b)
	if o.quick {
		r.markdown(os.Stderr, o.cases)
		r.lines(os.Stdout, o.cases)
	} else {
		r.markdown(os.Stdout, o.cases)
	}
	if o.jsonFile == "" {
		return failed
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return errors.Join(failed, os.WriteFile(o.jsonFile, append(data, '\n'), 0o644))
}

// rounds takes all samples: of the cases with idle connections last and one by one, since those are open all the while. It returns the
// cases that it has all samples of, and an error where one is missing.
func (b *bench) rounds(ctx context.Context, r *report) (measured []work, err error) {
	for _, c := range b.options.cases {
		if c.idle == 0 {
			measured = append(measured, c)
		}
	}
	if len(measured) > 0 {
		if err := b.interleaved(ctx, r, measured); err != nil {
			return nil, err
		}
	}
	for _, c := range b.options.cases {
		if c.idle == 0 {
			continue
		}
		err := b.hold(ctx, r, c)
		if err == nil {
			err = b.interleaved(ctx, r, []work{c})
		}
		if err = errors.Join(err, b.release()); err != nil {
			return measured, fmt.Errorf("%s: %w", c.name, err)
		}
		measured = append(measured, c)
	}
	return measured, nil
}

// interleaved takes the samples of some cases.
func (b *bench) interleaved(ctx context.Context, r *report, cases []work) error {
	for _, c := range cases {
		for _, p := range b.compared(c) { // buffers, pools and connections come into being
			if _, err := b.measure(ctx, p, c, min(b.options.duration, time.Second/2)); err != nil {
				return err
			}
		}
	}
	for round := range b.options.rounds {
		if err := b.round(ctx, r, round, cases); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "\rbench: round %d of %d ", round+1, b.options.rounds)
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

// round loads every proxy once in every case, in random order. The measurements that are compared with each other follow one another
// closely.
func (b *bench) round(ctx context.Context, r *report, round int, cases []work) error {
	for _, i := range rand.Perm(len(cases)) {
		c := cases[i]
		proxies := b.compared(c)
		for _, j := range rand.Perm(len(proxies)) {
			s, err := b.measure(ctx, proxies[j], c, b.options.duration)
			if err != nil {
				return err
			}
			s.Round, s.Case, s.Proxy = round, c.name, proxies[j].name
			r.Samples = append(r.Samples, s)
		}
	}
	return nil
}
