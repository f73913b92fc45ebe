// Command experiment repeats the experiment that Linkerd published for its load balancers: eleven backends, one of which becomes slow for a
// minute, clients that wait for a second, a thousand requests a second whatever the answers do. It tells for each balancer how many requests
// succeeded and how long they took, first with nothing but balancing, then with circuits and retries; beside HAProxy and nginx with nothing
// but balancing.
//
// Backends, proxies and load are processes of their own. Times of answers are drawn by seeds that are the same for every side, so is when
// requests are sent. A request that has no answer a second after it was meant to be sent has failed, and counts as one second.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options of an experiment.
type options struct {
	rounds  int
	rate    int
	atOnce  int
	seed    uint64
	phases  phases
	timeout time.Duration
	sides   []string
	tables  []string

	proxy, commands string
}

// phases of a run: all backends are well, then one answers after delay more, then all are well again.
type phases struct {
	before, slow, after, delay time.Duration
}

func (p phases) total() time.Duration { return p.before + p.slow + p.after }

// expected is the share of requests that succeed where each backend gets as many, in percent.
func (p phases) expected() float64 {
	return 100 * (1 - p.slow.Seconds()/p.total().Seconds()/endpoints)
}

// The tables: nothing but balancing, and all that protects.
const (
	tableOff = "off"
	tableOn  = "on"
)

func main() {
	if len(os.Args) > 1 {
		for name, part := range map[string]func([]string) error{backendArg: serveBackends, loadArg: runLoad} {
			if os.Args[1] == name {
				exit(part(os.Args[2:]))
			}
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
		fmt.Fprintf(os.Stderr, "experiment: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse(args []string) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("experiment", flag.ContinueOnError)
	set.IntVar(&o.rounds, "rounds", 10, "how often each side is run")
	set.IntVar(&o.rate, "rate", 1000, "requests a second to each side")
	set.IntVar(&o.atOnce, "at-once", 4, "how many sides run at the same time; the table says how busy the machine was")
	set.Uint64Var(&o.seed, "seed", 1, "of the first round; each round has the next")
	set.DurationVar(&o.phases.before, "before", 25*time.Second, "how long all backends are well")
	set.DurationVar(&o.phases.slow, "slow", 60*time.Second, "how long one is slow")
	set.DurationVar(&o.phases.after, "after", 25*time.Second, "how long all are well again")
	set.DurationVar(&o.phases.delay, "delay", 2*time.Second, "how slow it is")
	set.DurationVar(&o.timeout, "timeout", time.Second, "how long a client waits")
	sides := set.String("sides", strings.Join(sideNames(), ","), "what to compare")
	tables := set.String("tables", tableOff+","+tableOn, "off: nothing but balancing; on: circuits and retries, for Fairlead alone")
	set.StringVar(&o.proxy, "proxy", "bin/proxy", "Fairlead's proxy")
	set.StringVar(&o.commands, "commands", "", "folder with haproxy and nginx; empty: those in PATH")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	o.sides, o.tables = strings.Split(*sides, ","), strings.Split(*tables, ",")
	for _, s := range o.sides {
		if !slices.Contains(sideNames(), s) {
			return nil, fmt.Errorf("-sides: expected some of %s, found %q", strings.Join(sideNames(), ","), s)
		}
	}
	for _, t := range o.tables {
		if t != tableOff && t != tableOn {
			return nil, fmt.Errorf("-tables: expected off, on or both, found %q", t)
		}
	}
	if o.rounds < 1 || o.rate < 1 || o.atOnce < 1 || set.NArg() > 0 {
		return nil, errors.New("expected -rounds, -rate and -at-once of at least 1, and no arguments")
	}
	return o, nil
}

// run prints a table for each of the options.
func run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "fairlead-experiment-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing can be done about it
	for _, table := range o.tables {
		sides := o.sides
		if table == tableOn {
			sides = slices.DeleteFunc(slices.Clone(sides), func(name string) bool { return balancers[name] == "" })
		}
		results := make(map[string][]result)
		busy := 0.0
		for round := range o.rounds {
			for group := range slices.Chunk(sides, o.atOnce) {
				got, used, err := runGroup(ctx, o, dir, table, group, o.seed+uint64(round))
				if err != nil {
					return err
				}
				busy = max(busy, used)
				for name, r := range got {
					results[name] = append(results[name], r)
				}
			}
			fmt.Fprintf(os.Stderr, "experiment: %s, round %d of %d\n", table, round+1, o.rounds)
		}
		fmt.Println(report(o, table, sides, results, busy))
	}
	return nil
}
