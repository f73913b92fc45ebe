package admin

import (
	"net/http"
	"net/http/pprof"
	"strconv"
)

// maxProfileSeconds bounds how long one caller can keep the profiler and one of the four slots.
const maxProfileSeconds = 60

// addProfiles adds Go's profiles under the paths that go tool pprof knows.
func (h *handler) addProfiles() {
	add := func(path, about string, serve http.HandlerFunc) {
		h.pages[path] = page{serve: local(serve), about: about + " (from loopback only)"}
	}
	add("/debug/pprof", "profiles of the Go runtime", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/debug/pprof/" // the index tells itself from a profile by the slash
		pprof.Index(w, r)
	})
	add("/debug/pprof/profile", "CPU profile, ?seconds=30", pprof.Profile)
	add("/debug/pprof/trace", "execution trace, ?seconds=1", pprof.Trace)
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		add("/debug/pprof/"+name, name+" profile", pprof.Handler(name).ServeHTTP)
	}
}

// local refuses callers from other machines: a profile costs time and shows what memory holds.
func local(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !fromLoopback(r) {
			http.Error(w, "profiles are given to loopback callers only (kubectl port-forward is one)", http.StatusForbidden)
			return
		}
		if s := r.URL.Query().Get("seconds"); s != "" {
			if n, err := strconv.ParseFloat(s, 64); err != nil || !(n > 0 && n <= maxProfileSeconds) {
				http.Error(w, "seconds: expected a number above 0, at most 60", http.StatusBadRequest)
				return
			}
		}
		serve(w, r)
	}
}
