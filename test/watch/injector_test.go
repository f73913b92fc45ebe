package watch

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// injector is a reverse proxy to the API server that can fail in the ways networks and servers do.
type injector struct {
	*httptest.Server
	upstream http.RoundTripper

	mu     sync.Mutex
	status int           // of every answer; 0 passes requests on
	refuse int           // answers with status since it was set
	mute   bool          // watches say nothing
	lost   bool          // packets of every connection are dropped
	end    chan struct{} // closed to end the bodies of all watches
	frame  []byte        // what ended watches send last
	conns  map[*wire]bool
	// live counts watches by resource, and lists the relists by resource that are under way; most is the most at one time.
	live, most map[string]int
	lists      map[string]map[*http.Request]bool
	relists    map[string]int
}

func newInjector(t *testing.T, cfg *rest.Config) *injector {
	t.Helper()
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	host, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	i := &injector{
		upstream: transport, end: make(chan struct{}), conns: map[*wire]bool{}, live: map[string]int{}, most: map[string]int{},
		lists: map[string]map[*http.Request]bool{}, relists: map[string]int{},
	}
	relay := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(host) }, Transport: transport, FlushInterval: -1,
		ModifyResponse: i.body, ErrorLog: log.New(io.Discard, "", 0),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := i.refusal(); code != 0 {
			http.Error(w, "injected", code)
			return
		}
		defer i.track(r)()
		relay.ServeHTTP(w, r)
	}))
	i.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.Listener = listener{i.Listener, i}
	i.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, wireKey{}, c.(*tls.Conn).NetConn())
	}
	i.EnableHTTP2 = true
	i.StartTLS()
	t.Cleanup(func() { i.heal(); i.cut(); i.Close() })
	return i
}

// config is how a proxy reaches the API server through the injector. Each has a server name of its own: client-go shares
// connections between clients of the same.
func (i *injector) config() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	_, port, _ := net.SplitHostPort(i.Listener.Addr().String())
	return &rest.Config{Host: i.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca, ServerName: "p" + port + ".example.com"}}
}

func (i *injector) refusal() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.status != 0 {
		i.refuse++
	}
	return i.status
}

func resource(r *http.Request) string { return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] }

// track counts a request until the function it returns is called.
func (i *injector) track(r *http.Request) func() {
	q := r.URL.Query()
	kind, watch, initial := resource(r), q.Get("watch") != "", q.Get("sendInitialEvents") != ""
	i.mu.Lock()
	defer i.mu.Unlock()
	// A page after the first belongs to the relist before it.
	relist := r.Method == http.MethodGet && (initial || !watch) && kind != "configmaps"
	if relist {
		if i.lists[kind] == nil {
			i.lists[kind] = map[*http.Request]bool{}
		}
		i.lists[kind][r] = true
		i.relists[kind]++
		under := 0
		for other := range i.lists[kind] {
			// A request that its client gave up is not under way, nor one on a connection that the injector broke: the handler
			// may only not know yet.
			if w, _ := other.Context().Value(wireKey{}).(*wire); other.Context().Err() == nil && w != nil && !w.dead {
				under++
			}
		}
		i.most[kind] = max(i.most[kind], under)
	}
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.lists[kind], r)
	}
}

// body wraps that of a watch, so that it can be muted and ended.
func (i *injector) body(r *http.Response) error {
	if r.Request.URL.Query().Get("watch") == "" {
		return nil
	}
	kind, done := resource(r.Request), r.Request.Context().Done()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.live[kind]++
	r.Body = &body{ReadCloser: r.Body, i: i, end: i.end, done: done, closed: func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.live[kind]--
	}}
	return nil
}

type body struct {
	io.ReadCloser
	i         *injector
	end, done <-chan struct{}
	last      []byte
	over      bool
	once      sync.Once
	closed    func()
}

func (b *body) Close() error {
	b.once.Do(b.closed)
	return b.ReadCloser.Close()
}

// isMute reports whether nothing may be passed on. What was swallowed once ends the stream for good.
func (b *body) isMute() bool {
	b.i.mu.Lock()
	defer b.i.mu.Unlock()
	return b.i.mute
}

func (b *body) Read(p []byte) (int, error) {
	if b.over {
		n := copy(p, b.last)
		b.last = b.last[n:]
		if len(b.last) == 0 {
			return n, io.EOF
		}
		return n, nil
	}
	type result struct {
		n   int
		err error
	}
	read := make(chan result, 1)
	go func() { n, err := b.ReadCloser.Read(p); read <- result{n, err} }()
	select {
	case r := <-read:
		if b.isMute() {
			<-b.done
			return 0, io.ErrUnexpectedEOF
		}
		return r.n, r.err
	case <-b.end:
		_ = b.ReadCloser.Close()
		<-read
		b.i.mu.Lock()
		b.last, b.over = b.i.frame, true
		b.i.mu.Unlock()
		return b.Read(p)
	}
}

// wire is a connection of a client.
type wire struct {
	net.Conn
	i    *injector
	once sync.Once
	shut chan struct{}
	dead bool // of no use to the client any more; guarded by the injector
}

// wireKey has the *wire in the context of a request.
type wireKey struct{}

type listener struct {
	net.Listener
	i *injector
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, i: l.i, shut: make(chan struct{})}
	l.i.mu.Lock()
	l.i.conns[w] = true
	l.i.mu.Unlock()
	return w, nil
}

func (w *wire) dropping() bool {
	w.i.mu.Lock()
	defer w.i.mu.Unlock()
	return w.i.lost
}

// Read drops what comes while packets are lost; the peer sees neither answer nor end.
func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.Conn.Read(p)
		if !w.dropping() {
			return n, err
		}
		if err != nil {
			<-w.shut // nobody hears of the end either
			return 0, net.ErrClosed
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.dropping() {
		return len(p), nil
	}
	return w.Conn.Write(p)
}

// Close leaves the peer in the dark while packets are lost.
func (w *wire) Close() error {
	if w.dropping() {
		return nil
	}
	return w.close()
}

func (w *wire) close() error {
	w.once.Do(func() { close(w.shut) })
	w.i.mu.Lock()
	delete(w.i.conns, w)
	w.i.mu.Unlock()
	return w.Conn.Close()
}

// cut closes every connection.
func (i *injector) cut() {
	i.mu.Lock()
	var all []*wire
	for w := range i.conns {
		w.dead = true
		all = append(all, w)
	}
	i.mu.Unlock()
	for _, w := range all {
		_ = w.close()
	}
}

// finish ends every watch properly, after an error event if code is not 0.
func (i *injector) finish(code int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.frame = nil
	if code != 0 {
		i.frame = errorFrame(code)
	}
	close(i.end)
	i.end = make(chan struct{})
}

// answer makes every request fail with a status code. It ends the watches.
func (i *injector) answer(code int) {
	i.mu.Lock()
	i.status, i.refuse = code, 0
	i.mu.Unlock()
	i.finish(0)
}

func (i *injector) refused() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refuse
}

// hush stops events and bookmarks of the watches there are and of new ones; connections live on.
func (i *injector) hush() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mute = true
}

// lose drops the packets of all connections, without a word to either side.
func (i *injector) lose() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lost = true
	for w := range i.conns {
		w.dead = true
	}
}

// heal lets requests and connections work. Connections whose packets were lost are of no use any more.
func (i *injector) heal() {
	i.mu.Lock()
	lost := i.lost
	i.status, i.mute, i.lost = 0, false, false
	i.mu.Unlock()
	if lost {
		i.cut()
	}
}

// counts returns how many watches of a resource there are, how many relists were begun, and how many ran at one time at most.
func (i *injector) counts(kind string) (live, relists, most int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.live[kind], i.relists[kind], i.most[kind]
}

// errorFrame is a watch event that says what is wrong, in protobuf.
func errorFrame(code int) []byte {
	status := metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Message: "injected"}
	if code == http.StatusGone {
		status.Reason = metav1.StatusReasonExpired
	}
	raw, err := status.Marshal()
	if err != nil {
		panic(err)
	}
	object, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Status"}, Raw: raw}).Marshal()
	if err != nil {
		panic(err)
	}
	object = append([]byte("k8s\x00"), object...)
	event, err := (&metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...)
}
