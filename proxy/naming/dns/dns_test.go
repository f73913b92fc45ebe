package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/naming"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a resolver whose answers a test sets.
type server struct {
	mu      sync.Mutex
	answer  []netip.Addr
	err     error
	hang    bool
	queries []string
}

func (s *server) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	s.queries = append(s.queries, host)
	answer, err, hang := s.answer, s.err, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return answer, err
}

func (s *server) set(err error, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.err = nil, err
	for _, a := range addrs {
		s.answer = append(s.answer, netip.MustParseAddr(a))
	}
}

func (s *server) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queries)
}

func expect(t *testing.T, l naming.Live[[]netip.Addr], state naming.State, want string) {
	t.Helper()
	synctest.Wait()
	addrs, s, err := l.Load()
	if fmt.Sprint(addrs) != want || s != state || (err != nil) != (state == naming.Failed) {
		t.Errorf("%v, state %d, error %v; want %s, state %d", addrs, s, err, want, state)
	}
}

func TestResolveRefreshesAndKeepsTheLastGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		r := New(s.lookup)
		defer r.Close()
		s.set(nil, "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1")
		l := r.Resolve("web")
		expect(t, l, naming.Ok, "[10.0.0.1 10.0.0.2]")
		s.set(nil, "10.0.0.3")
		time.Sleep(RefreshInterval - time.Nanosecond) // the clock of the bubble
		expect(t, l, naming.Ok, "[10.0.0.1 10.0.0.2]")
		time.Sleep(time.Nanosecond) // the clock of the bubble
		expect(t, l, naming.Ok, "[10.0.0.3]")

		changed := l.Changed()
		time.Sleep(RefreshInterval) // the clock of the bubble
		synctest.Wait()
		select {
		case <-changed:
			t.Error("an answer like the last one counts as a change")
		default:
		}
		for what, err := range map[string]error{
			"no answer":     errors.New("connection refused"),
			"server failed": &net.DNSError{Err: "server misbehaving", Name: "web", IsTemporary: true},
		} {
			s.set(err)
			time.Sleep(RefreshInterval) // the clock of the bubble
			t.Log(what)
			expect(t, l, naming.Failed, "[10.0.0.3]")
		}
		s.set(nil, "10.0.0.3")
		time.Sleep(RefreshInterval) // the clock of the bubble
		expect(t, l, naming.Ok, "[10.0.0.3]")
		s.set(&net.DNSError{Err: "no such host", Name: "web", IsNotFound: true})
		time.Sleep(RefreshInterval) // the clock of the bubble
		expect(t, l, naming.Ok, "[]")
		l.Close()
	})
}

func TestResolveGivesUpOnASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{hang: true}
		r := New(s.lookup)
		l := r.Resolve("web")
		expect(t, l, naming.Pending, "[]")
		time.Sleep(QueryTimeout) // the clock of the bubble
		expect(t, l, naming.Failed, "[]")
		s.mu.Lock()
		s.hang = false
		s.mu.Unlock()
		s.set(nil, "10.0.0.1")
		time.Sleep(RefreshInterval - QueryTimeout) // the clock of the bubble
		expect(t, l, naming.Ok, "[10.0.0.1]")
		s.mu.Lock()
		s.hang = true
		s.mu.Unlock()
		time.Sleep(RefreshInterval) // the clock of the bubble
		r.Close()                   // ends the query under way
		expect(t, l, naming.Ok, "[10.0.0.1]")
	})
}

func TestHostIsAskedForOnceAndStopsWithItsLastUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.set(nil, "10.0.0.1")
		r := New(s.lookup)
		defer r.Close()
		a, b := r.Resolve("web"), r.Resolve("web")
		expect(t, b, naming.Ok, "[10.0.0.1]")
		if n := s.asked(); n != 1 {
			t.Errorf("two users cost %d queries", n)
		}
		a.Close()
		a.Close()                   // counts once
		time.Sleep(RefreshInterval) // the clock of the bubble
		synctest.Wait()
		if n := s.asked(); n != 2 {
			t.Errorf("%d queries with one user left, want 2", n)
		}
		b.Close()
		time.Sleep(10 * RefreshInterval) // the clock of the bubble
		synctest.Wait()
		if n := s.asked(); n != 2 || len(r.hosts) != 0 {
			t.Errorf("with no user: %d queries, %d hosts kept", n, len(r.hosts))
		}
		c := r.Resolve("web")
		expect(t, c, naming.Ok, "[10.0.0.1]")
		c.Close()
	})
}

func TestResolveUnderConcurrentUse(t *testing.T) {
	s := &server{}
	s.set(nil, "10.0.0.1", "10.0.0.2")
	r := New(s.lookup)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 300 {
				l := r.Resolve("web")
				l.Load()
				l.Close()
			}
		})
	}
	wait.Wait()
	r.Close()
	if len(r.hosts) != 0 {
		t.Errorf("%d hosts kept", len(r.hosts))
	}
}

func TestParseLiteral(t *testing.T) {
	for host, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "::1": "::1", "::ffff:127.0.0.1": "127.0.0.1", "127.1": "127.0.0.1", "10.1.258": "10.1.1.2",
		"fe80::1%eth0": "fe80::1%eth0", "127.16777215": "127.255.255.255",
		"localhost": "", "8080": "", "127.16777216": "", "256.1": "", "1.2.3.4.5": "", "10.1.2.300": "", "1.": "", ".1": "", "a.1": "", "": "",
	} {
		ip, ok := ParseLiteral(host)
		if ok != (want != "") || ok && ip.String() != want {
			t.Errorf("%q: %v, %v; want %q", host, ip, ok, want)
		}
	}
}

func TestLiteralsAndHugeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		for i := range 2 * MaxAddresses {
			s.answer = append(s.answer, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		r := New(s.lookup)
		defer r.Close()
		expect(t, r.Resolve("127.1"), naming.Ok, "[127.0.0.1]")
		if s.asked() != 0 {
			t.Error("a literal was asked for")
		}
		l := r.Resolve("web")
		synctest.Wait()
		if addrs, _, _ := l.Load(); len(addrs) != MaxAddresses {
			t.Errorf("%d addresses kept", len(addrs))
		}
	})
}
