package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

const swapLimit = time.Minute

// swap edits rules of the file in every second window, and compares the requests of both kinds of windows.
func swap(ctx context.Context, o *options, dir string) (err error) {
	r, err := newRig(dir)
	if err != nil {
		return err
	}
	for _, version := range []string{"web", "v1", "v2"} {
		b, err := newBackend(version)
		if err != nil {
			return err
		}
		defer b.server.Close() //nolint:errcheck // the process ends
		if err := r.put(filepath.Join("disco", version), b.line()); err != nil {
			return err
		}
	}
	texts := map[string]string{}
	for _, version := range []string{"v1", "v2"} {
		texts[version] = r.mesh() + rules(o.dentries-1, version, o.all)
	}
	if err := r.put("mesh.yaml", texts["v1"]); err != nil {
		return err
	}
	if err := r.start(ctx, o.proxy, "web"); err != nil {
		return err
	}
	defer r.Stop()
	fmt.Printf(", %d rules in %.1f MB\n", o.dentries, float64(len(texts["v1"]))/(1<<20))
	var f figures
	if err := f.take(ctx, o, r, texts); err != nil {
		return err
	}
	return f.report(r)
}

// figures are the times of requests in both kinds of windows, and those of the swaps.
type figures struct {
	control, swapping, took []time.Duration
	// beside is of the windows in which another process computed for as long as the swap before.
	beside []time.Duration
}

func (f *figures) take(ctx context.Context, o *options, r *rig, texts map[string]string) (err error) {
	l, err := startLoad(ctx, o, r.addr, "web")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	for round := range o.rounds {
		if o.beside && len(f.took) > 0 {
			if err := f.besideOther(ctx, o, l); err != nil {
				return err
			}
		}
		for _, swaps := range []bool{round%2 == 0, round%2 != 0} {
			version := fmt.Sprintf("v%d", 2-round%2)
			if err := prepare(r.dir, texts[version]); err != nil {
				return err
			}
			pause(ctx, time.Second) // what writing the file cost is over
			if _, err := l.take(); err != nil {
				return err
			}
			begin := time.Now()
			if swaps {
				t, err := swapOnce(ctx, r, version)
				if err != nil {
					return err
				}
				f.took = append(f.took, t)
			}
			pause(ctx, o.window-time.Since(begin))
			times, err := l.take()
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if swaps {
				f.swapping = append(f.swapping, times...)
			} else {
				f.control = append(f.control, times...)
			}
		}
	}
	return nil
}

// besideOther takes the times of a window at whose beginning another process computes.
func (f *figures) besideOther(ctx context.Context, o *options, l *load) error {
	if _, err := l.take(); err != nil {
		return err
	}
	begin := time.Now()
	other := process.Pinned(process.AnyCore, []string{"sh", "-c", "while :; do :; done"})
	if err := other.Start(); err != nil {
		return err
	}
	pause(ctx, f.took[len(f.took)-1])
	err := errors.Join(other.Process.Kill(), ctx.Err())
	_ = other.Wait() // it was killed
	pause(ctx, o.window-time.Since(begin))
	times, failed := l.take()
	f.beside = append(f.beside, times...)
	return errors.Join(err, failed)
}

func (f *figures) report(r *rig) error {
	memory, err := r.Memory()
	if err != nil {
		return err
	}
	fmt.Printf("swap to served: median %s, most %s (%d swaps)\n", ms(at(0.5, f.took)), ms(at(1, f.took)), len(f.took))
	fmt.Printf("\n| | p50 | p99 | p99.9 | most | requests |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, line := range []struct {
		what  string
		times []time.Duration
	}{{"control", f.control}, {"with a swap", f.swapping}, {"beside another process", f.beside}} {
		if len(line.times) == 0 {
			continue
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %d |\n", line.what, ms(at(0.5, line.times)), ms(at(0.99, line.times)), ms(at(0.999, line.times)),
			ms(at(1, line.times)), len(line.times))
	}
	fmt.Printf("\np99.9 with a swap by that of the control: %.2f; memory after all swaps %.0f MB; load average %s after\n",
		float64(at(0.999, f.swapping))/float64(at(0.999, f.control)), float64(memory)/(1<<20), loadAverage())
	return nil
}

// prepare writes the file that will replace the one that is served. That one gets a second name, so that the kernel frees its 19 MB now:
// done while it is replaced, this keeps one of two cores for 10 ms, whoever reads the file.
func prepare(dir, text string) error {
	served, old := filepath.Join(dir, "mesh.yaml"), filepath.Join(dir, "old")
	if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(os.Link(served, old), os.WriteFile(filepath.Join(dir, "next"), []byte(text), 0o644))
}

// swapOnce puts the file that was written before in place, and returns how long it took until its rules were served.
func swapOnce(ctx context.Context, r *rig, version string) (time.Duration, error) {
	a, err := ask(r.addr, "edit")
	if err != nil {
		return 0, err
	}
	defer a.close()
	begin := time.Now()
	if err := os.Rename(filepath.Join(r.dir, "next"), filepath.Join(r.dir, "mesh.yaml")); err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		got, err := a.ask()
		if err != nil {
			return 0, fmt.Errorf("during a swap: %w", err)
		}
		if got == version {
			return time.Since(begin), nil
		}
		if time.Since(begin) > swapLimit {
			return 0, fmt.Errorf("%s is not served after %s: %s", version, swapLimit, r.Output())
		}
		pause(ctx, 2*time.Millisecond)
	}
	return 0, ctx.Err()
}

// rules are n of names that nobody asks for, and the last for the name edit. Those of the last Dtab, or all, are others in every version.
func rules(n int, version string, all bool) string {
	var text strings.Builder
	for i := range n + 1 {
		if i%perDtab == 0 {
			fmt.Fprintf(&text, "---\napiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: rules-%03d}\n"+
				"spec:\n  meshRef: {name: live}\n  router: outgoing\n  dentries:\n", i/perDtab)
		}
		if i == n {
			fmt.Fprintf(&text, "  - {prefix: /svc/edit, dst: /#/io.l5d.fs/%s}\n", version)
			break
		}
		canary := "canary"
		if all || i/perDtab == n/perDtab {
			canary += "-" + version
		}
		fmt.Fprintf(&text, "  - {prefix: /svc/team-%d/name-%d, dst: 9 * /#/io.l5d.fs/name-%d & 1 * /#/io.l5d.fs/%s}\n", i%100, i, i, canary)
	}
	return text.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
