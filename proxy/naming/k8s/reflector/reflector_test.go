package reflector

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a store that remembers the names of objects.
type names struct {
	mu       sync.Mutex
	have     map[string]bool
	replaced int
	changed  chan struct{}
}

func newNames() *names { return &names{have: map[string]bool{}, changed: make(chan struct{}, 1)} }

func (n *names) update(change func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	select {
	case n.changed <- struct{}{}:
	default:
	}
	return nil
}

func (n *names) Add(obj any) error { return n.Update(obj) }
func (n *names) Update(obj any) error {
	return n.update(func() { n.have[obj.(*corev1.Service).Name] = true })
}
func (n *names) Delete(obj any) error {
	return n.update(func() { delete(n.have, obj.(*corev1.Service).Name) })
}
func (n *names) Resync() error { return nil }
func (n *names) Replace(list []any, _ string) error {
	return n.update(func() {
		n.replaced++
		n.have = map[string]bool{}
		for _, o := range list {
			n.have[o.(*corev1.Service).Name] = true
		}
	})
}

// await returns when ok says so of the names held.
func (n *names) await(t *testing.T, what string, ok func(map[string]bool) bool) {
	t.Helper()
	n.awaitFor(t, 20*time.Second, what, ok)
}

func (n *names) awaitFor(t *testing.T, within time.Duration, what string, ok func(map[string]bool) bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		n.mu.Lock()
		done := ok(n.have)
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-n.changed:
		case <-deadline.C:
			t.Fatalf("%s: have %v", what, n.have)
		}
	}
}

// api is an API server that plays a script: one answer per request, the last one again and again.
type api struct {
	*httptest.Server
	requests atomic.Int32
	stop     chan struct{}
}

type answer func(w http.ResponseWriter, r *http.Request, stop <-chan struct{})

func newAPI(t *testing.T, script ...answer) *api {
	a := &api{stop: make(chan struct{})}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := min(int(a.requests.Add(1)), len(script)) - 1
		w.Header().Set("Content-Type", "application/json")
		script[i](w, r, a.stop)
	}))
	t.Cleanup(func() { close(a.stop); a.CloseClientConnections(); a.Close() })
	return a
}

func event(kind, name, version string) string {
	obj := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "d", ResourceVersion: version},
	}
	if kind == "BOOKMARK" {
		obj.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	raw, _ := json.Marshal(obj)
	return `{"type":"` + kind + `","object":` + string(raw) + "}\n"
}

// events answers a watch, and then stays silent until the request or the test ends.
func events(lines ...string) answer {
	return func(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
		_, _ = w.Write([]byte(strings.Join(lines, "")))
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
}

// resume answers a watch that goes on after a and one that starts anew: client-go takes either way after a short watch.
func resume(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		events(event("ADDED", "a", "5"), event("ADDED", "b", "7"), event("BOOKMARK", "", "8"))(w, r, stop)
		return
	}
	events(event("ADDED", "b", "7"))(w, r, stop)
}

// cut answers a watch and breaks the connection.
func cut(lines ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		_, _ = w.Write([]byte(strings.Join(lines, "")))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func status(code int) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) { http.Error(w, "{}", code) }
}

// start runs a Reflector; failed gets its errors.
func start(t *testing.T, a *api, silence time.Duration) (store *names, r *Reflector, tree *telemetry.Tree, failed chan error) {
	t.Helper()
	return startWith(t, &rest.Config{Host: a.URL}, silence)
}

func startWith(t *testing.T, cfg *rest.Config, silence time.Duration) (store *names, r *Reflector, tree *telemetry.Tree, failed chan error) {
	t.Helper()
	store, r, tree, failed = stopped(t, cfg, silence)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return store, r, tree, failed
}

// stopped makes a Reflector and does not run it.
func stopped(t *testing.T, cfg *rest.Config, silence time.Duration) (store *names, r *Reflector, tree *telemetry.Tree, failed chan error) {
	t.Helper()
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Service{}, &corev1.ServiceList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	cfg.APIPath, cfg.QPS, cfg.GroupVersion = "/api", -1, &corev1.SchemeGroupVersion
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	store, tree, failed = newNames(), telemetry.New(), make(chan error, 1000)
	r = New(Options{
		Client: client, Resource: "services", Object: &corev1.Service{}, Store: store, Scope: tree, Silence: silence,
		Log: logr.Discard(), OnError: func(err error) { failed <- err },
	})
	t.Cleanup(client.Client.CloseIdleConnections)
	return store, r, tree, failed
}

func has(name string) func(map[string]bool) bool {
	return func(have map[string]bool) bool { return have[name] }
}

func TestHeals(t *testing.T) {
	first := event("ADDED", "a", "5") + event("BOOKMARK", "", "6")
	again := event("ADDED", "a", "5") + event("ADDED", "b", "7") + event("BOOKMARK", "", "8")
	expired := `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","code":410,"reason":"Expired","message":"too old"}}` + "\n"
	for name, script := range map[string][]answer{
		"connection cut":         {cut(first), resume},
		"cut during the list":    {cut(event("ADDED", "x", "1")), events(again)},
		"410 in the watch":       {events(first + expired), events(again)},
		"410 as the answer":      {cut(first), status(http.StatusGone), status(http.StatusGone), events(again)},
		"404 at first":           {status(http.StatusNotFound), status(http.StatusNotFound), events(again)},
		"403 and 500 in between": {cut(first), status(http.StatusForbidden), status(http.StatusInternalServerError), events(again)},
		"429":                    {cut(first), status(http.StatusTooManyRequests), events(again)},
		"half an event":          {cut(first + `{"type":"ADD`), resume},
	} {
		t.Run(name, func(t *testing.T) {
			store, r, _, _ := start(t, newAPI(t, script...), 0)
			store.await(t, "the object that came after the break", has("b"))
			if !store.have["a"] || store.have["x"] {
				t.Errorf("have %v, want a and b", store.have)
			}
			if at, err := r.Contact(); err != nil || at.IsZero() {
				t.Errorf("contact after healing: %v, %v", at, err)
			}
		})
	}
}

// An API server that does not stream lists is asked for one, without a word and never again for a stream, and never for a list
// that may be old.
func TestListIsNeverOld(t *testing.T) {
	asked := make(chan string, 10)
	a := newAPI(t, status(http.StatusUnprocessableEntity), func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
		asked <- r.URL.Query().Get("resourceVersion")
		_, _ = w.Write([]byte(`{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"6"},"items":[
			{"metadata":{"name":"a","namespace":"d","resourceVersion":"5"}}]}`))
	}, events(event("ADDED", "b", "7")))
	store, _, _, failed := start(t, a, 0)
	store.await(t, "the list and what came after it", func(have map[string]bool) bool { return have["a"] && have["b"] })
	if version := <-asked; version != "" {
		t.Errorf("listed with resourceVersion=%s", version)
	}
	if len(failed) > 0 || a.requests.Load() != 3 {
		t.Errorf("%d requests, %d errors", a.requests.Load(), len(failed))
	}
}

func TestSilenceIsABreak(t *testing.T) {
	store, _, tree, _ := start(t, newAPI(t,
		events(event("ADDED", "a", "5")+event("BOOKMARK", "", "6")), // and then nothing, for ever
		resume,
	), 50*time.Millisecond)
	store.await(t, "the object that came after the silence", has("b"))
	if tree.Counter("silences").Value() == 0 {
		t.Error("the silence was not counted")
	}
}

func TestAnErrorNeverEmpties(t *testing.T) {
	a := newAPI(t, cut(event("ADDED", "a", "5")+event("BOOKMARK", "", "6")), status(http.StatusNotFound))
	store, r, _, failed := start(t, a, 0)
	store.await(t, "the first list", has("a"))
	for range 3 {
		<-failed
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if !store.have["a"] {
		t.Error("errors emptied the store")
	}
	if _, err := r.Contact(); err == nil {
		t.Error("a broken watch reports no error")
	}
}

func TestStopsAtOnceInABackoff(t *testing.T) {
	a := newAPI(t, status(http.StatusTooManyRequests))
	_, _, _, failed := start(t, a, 0)
	for range 4 {
		<-failed // each comes after a longer wait
	}
	began := time.Now()
	t.Cleanup(func() {
		if d := time.Since(began); d > time.Second {
			t.Errorf("stopping took %v", d)
		}
	})
}

// A Reflector may be stopped at any time and run again. Client-go begins lists on goroutines of their own, and does not wait for them.
func TestRunsAgain(t *testing.T) {
	a := newAPI(t, status(http.StatusNotFound))
	_, r, _, _ := stopped(t, &rest.Config{Host: a.URL}, 0)
	r.unstreamed, r.opts.OnError = true, nil
	for i := range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx)
		}()
		for range i % 50 {
			goruntime.Gosched()
		}
		cancel()
		<-done
	}
}

// With an etcd that is too old, an API server takes a request for a streamed list and says in the stream that it has none.
func TestOldEtcdIsNoBreak(t *testing.T) {
	refused := `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"reason":"InternalError",
		"message":"a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"}}` + "\n"
	list := func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		_, _ = w.Write([]byte(`{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"6"},"items":[
			{"metadata":{"name":"a","namespace":"d","resourceVersion":"5"}}]}`))
	}
	a := newAPI(t, events(refused), list, events(event("ADDED", "b", "7")))
	store, _, tree, failed := start(t, a, 0)
	store.await(t, "the list and what came after it", func(have map[string]bool) bool { return have["a"] && have["b"] })
	if len(failed) > 0 || tree.Counter("watch_errors").Value() > 0 {
		t.Error("a missing feature counts as a break")
	}
}

// A list without a version is not from an API server in health: an empty one would empty the store.
func TestListWithoutVersionIsRefused(t *testing.T) {
	empty := func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		_, _ = w.Write([]byte(`{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[]}`))
	}
	a := newAPI(t, cut(event("ADDED", "a", "5")+event("BOOKMARK", "", "6")), status(http.StatusGone), status(http.StatusBadRequest), empty)
	store, _, _, failed := start(t, a, 0)
	store.await(t, "the first list", has("a"))
	for range 3 {
		<-failed
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if !store.have["a"] {
		t.Error("a list without a version emptied the store")
	}
}
