package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead/fairlead/test/testkit/load/openloop"
)

// maxRuns is how many names may be in use; a run is kept until its name is used again.
const maxRuns = 16

// control holds the runs by name.
type control struct {
	hostIP string
	mu     sync.Mutex
	runs   map[string]*openloop.Run
}

func newControl(hostIP string) *control {
	return &control{hostIP: hostIP, runs: map[string]*openloop.Run{}}
}

func (c *control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /start", c.start)
	mux.HandleFunc("POST /stop", c.stop)
	mux.HandleFunc("GET /results", c.results)
	mux.HandleFunc("GET /split", c.split)
	mux.HandleFunc("GET /get", c.get)
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { answer(w, "ready") })
	return mux
}

// close ends all runs.
func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, run := range c.runs {
		run.Stop()
	}
}

// target fills the node's address in.
func (c *control) target(query url.Values) string {
	return strings.ReplaceAll(query.Get("target"), "$HOST_IP", c.hostIP)
}

// start replaces the run of that name.
func (c *control) start(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	o := openloop.Options{Target: c.target(query), Host: query.Get("host")}
	var err, countErr error
	o.Rate, err = strconv.ParseFloat(query.Get("rate"), 64)
	if count := query.Get("count"); count != "" {
		o.Count, countErr = strconv.Atoi(count)
	}
	if err = errors.Join(err, countErr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.runs[query.Get("name")]
	if old == nil && len(c.runs) >= maxRuns {
		http.Error(w, fmt.Sprintf("%d runs have names, no more", maxRuns), http.StatusTooManyRequests)
		return
	}
	run, err := openloop.Start(o) //nolint:contextcheck // a run goes on after the request that began it
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if old != nil {
		old.Stop()
	}
	c.runs[query.Get("name")] = run
	answer(w, o)
}

func (c *control) run(w http.ResponseWriter, r *http.Request) *openloop.Run {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := c.runs[r.URL.Query().Get("name")]
	if run == nil {
		http.Error(w, fmt.Sprintf("no run is called %q", r.URL.Query().Get("name")), http.StatusNotFound)
	}
	return run
}

func (c *control) stop(w http.ResponseWriter, r *http.Request) {
	if run := c.run(w, r); run != nil {
		run.Stop()
		answer(w, run.Summary())
	}
}

func (c *control) results(w http.ResponseWriter, r *http.Request) {
	if run := c.run(w, r); run != nil {
		answer(w, run.Summary())
	}
}

// split is for people: "v1 901" and so on by line, then how many failed.
func (c *control) split(w http.ResponseWriter, r *http.Request) {
	run := c.run(w, r)
	if run == nil {
		return
	}
	summary := run.Summary()
	for _, version := range slices.Sorted(maps.Keys(summary.Versions)) {
		fmt.Fprintf(w, "%s %d\n", version, summary.Versions[version].Count)
	}
	fmt.Fprintf(w, "failed %d\n", summary.Failed)
}

func (c *control) get(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	sample, err := openloop.Once(r.Context(), c.target(query), query.Get("host"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, sample)
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value) //nolint:errcheck // the caller's loss
}
