// Command live measures what an edit or a lost endpoint does to traffic under way, with bin/proxy and files on one machine:
//
//	live swap       a file of 200,000 rules is edited and replaced while requests come at a fixed rate
//	live removal    an endpoint is taken out of a watched file: how long until the last request to it
//
// Requests come at a fixed rate whatever the answers do, and the time of each counts from when it was due: a proxy that stands still for
// a moment makes every request slow that was due then. Any failed request ends the run with an error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	proxy    string
	rate     int
	conns    int
	rounds   int
	window   time.Duration
	dentries int
	all      bool
	beside   bool
	removals int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "live: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o := &options{}
	set := flag.NewFlagSet("live swap|removal", flag.ContinueOnError)
	set.StringVar(&o.proxy, "proxy", "bin/proxy", "Fairlead's proxy")
	set.IntVar(&o.rate, "rate", 500, "requests a second")
	set.IntVar(&o.conns, "conns", 16, "connections they come over")
	set.IntVar(&o.rounds, "rounds", 15, "swap: how often a time with a swap and one without follow each other")
	set.DurationVar(&o.window, "window", 5*time.Second, "swap: how long each of the two is")
	set.IntVar(&o.dentries, "dentries", 200_000, "swap: rules in the file, at most 250,000")
	set.BoolVar(&o.all, "all", false, "swap: every rule is another one, in place of those of one Dtab of 2,000")
	set.BoolVar(&o.beside, "beside", false, "swap: also a time in which another process computes for as long as a swap takes, to tell what two cores cost")
	set.IntVar(&o.removals, "removals", 200, "removal: how often an endpoint is taken out")
	if len(args) == 0 {
		set.Usage()
		return errors.New("expected swap or removal")
	}
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	if min(o.rate, o.conns, o.rounds, o.removals, o.dentries) < 1 || o.dentries > maxDentries || o.window < time.Second || set.NArg() > 0 {
		return errors.New("expected numbers of at least 1, -window of at least 1s, and no arguments")
	}
	dir, err := os.MkdirTemp("", "fairlead-live-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing can be done about it
	if o.proxy, err = filepath.Abs(o.proxy); err != nil {
		return err
	}
	fmt.Printf("%s UTC, %d requests/s over %d connections, load average %s before", time.Now().UTC().Format(time.DateTime), o.rate, o.conns,
		loadAverage())
	switch args[0] {
	case "swap":
		return swap(ctx, o, dir)
	case "removal":
		return removal(ctx, o, dir)
	}
	return fmt.Errorf("expected swap or removal, found %q", args[0])
}

func loadAverage() string {
	data, _ := os.ReadFile("/proc/loadavg")
	return string(data[:min(4, len(data))])
}
