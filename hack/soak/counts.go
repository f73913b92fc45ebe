package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// parts is how many parts of the time failures are counted in.
const parts = 4

// counts of what happened.
type counts struct {
	begin    time.Time
	duration time.Duration
	// requests and took, in nanoseconds, are by kind.
	requests, took [len(kinds)]atomic.Int64

	mu sync.Mutex
	// failures are by kind and part of the time; the last kind is that of the edits. first is the first of each kind.
	failures [len(kinds) + 1][parts]int
	first    [len(kinds) + 1]error
	edits    []time.Duration
}

// fail counts a failure, of which the first of its kind is kept.
func (c *counts) fail(kind int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	part := min(int(time.Since(c.begin)*parts/c.duration), parts-1)
	c.failures[kind][part]++
	c.first[kind] = cmp.Or(c.first[kind], err)
}

// edit counts an edit and how long it took to be served.
func (c *counts) edit(took time.Duration, err error) {
	if err != nil {
		c.fail(len(kinds), err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edits = append(c.edits, took)
}

func (c *counts) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "| requests | number | mean ms | failures, by quarter |\n| --- | --- | --- | --- |\n")
	for i, k := range kinds {
		n := c.requests[i].Load()
		mean := time.Duration(c.took[i].Load() / max(n, 1))
		_, _ = fmt.Fprintf(w, "| %s | %d | %.1f | %d |\n", k.name, n, mean.Seconds()*1e3, c.failures[i])
	}
	slices.Sort(c.edits)
	if n := len(c.edits); n > 0 {
		_, _ = fmt.Fprintf(w, "| edits, until served | %d | median %d, most %d | %d |\n",
			n, c.edits[n/2].Milliseconds(), c.edits[n-1].Milliseconds(), c.failures[len(kinds)])
	}
}

// err returns the first failure of each kind.
func (c *counts) err() error {
	var errs []error
	for kind, err := range c.first {
		if err == nil {
			continue
		}
		name := "edit"
		if kind < len(kinds) {
			name = kinds[kind].name
		}
		errs = append(errs, fmt.Errorf("%s: %d failures by quarter, the first: %w", name, c.failures[kind], err))
	}
	return errors.Join(errs...)
}
