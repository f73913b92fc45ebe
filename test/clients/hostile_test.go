package clients

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var hosts = flag.Int("hosts", 100_000, "how many distinct Hosts TestManyHosts asks for")

// together runs do on n connections to the proxy at once.
func (p *proxy) together(t *testing.T, n int, do func(i int, conn net.Conn) error) {
	t.Helper()
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			conn, err := net.Dial("tcp", p.addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close() //nolint:errcheck // the connection has done what it was for
			if err := conn.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
				t.Error(err)
			}
			if err := do(i, conn); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wait.Wait()
}

// TestManyHosts asks for names that nobody has, each once: each is refused, and what is kept of them is bounded.
func TestManyHosts(t *testing.T) {
	const conns, batch = 8, 50
	p := start(t, map[string]string{"web": "127.0.0.1:9"})
	var next atomic.Int64
	p.together(t, conns, func(_ int, conn net.Conn) error {
		r := bufio.NewReader(conn)
		for {
			from := next.Add(batch)
			if from > int64(*hosts) {
				return nil
			}
			var b strings.Builder
			for i := from - batch; i < from; i++ {
				fmt.Fprintf(&b, "GET / HTTP/1.1\r\nHost: host-%d.example\r\n\r\n", i)
			}
			if _, err := io.WriteString(conn, b.String()); err != nil {
				return err
			}
			for range batch {
				if err := answer(r, http.StatusBadGateway); err != nil {
					return err
				}
			}
		}
	})
	t.Logf("%d hosts: %d MB", *hosts, p.memory(t)>>20)
	if got := p.memory(t); got > enough {
		t.Errorf("the proxy took %d MB, want at most %d", got>>20, int64(enough)>>20)
	}
}

// answer reads a response, which has to have a status.
func answer(r *bufio.Reader, status int) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("status %s, want %d", resp.Status, status)
	}
	return nil
}

// TestLongHeads has 200 clients whose heads never end: each is told so long before its first MiB, and its head is not kept.
func TestLongHeads(t *testing.T) {
	p := start(t, map[string]string{"web": "127.0.0.1:9"})
	const clients = 200
	var told atomic.Int64
	p.together(t, clients, func(_ int, conn net.Conn) error {
		line := "X-Long: " + strings.Repeat("a", 1000) + "\r\n"
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n"+strings.Repeat(line, 1<<20/len(line)))
		resp, readErr := http.ReadResponse(bufio.NewReader(conn), nil)
		if readErr != nil {
			return fmt.Errorf("%w, after the write: %w", readErr, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
			told.Add(1)
		}
		return nil
	})
	if told.Load() != clients {
		t.Errorf("%d of %d were told that their head is too long", told.Load(), clients)
	}
	if got := p.memory(t); got > enough {
		t.Errorf("the proxy took %d MB, want at most %d", got>>20, int64(enough)>>20)
	}
}

// TestSlowReaders has 300 clients that ask for an answer without end and read one byte of it: what the proxy holds for each is a buffer, not the answer.
func TestSlowReaders(t *testing.T) {
	const clients = 300
	l := listen(t)
	var under atomic.Int64
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // a test
		under.Add(1)
		for piece := make([]byte, 1<<16); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})}
	go func() { _ = backend.Serve(l) }()
	defer backend.Close() //nolint:errcheck // the test is over
	p := start(t, map[string]string{"web": l.Addr().String()})
	var conns []net.Conn
	for range clients {
		conn, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // that is the point
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	eventually(t, "each answer has begun", func() bool { return under.Load() == clients })
	for _, conn := range conns { // that it stands still shows in that a byte has come and no more is taken
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.asks(http.StatusOK); err != nil {
		t.Errorf("another client: %v", err)
	}
	if got := p.memory(t); got > enough {
		t.Errorf("the proxy took %d MB, want at most %d", got>>20, int64(enough)>>20)
	}
}

// asks asks for web and reads the head of its answer.
func (p *proxy) asks(status int) error {
	conn, err := net.Dial("tcp", p.addr())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the answer is not read to its end
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // see below
	if err != nil {
		return err
	}
	if resp.StatusCode != status { // the body may have no end, so it is left to the connection
		return fmt.Errorf("status %s, want %d", resp.Status, status)
	}
	return nil
}

// TestIdleConnections has 15,000 clients (fewer where descriptors are few, which is told) that asked once and stay: none takes more than
// 16 KiB, and each is answered again.
func TestIdleConnections(t *testing.T) {
	const most, each = 15_000, 16 << 10
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	clients := most
	if room := int(limit.Cur) * 3 / 4; room < clients {
		clients = room
		t.Logf("%d clients in place of %d: the limit of descriptors is %d", clients, most, limit.Cur)
	}
	l := listen(t)
	backend := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})} //nolint:gosec // a test
	go func() { _ = backend.Serve(l) }()
	defer backend.Close() //nolint:errcheck // the test is over
	p := startWith(t, fmt.Sprintf(", maxConnections: %d", most+1), "", map[string]string{"web": l.Addr().String()})
	if err := p.asks(http.StatusOK); err != nil {
		t.Fatal(err)
	}
	before := p.memory(t)
	conns := make([]net.Conn, 0, clients)
	ask := func(conn net.Conn) {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := answer(bufio.NewReaderSize(conn, 512), http.StatusOK); err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
	}
	for range clients {
		conn, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the test is over
		ask(conn)
		conns = append(conns, conn)
	}
	got := (p.memory(t) - before) / int64(clients)
	t.Logf("%d idle connections take %d bytes each", clients, got)
	if got > each {
		t.Errorf("an idle connection takes %d bytes, want at most %d", got, each)
	}
	for _, conn := range conns {
		ask(conn)
	}
}
