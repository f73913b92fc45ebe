// Package reflector keeps a store equal to one resource of the API server, and heals itself: a watch that ends, expires, is cut
// or falls silent is taken up again. It wraps client-go's reflector with what that lacks for a proxy: a watch that says nothing
// for too long counts as dead, retries are quick, stopping never waits for a backoff, a break is one log line and so is its
// end, and somebody can ask when the server was last heard.
//
// An error never reaches the store. It only ever sees complete lists and events of the API server.
package reflector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
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
	streams                            sync.WaitGroup

	mu      sync.Mutex
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

// Run watches until ctx is done.
func (r *Reflector) Run(ctx context.Context) {
	defer r.streams.Wait()
	// What client-go would log of a break is logged here, once.
	ctx = klog.NewContext(ctx, logr.Discard())
	inner := cache.NewReflectorWithOptions(r.listWatch(), r.opts.Object, counting{r.opts.Store, r}, cache.ReflectorOptions{
		Name:    r.opts.Resource,
		Clock:   clockUntil(ctx),
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 6, Cap: 5 * time.Second},
	})
	inner.RunWithContext(ctx)
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
		SpecificallyVersionedParams(&opts, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"})
}

func (r *Reflector) listWatch() cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			// "0" may be answered from a cache that is older than what this proxy has on disk: never go back in time.
			if opts.ResourceVersion == "0" {
				opts.ResourceVersion = ""
			}
			obj, err := r.request(opts).Do(ctx).Get()
			if err != nil {
				r.failed(ctx, err)
				return nil, err
			}
			r.heard()
			return obj, nil
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.Watch = true
			w, err := r.request(opts).Watch(ctx)
			if err != nil {
				r.failed(ctx, err)
				return nil, err
			}
			r.heard()
			return r.stream(w), nil
		},
	}
}

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

// stream passes the events of w on and ends when w has been silent for too long, which makes the reflector watch anew from
// where it was.
func (r *Reflector) stream(w watch.Interface) watch.Interface {
	s := &stream{inner: w, out: make(chan watch.Event), quit: make(chan struct{})}
	limit := r.opts.Silence + rand.N(r.opts.Silence/10+1)
	r.streams.Go(func() {
		defer close(s.out)
		defer w.Stop()
		timer := time.NewTimer(limit)
		defer timer.Stop()
		for {
			select {
			case e, ok := <-w.ResultChan():
				if !ok {
					return
				}
				timer.Reset(limit)
				r.event(e)
				select {
				case s.out <- e:
				case <-s.quit:
					return
				}
			case <-timer.C:
				r.silence.Incr(0)
				r.failed(context.Background(), fmt.Errorf("watch of %s: nothing heard for %v", r.opts.Resource, limit))
				return
			case <-s.quit:
				return
			}
		}
	})
	return s
}

func (r *Reflector) event(e watch.Event) {
	if e.Type == watch.Error {
		err := errors.New("watch ended by the server")
		if s, ok := e.Object.(*metav1.Status); ok {
			err = fmt.Errorf("watch ended by the server: %s", s.Message)
		}
		r.failed(context.Background(), err)
		return
	}
	if e.Type != watch.Bookmark {
		r.events.Incr(0)
	}
	r.heard()
}

// stream implements watch.Interface.
type stream struct {
	inner watch.Interface
	out   chan watch.Event
	quit  chan struct{}
	once  sync.Once
}

func (s *stream) ResultChan() <-chan watch.Event { return s.out }

func (s *stream) Stop() { s.once.Do(func() { close(s.quit) }) }
