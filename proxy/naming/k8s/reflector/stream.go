package reflector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// stream is a watch that ends when it has been silent for too long, which makes client-go watch anew from where it was. It
// implements watch.Interface.
type stream struct {
	inner watch.Interface
	out   chan watch.Event
	quit  chan struct{}
	once  sync.Once
	// initial is set while a streamed list is under way.
	initial bool
}

func (s *stream) ResultChan() <-chan watch.Event { return s.out }

func (s *stream) Stop() { s.once.Do(func() { close(s.quit) }) }

// stream passes the events of w on. cancel ends the request.
func (r *Reflector) stream(w watch.Interface, initial bool, cancel context.CancelCauseFunc) watch.Interface {
	s := &stream{inner: w, out: make(chan watch.Event), quit: make(chan struct{}), initial: initial}
	began := time.Now()
	r.streams.Go(func() {
		defer close(s.out)
		defer hangUp(w, cancel)
		err := r.relay(s)
		r.pace.lived(time.Since(began))
		if !errors.Is(err, errNoStreams) {
			r.pace.failed(err)
		}
	})
	return s
}

// hangUp ends a request and returns when the server was told, so that it never sees the next one before. After a cancel nothing
// would wait for that; but a connection that takes no bytes is not waited for either.
func hangUp(w watch.Interface, cancel context.CancelCauseFunc) {
	late := time.AfterFunc(time.Second, func() { cancel(nil) })
	defer late.Stop()
	w.Stop()
	cancel(nil)
}

// relay passes events on until the stream ends, and returns what is wrong, if anything.
func (r *Reflector) relay(s *stream) error {
	limit := r.limit()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var failed error
	for {
		select {
		case e, ok := <-s.inner.ResultChan():
			if !ok {
				return failed
			}
			timer.Reset(limit)
			if err := r.event(s, e); err != nil {
				failed = err
			}
			select {
			case s.out <- e:
			case <-s.quit:
				return failed
			}
		case <-timer.C:
			return r.silent(limit)
		case <-s.quit:
			return failed
		}
	}
}

// silent records that nothing was heard for d.
func (r *Reflector) silent(d time.Duration) error {
	err := fmt.Errorf("watch of %s: nothing heard for %v", r.opts.Resource, d.Round(time.Millisecond))
	r.silence.Incr(0)
	r.failed(context.Background(), err)
	return err
}

// event records what e says of the server, and returns the error that e is.
func (r *Reflector) event(s *stream, e watch.Event) error {
	if e.Type == watch.Error {
		err := apierrors.FromObject(e.Object)
		if s.initial && noStreams(err) {
			r.unstreamed = true
			return errNoStreams
		}
		r.failed(context.Background(), fmt.Errorf("watch ended by the server: %w", err))
		return err
	}
	if e.Type != watch.Bookmark {
		r.events.Incr(0)
	} else if m, ok := e.Object.(metav1.ObjectMetaAccessor); ok &&
		m.GetObjectMeta().GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
		s.initial = false
	}
	r.heard()
	return nil
}

// errNoStreams makes client-go list in place of streaming a list.
var errNoStreams = errors.New("the API server does not stream lists")

// noStreams reports whether the answer to a streamed list says that there is no such thing: the API server is older than that,
// or has it switched off, or its etcd is too old for it.
func noStreams(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err) ||
		strings.Contains(err.Error(), "RequestWatchProgress")
}
