package reflector

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// pipes is a listener without a network, so that time can be that of a test. What is written on either side of a connection
// that is deaf is lost.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
	deaf   atomic.Pointer[atomic.Bool] // of the connections made from now on
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	deaf := p.deaf.Load()
	select {
	case p.accept <- lossy{server, deaf}:
		return lossy{client, deaf}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type lossy struct {
	net.Conn
	deaf *atomic.Bool
}

func (l lossy) Write(b []byte) (int, error) {
	if l.deaf.Load() {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

// newSilentAPI is newAPI on pipes, with TLS and HTTP/2.
func newSilentAPI(t *testing.T, script ...answer) (*pipes, *rest.Config, *atomic.Int32) {
	t.Helper()
	p, requests, stop := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}, &atomic.Int32{}, make(chan struct{})
	p.deaf.Store(&atomic.Bool{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := min(int(requests.Add(1)), len(script)) - 1
		w.Header().Set("Content-Type", "application/json")
		script[i](w, r, stop)
	}))
	_ = s.Listener.Close()
	s.Listener, s.EnableHTTP2, s.Config.ErrorLog = p, true, log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(func() { close(stop); s.CloseClientConnections(); s.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return p, &rest.Config{Host: s.URL, Dial: p.dial, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, requests
}

// silence takes a request and answers nothing.
func silence(_ http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-stop:
	}
}

// within checks how long something took. Jitter is part of every promise here.
func within(t *testing.T, d, least, most time.Duration) {
	t.Helper()
	if d < least || d > most {
		t.Errorf("took %v, want %v to %v", d, least, most)
	}
}

// A server that is connected and mute is given up after 150 s and a tenth by chance: when its watch falls silent, and when a
// request is never answered.
func TestSilenceIsABreakAfter150s(t *testing.T) {
	first := event("ADDED", "a", "5") + event("BOOKMARK", "", "6")
	list := func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		_, _ = w.Write([]byte(`{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"6"},"items":[
			{"metadata":{"name":"b","namespace":"d","resourceVersion":"5"}}]}`))
	}
	for name, script := range map[string][]answer{
		"a watch that falls silent":      {events(first), resume},
		"a watch that is never answered": {silence, list, silence},
		"a list that is never answered":  {status(http.StatusUnprocessableEntity), silence, list, silence},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, cfg, _ := newSilentAPI(t, script...)
				began := time.Now()
				store, _, tree, _ := startWith(t, cfg, 0)
				store.awaitFor(t, 10*time.Minute, "the object that came after the silence", has("b"))
				within(t, time.Since(began), DefaultSilence, DefaultSilence*11/10+2*time.Second)
				if n := tree.Counter("silences").Value(); n != 1 {
					t.Errorf("%d silences counted", n)
				}
			})
		})
	}
}

// A bookmark a minute keeps a quiet watch.
func TestBookmarksKeepAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg, requests := newSilentAPI(t, func(w http.ResponseWriter, _ *http.Request, stop <-chan struct{}) {
			_, _ = w.Write([]byte(event("ADDED", "a", "5") + event("BOOKMARK", "", "6")))
			for {
				w.(http.Flusher).Flush()
				select {
				case <-time.After(time.Minute):
				case <-stop:
					return
				}
				_, _ = w.Write([]byte(event("BOOKMARK", "", "7")))
			}
		})
		_, r, _, _ := startWith(t, cfg, 0)
		<-time.After(time.Hour)
		if n := requests.Load(); n != 1 {
			t.Errorf("%d requests in an hour of bookmarks", n)
		}
		if at, err := r.Contact(); err != nil || time.Since(at) > time.Minute {
			t.Errorf("contact %v ago, %v", time.Since(at), err)
		}
	})
}

// A network that drops packets and works again later is found out by HTTP/2 pings, and left behind within a minute.
func TestLostPacketsAreNoticedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cfg, _ := newSilentAPI(t, events(event("ADDED", "a", "5")+event("BOOKMARK", "", "6")), resume)
		store, _, _, _ := startWith(t, cfg, 0)
		store.await(t, "the first list", has("a"))
		// The connection there is falls deaf; new ones work.
		p.deaf.Swap(&atomic.Bool{}).Store(true)
		began := time.Now()
		store.awaitFor(t, 10*time.Minute, "the object that came after the loss", has("b"))
		within(t, time.Since(began), 30*time.Second, time.Minute)
	})
}

// A server that is back is asked within a second, unless it was away for long; then a fortieth of that is added.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began, last := time.Now(), time.Now()
		for time.Since(began) < 20*time.Minute {
			p.failed(apierrors.NewInternalError(context.DeadlineExceeded))
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			waited := time.Since(last)
			within(t, waited, firstWait, max(2*quickWait, time.Since(began)/20))
			within(t, waited, firstWait, 2*longWait)
			last = time.Now()
		}
		if d := time.Since(last); d > 0 || p.failures > 300 {
			t.Errorf("%d tries in 20 minutes", p.failures)
		}
		p.lived(steady)
		p.failed(nil)
		last = time.Now()
		_ = p.wait(t.Context())
		within(t, time.Since(last), firstWait, 2*firstWait)
		// A version that expired is listed anew at once, and once only.
		expired := apierrors.NewResourceExpired("old")
		for _, most := range []time.Duration{firstWait, 2 * quickWait} {
			p.failed(expired)
			last = time.Now()
			_ = p.wait(t.Context())
			within(t, time.Since(last), 0, most)
		}
	})
}
