// Package reflector keeps a store equal to one resource of the API server, and heals itself: a watch that ends, expires, is cut
// or falls silent is taken up again. It wraps client-go's reflector with what that lacks for a proxy: a watch that says nothing
// or is not answered for too long counts as dead, retries are quick, there is never more than one request under way, a break is one
// log line and so is its end, and somebody can ask when the server was last heard. An API server that does not stream lists is
// asked for pages from then on.
//
// An error never reaches the store. It only ever sees complete lists and events of the API server.
package reflector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// DefaultSilence is how long a watch may say nothing. The API server sends a bookmark about once a minute.
const DefaultSilence = 150 * time.Second

// Options of a Reflector.
type Options struct {
	Client rest.Interface
	// Resource is the plural name. An empty Namespace means all.
	Resource, Namespace string
	// FieldSelector limits the objects; may be empty.
	FieldSelector string
	// Object is an example of the objects.
	Object runtime.Object
	// Store gets complete lists and single events. A cache.TransformingStore also strips objects as they come in.
	Store cache.ReflectorStore
	Log   logr.Logger
	// Scope gets events, relists, watch_errors and silences.
	Scope telemetry.Scope
	// Silence is DefaultSilence unless given. Up to a tenth is added, so that proxies do not act together.
	Silence time.Duration
	// OnError, if given, is called with every error of a list or watch, before the retry.
	OnError func(error)
}

// Reflector keeps one store up to date.
type Reflector struct {
	opts                               Options
	events, relists, failures, silence *telemetry.Counter
	streams, lists                     sync.WaitGroup
	pace                               pace
	// unstreamed is set when the API server said that it does not stream lists. Only one request or stream runs at a time.
	unstreamed bool

	mu      sync.Mutex
	running bool
	broken  error
	contact time.Time
}

// New returns a Reflector that does nothing until Run.
func New(o Options) *Reflector {
	if o.Silence == 0 {
		o.Silence = DefaultSilence
	}
	o.Log = o.Log.WithValues("resource", o.Resource)
	return &Reflector{
		opts: o, events: o.Scope.Counter("events"), relists: o.Scope.Counter("relists"),
		failures: o.Scope.Counter("watch_errors"), silence: o.Scope.Counter("silences"),
	}
}

// Run watches until ctx is done. It may be called again then.
func (r *Reflector) Run(ctx context.Context) {
	r.setRunning(true)
	defer func() { r.setRunning(false); r.lists.Wait(); r.streams.Wait() }()
	// What client-go would log of a break is logged here, once; and the waits are those of pace.
	ctx = klog.NewContext(ctx, logr.Discard())
	inner := cache.NewReflectorWithOptions(r.listWatch(), r.opts.Object, counting{r.opts.Store, r}, cache.ReflectorOptions{
		Name: r.opts.Resource, Backoff: &wait.Backoff{Duration: time.Millisecond},
	})
	// Not RunWithContext: it would hand errors, which were seen here, to a handler that all of the process waits for in turn.
	for ctx.Err() == nil {
		_ = inner.ListAndWatchWithContext(ctx)
	}
}

func (r *Reflector) setRunning(running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = running
}

// beginList lets a list begin, which then owes lists.Done. Client-go does not wait for its lists when it stops, so one may want to begin
// when Run has ended.
func (r *Reflector) beginList(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !r.running {
		return context.Canceled
	}
	r.lists.Add(1)
	return nil
}

// Contact returns when the API server was last heard for this resource, and why it cannot be heard now (nil: it can). The time
// is zero before the first answer.
func (r *Reflector) Contact() (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.contact, r.broken
}

// request is a list or watch, which take the same options.
func (r *Reflector) request(opts metav1.ListOptions) *rest.Request {
	if r.opts.FieldSelector != "" {
		opts.FieldSelector = r.opts.FieldSelector
	}
	return r.opts.Client.Get().NamespaceIfScoped(r.opts.Namespace, r.opts.Namespace != "").Resource(r.opts.Resource).
		SpecificallyVersionedParams(&opts, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"}).
		MaxRetries(0) // each failure is seen here

}

func (r *Reflector) listWatch() cache.ListerWatcher {
	return &cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}
}

// limit is how long this request may say nothing.
func (r *Reflector) limit() time.Duration { return r.opts.Silence + rand.N(r.opts.Silence/10+1) }

// ready returns when a request may be sent: the one before has ended, and its failure was some time ago.
func (r *Reflector) ready(ctx context.Context) error {
	r.streams.Wait()
	return r.pace.wait(ctx)
}

// list asks for a page and lets the Store's transformer have each object of it at once, so that pages do not pile up in full.
func (r *Reflector) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	if err := r.beginList(ctx); err != nil {
		return nil, err
	}
	defer r.lists.Done()
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	// "0" may be answered from a cache that is older than what this proxy has on disk: never go back in time.
	if opts.ResourceVersion == "0" {
		opts.ResourceVersion = ""
	}
	limit := r.limit()
	request, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	page, err := r.page(request, opts)
	if err == nil {
		r.heard()
		return page, nil
	}
	if request.Err() != nil && ctx.Err() == nil {
		err = r.silent(limit)
	} else {
		r.failed(ctx, err)
	}
	r.pace.failed(err)
	return nil, err
}

func (r *Reflector) page(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	obj, err := r.request(opts).Do(ctx).Get()
	if err != nil {
		return nil, err
	}
	m, err := meta.ListAccessor(obj)
	if err != nil {
		return nil, err
	}
	// Whoever answers without a version is not an API server in health, and an empty list of theirs would empty the Store.
	if v := m.GetResourceVersion(); v == "" || v == "0" {
		return nil, fmt.Errorf("list of %s: no resourceVersion", r.opts.Resource)
	}
	store, ok := r.opts.Store.(cache.TransformingStore)
	if !ok {
		return obj, nil
	}
	out := &metainternalversion.List{ListMeta: metav1.ListMeta{
		ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue(), RemainingItemCount: m.GetRemainingItemCount(),
	}}
	strip := store.Transformer()
	err = meta.EachListItem(obj, func(o runtime.Object) error {
		kept, err := strip(o)
		out.Items = append(out.Items, item{kept})
		return err
	})
	return out, err
}

// watch starts a watch. It has ended before the next request is sent.
func (r *Reflector) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	initial := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	if initial && r.unstreamed {
		return nil, errNoStreams
	}
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	opts.Watch = true
	limit := r.limit()
	request, cancel := context.WithCancelCause(ctx)
	// client-go has no limit for the time until a watch is answered.
	timer := time.AfterFunc(limit, func() { cancel(errSilent) })
	w, err := r.request(opts).Watch(request)
	timer.Stop()
	if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
		// This is what client-go makes of a connection that was closed or timed out.
		err = errors.New("connection closed before the watch was answered")
	}
	if err == nil {
		r.heard()
		return r.stream(w, initial, cancel), nil
	}
	silent := errors.Is(context.Cause(request), errSilent)
	cancel(nil)
	switch {
	case silent:
		err = r.silent(limit)
	case initial && noStreams(err):
		r.unstreamed = true
		return nil, errNoStreams
	default:
		r.failed(ctx, err)
	}
	r.pace.failed(err)
	return nil, err
}

var errSilent = errors.New("no answer")

// failed records a break. Stopping is none.
func (r *Reflector) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.failures.Incr(0)
	r.mu.Lock()
	first := r.broken == nil
	r.broken = err
	r.mu.Unlock()
	if first {
		r.opts.Log.Info("Watch broke, retrying", "error", err.Error())
	}
	if r.opts.OnError != nil {
		r.opts.OnError(err)
	}
}

// heard records that the API server answered with what it should.
func (r *Reflector) heard() {
	r.mu.Lock()
	was := r.broken
	r.broken, r.contact = nil, time.Now()
	r.mu.Unlock()
	if was != nil {
		r.opts.Log.Info("Watch healed")
	}
}
