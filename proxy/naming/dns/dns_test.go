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
	ttl     time.Duration
	err     error
	hang    bool
	queries []string
}

func (s *server) lookup(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	s.mu.Lock()
	s.queries = append(s.queries, host)
	answer, ttl, err, hang := s.answer, s.ttl, s.err, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return answer, ttl, err
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

// next sleeps until an answer that holds for d was asked for again.
func next(d time.Duration) {
	time.Sleep(d + d/10) // the clock of the bubble
	synctest.Wait()
}

func TestResolveRefreshesAndKeepsTheLastGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		r := New(Options{Lookup: s.lookup})
		defer r.Close()
		s.set(nil, "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1")
		l := r.Resolve("web")
		expect(t, l, naming.Ok, "[10.0.0.1 10.0.0.2]")
		s.set(nil, "10.0.0.3")
		time.Sleep(RefreshInterval - time.Nanosecond) // the clock of the bubble
		expect(t, l, naming.Ok, "[10.0.0.1 10.0.0.2]")
		next(RefreshInterval / 9)
		expect(t, l, naming.Ok, "[10.0.0.3]")

		changed := l.Changed()
		next(RefreshInterval)
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
			next(RefreshInterval)
			t.Log(what)
			expect(t, l, naming.Failed, "[10.0.0.3]")
		}
		s.set(nil, "10.0.0.3")
		next(RefreshInterval)
		expect(t, l, naming.Ok, "[10.0.0.3]")
		l.Close()
	})
}

// A name is asked for once for each TTL: never earlier, and at most a tenth later.
func TestTTLIsObeyed(t *testing.T) {
	for ttl, holds := range map[time.Duration]time.Duration{
		30 * time.Second: 30 * time.Second, time.Millisecond: MinTTL, time.Hour: MaxTTL, 0: RefreshInterval,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{ttl: ttl}
			s.set(nil, "10.0.0.1")
			r := New(Options{Lookup: s.lookup})
			defer r.Close()
			defer r.Resolve("web").Close()
			synctest.Wait()
			const rounds = 20
			for range rounds {
				before := s.asked()
				time.Sleep(holds - time.Nanosecond) // the clock of the bubble
				synctest.Wait()
				if n := s.asked(); n > before+1 {
					t.Fatalf("TTL %v: %d queries within one TTL", ttl, n-before)
				}
				time.Sleep(time.Nanosecond) // the clock of the bubble
			}
			if n := s.asked(); n < 1+rounds*10/11 || n > 1+rounds {
				t.Errorf("TTL %v: %d queries in %d TTLs", ttl, n, rounds)
			}
		})
	}
}

// That a name is no more is believed when it was said for a while, and at once of a name that never was.
func TestMissingNames(t *testing.T) {
	const ttl = 10 * time.Second
	gone := &net.DNSError{Err: "no such host", Name: "web", IsNotFound: true}
	synctest.Test(t, func(t *testing.T) {
		s := &server{ttl: ttl}
		r := New(Options{Lookup: s.lookup})
		defer r.Close()
		s.set(gone)
		l := r.Resolve("web")
		defer l.Close()
		expect(t, l, naming.Ok, "[]")
		s.set(nil, "10.0.0.1")
		next(ttl)
		expect(t, l, naming.Ok, "[10.0.0.1]")
		for _, missing := range []error{gone, nil} { // no such name, and a name without addresses
			s.set(missing)
			next(ttl)
			expect(t, l, naming.Failed, "[10.0.0.1]")
			time.Sleep(MissingGrace / 2) // the clock of the bubble
			expect(t, l, naming.Failed, "[10.0.0.1]")
			s.set(nil, "10.0.0.1") // it is back, so the time begins anew
			next(RefreshInterval)
			expect(t, l, naming.Ok, "[10.0.0.1]")
			s.set(missing)
			next(ttl)
			time.Sleep(MissingGrace - 2*RefreshInterval) // the clock of the bubble
			expect(t, l, naming.Failed, "[10.0.0.1]")
			time.Sleep(4 * RefreshInterval) // the clock of the bubble
			expect(t, l, naming.Ok, "[]")
			s.set(nil, "10.0.0.1")
			next(ttl)
			expect(t, l, naming.Ok, "[10.0.0.1]")
		}
	})
}

// A host that is resolved once keeps its first answer, and is asked for until it has one.
func TestResolveOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{ttl: time.Second}
		r := New(Options{Lookup: s.lookup})
		defer r.Close()
		s.set(errors.New("connection refused"))
		once, often := r.ResolveOnce("web"), r.Resolve("web")
		expect(t, once, naming.Failed, "[]")
		s.set(nil, "10.0.0.1")
		next(RefreshInterval)
		expect(t, once, naming.Ok, "[10.0.0.1]")
		s.set(nil, "10.0.0.2")
		next(time.Hour)
		expect(t, once, naming.Ok, "[10.0.0.1]")
		expect(t, often, naming.Ok, "[10.0.0.2]")
		once.Close()
		again := r.ResolveOnce("web")
		expect(t, again, naming.Ok, "[10.0.0.2]")
		again.Close()
		often.Close()
	})
}

// One name too many fails at once, is counted, and takes nothing from the others.
func TestNamesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{ttl: MaxTTL}
		s.set(nil, "10.0.0.1")
		r := New(Options{Lookup: s.lookup})
		defer r.Close()
		const most = 50
		r.maxNames = most
		lives := make([]naming.Live[[]netip.Addr], most)
		for i := range lives {
			lives[i] = r.Resolve(fmt.Sprintf("host%d", i))
		}
		over := r.Resolve("over")
		expect(t, over, naming.Failed, "[]")
		expect(t, lives[most-1], naming.Ok, "[10.0.0.1]")
		if got := r.Stats(); got.Names != most || got.Refused != 1 || got.Queries != most {
			t.Errorf("stats %+v", got)
		}
		over.Close()
		for _, l := range lives {
			l.Close()
		}
		l := r.Resolve("over")
		expect(t, l, naming.Ok, "[10.0.0.1]")
		l.Close()
	})
}

// Not more than a few resolutions are under way at a time.
func TestQueriesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{hang: true}
		r := New(Options{Lookup: s.lookup})
		for i := range 3 * maxQueries {
			r.Resolve(fmt.Sprintf("host%d", i))
		}
		synctest.Wait()
		if n := s.asked(); n != maxQueries {
			t.Errorf("%d at a time", n)
		}
		time.Sleep(QueryTimeout) // the clock of the bubble
		synctest.Wait()
		if n := s.asked(); n != 2*maxQueries {
			t.Errorf("%d after the first ones were given up", n)
		}
		r.Close()
	})
}

func TestResolveGivesUpOnASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{hang: true}
		r := New(Options{Lookup: s.lookup})
		l := r.Resolve("web")
		expect(t, l, naming.Pending, "[]")
		time.Sleep(QueryTimeout) // the clock of the bubble
		expect(t, l, naming.Failed, "[]")
		s.mu.Lock()
		s.hang = false
		s.mu.Unlock()
		s.set(nil, "10.0.0.1")
		next(RefreshInterval)
		expect(t, l, naming.Ok, "[10.0.0.1]")
		s.mu.Lock()
		s.hang = true
		s.mu.Unlock()
		next(RefreshInterval)
		r.Close() // ends the query under way
		expect(t, l, naming.Ok, "[10.0.0.1]")
	})
}

func TestHostIsAskedForOnceAndStopsWithItsLastUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.set(nil, "10.0.0.1")
		r := New(Options{Lookup: s.lookup})
		defer r.Close()
		a, b := r.Resolve("web"), r.Resolve("web")
		expect(t, b, naming.Ok, "[10.0.0.1]")
		if n := s.asked(); n != 1 {
			t.Errorf("two users cost %d queries", n)
		}
		a.Close()
		a.Close() // counts once
		next(RefreshInterval)
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
	r := New(Options{Lookup: s.lookup})
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
		for i := range 2 * MaxRecords {
			s.answer = append(s.answer, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		r := New(Options{Lookup: s.lookup})
		defer r.Close()
		expect(t, r.Resolve("127.1"), naming.Ok, "[127.0.0.1]")
		if s.asked() != 0 {
			t.Error("a literal was asked for")
		}
		l := r.Resolve("web")
		synctest.Wait()
		if addrs, _, _ := l.Load(); len(addrs) != MaxRecords {
			t.Errorf("%d addresses kept", len(addrs))
		}
	})
}
