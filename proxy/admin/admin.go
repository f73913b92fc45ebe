// Package admin is the proxy's read-only HTTP server for people, probes and scrapers, port 9990 as in Linkerd. It is not part
// of the data path, changes nothing, and is bounded so that no caller of it can slow a request down.
package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// maxConcurrent is the number of requests served at once, probes apart. A scrape keeps one core busy for a moment; four
// are more than any sane set of scrapers needs at once.
const maxConcurrent = 4

// Options say what the pages show. A page whose source is nil does not exist, except that a nil Ready is always ready.
type Options struct {
	// Metrics is shown as /metrics.json; the server's own counters are below admin/ in it. Required.
	Metrics *telemetry.Tree
	// Prometheus serves /admin/metrics/prometheus.
	Prometheus http.Handler
	// Ready returns why the proxy is not ready. It must not block: a probe waits for it.
	Ready func() error
	// Config returns what /config.json shows, to be encoded as JSON. Secrets are for the caller to leave out.
	Config func() any
	// Extra are further JSON pages by path: /client_state.json, /bound-names.json, /namer_state.json.
	Extra map[string]func() any
	// Questions are further JSON pages that are asked something: /delegator.json.
	Questions map[string]Question
	// Log gets what net/http has to say about connections and panics.
	Log logr.Logger
}

// handler serves fixed paths; a map of them is also the list of them.
type handler struct {
	pages    map[string]page
	busy     chan struct{}
	requests *telemetry.Counter
	rejected *telemetry.Counter
}

type page struct {
	serve   http.HandlerFunc
	about   string
	methods string // "" is GET and HEAD
	probe   bool   // served even if all slots are taken: a slow scraper must not get the pod killed
}

// Handler returns the pages. At most four requests are served at once; more get 503 and are counted in admin/rejected. Liveness
// and readiness probes are always served.
func Handler(o Options) http.Handler {
	own := o.Metrics.Scope("admin")
	h := &handler{
		pages: map[string]page{}, busy: make(chan struct{}, maxConcurrent),
		requests: own.Counter("requests"), rejected: own.Counter("rejected"),
	}
	h.pages["/admin/ping"] = page{serve: ping, about: "pong, while the process is alive", probe: true}
	h.pages["/admin/ready"] = page{serve: ready(o.Ready), about: "200, or 503 with the reason", probe: true}
	metrics := page{serve: metricsJSON(o.Metrics), about: "metrics as flat JSON; ?q=rt/outgoing narrows it to a subtree"}
	h.pages["/metrics.json"], h.pages["/admin/metrics.json"] = metrics, metrics
	if o.Prometheus != nil {
		h.pages["/admin/metrics/prometheus"] = page{serve: o.Prometheus.ServeHTTP, about: "metrics for Prometheus"}
	}
	if o.Config != nil {
		h.pages["/config.json"] = page{serve: jsonPage(o.Config), about: "the configuration in use"}
	}
	for path, value := range o.Extra {
		h.pages[path] = page{serve: jsonPage(value), about: "state of the proxy"}
	}
	for path, q := range o.Questions {
		h.pages[path] = page{serve: q.serve, about: q.About, methods: q.methods()}
	}
	index := page{serve: h.index, about: "this list"}
	h.pages["/admin"], h.pages["/admin/index.txt"] = index, index
	h.addProfiles()
	return h
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Incr(0)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	path := strings.TrimSuffix(r.URL.Path, "/")
	if path == "" {
		path = "/admin"
	}
	p, ok := h.pages[path]
	if methods := cmp.Or(p.methods, "GET, HEAD"); !slices.Contains(strings.Split(methods, ", "), r.Method) {
		w.Header().Set("Allow", methods)
		http.Error(w, "this port is read only: "+methods+" expected", http.StatusMethodNotAllowed)
		return
	}
	if !ok {
		http.Error(w, "no such page; /admin lists those there are", http.StatusNotFound)
		return
	}
	if !p.probe {
		select {
		case h.busy <- struct{}{}:
			defer func() { <-h.busy }()
		default:
			h.rejected.Incr(0)
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("busy: %d requests are being served, no more at once", maxConcurrent), http.StatusServiceUnavailable)
			return
		}
	}
	p.serve(w, r)
}

func (h *handler) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, path := range slices.Sorted(maps.Keys(h.pages)) {
		fmt.Fprintf(w, "%-28s %s\n", path, h.pages[path].about)
	}
}

func ping(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "pong") }

func ready(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if check != nil {
			if err := check(); err != nil {
				text(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		text(w, http.StatusOK, "ready")
	}
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, body)
}

func metricsJSON(tree *telemetry.Tree) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query().Get("q")
		w.Header().Set("Content-Type", "application/json")
		if err := tree.WriteJSON(w, q); errors.Is(err, telemetry.ErrNoMetrics) {
			http.Error(w, fmt.Sprintf("no metrics at %q", q), http.StatusNotFound)
		} // any other error is the caller gone away
	}
}

// jsonPage encodes before it answers, so that a value that cannot be encoded is a 500 and not half a page.
func jsonPage(value func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(value()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body.Bytes()) // an error is the caller gone away
	}
}

// fromLoopback reports whether a request came from this machine or, in a cluster, this Pod.
func fromLoopback(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().IsLoopback()
}
