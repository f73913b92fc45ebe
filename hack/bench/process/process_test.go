package process_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// TestUsage: CPU time of a process counts what its children take, in parts of a clock tick.
func TestUsage(t *testing.T) {
	const script = `sh -c 'while :; do :; done' & trap "kill $!; exit" TERM; wait`
	p, err := process.Start(t.TempDir(), "loop", process.AnyCore, nil, "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	var first, last process.Usage
	for deadline := time.Now().Add(20 * time.Second); last.CPU-first.CPU < 50*time.Millisecond; {
		if time.Now().After(deadline) {
			t.Fatalf("a busy child takes no time: %+v, %+v", first, last)
		}
		if last, err = p.Usage(); err != nil {
			t.Fatal(err)
		}
		if first.CPU == 0 && len(p.Tree()) == 2 {
			first = last
		}
	}
	if last.CPU%(10*time.Millisecond) == 0 {
		t.Errorf("%v: no finer than a clock tick", last.CPU)
	}
	if last.User > 2*last.CPU {
		t.Errorf("user time %v of %v", last.User, last.CPU)
	}
	if m, err := p.Memory(); err != nil || m < 64<<10 || m > 64<<20 {
		t.Errorf("two shells have %d bytes, %v", m, err)
	}
}

// TestAnswersTellsWhy: a process that ends, or answers wrongly, is named with what it printed.
func TestAnswersTellsWhy(t *testing.T) {
	p, err := process.Start(t.TempDir(), "broken", process.AnyCore, nil, "sh", "-c", "echo port taken >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	err = p.Answers(t.Context(), time.Millisecond, func() error { return os.ErrDeadlineExceeded })
	if err == nil || !strings.Contains(err.Error(), "broken: ended (exit status 3): port taken") {
		t.Error(err)
	}
}

func TestCatches(t *testing.T) {
	const script = `trap : USR1; sleep 60 & trap "kill $!; exit" TERM; wait`
	p, err := process.Start(t.TempDir(), "trap", process.AnyCore, nil, "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	err = p.Answers(t.Context(), time.Millisecond, func() error {
		if caught, err := process.Catches(p.Tree()[0], syscall.SIGUSR1); err != nil || !caught {
			return errors.Join(err, errors.New("USR1 is not caught"))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if caught, err := process.Catches(p.Tree()[0], syscall.SIGUSR2); err != nil || caught {
		t.Errorf("USR2: %v, %v", caught, err)
	}
}
