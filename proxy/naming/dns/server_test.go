package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/test/testkit/zone"
)

// The TTL is that of the shortest-lived record on the way to the answer, over UDP as over TCP.
func TestTTLsAreRead(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("one.test.", "300 IN A 10.0.0.1")
	z.Set("zero.test.", "0 IN A 10.0.0.1")
	z.Set("both.test.", "300 IN A 10.0.0.1", "200 IN AAAA fd00::1")
	z.Set("alias.test.", "7 IN CNAME one.test.")
	z.Set("text.test.", `300 IN TXT "no address"`)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("%d IN A 10.1.0.%d", 1000+i, i))
	}
	z.Set("many.test.", many...)
	s := &system{servers: []string{z.Addr}}
	for host, want := range map[string]string{
		"one.test": "[10.0.0.1] 5m0s", "zero.test": "[10.0.0.1] 1s", "both.test": "[10.0.0.1 fd00::1] 3m20s",
		"alias.test": "[10.0.0.1] 7s", "many.test": "100 16m40s", "none.test": "missing 20s", "text.test": "missing 20s",
	} {
		addrs, ttl, err := s.hosts(t.Context(), host)
		addrs = tidy(addrs)
		got := fmt.Sprint(addrs)
		var missing *net.DNSError
		switch {
		case asDNSError(err, &missing) && missing.IsNotFound:
			got = "missing"
		case err != nil:
			got = err.Error()
		case len(addrs) > 2:
			got = fmt.Sprint(len(addrs))
		}
		if got += fmt.Sprintf(" %v", ttl); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// The hosts file has no TTLs.
func TestHostsFileHasNoTTL(t *testing.T) {
	addrs, ttl, err := (&system{}).hosts(t.Context(), "localhost")
	if !slices.Contains(tidy(addrs), netip.MustParseAddr("127.0.0.1")) || ttl != 0 || err != nil {
		t.Errorf("%v, ttl %v, error %v", addrs, ttl, err)
	}
}

func asDNSError(err error, to **net.DNSError) bool {
	e, ok := err.(*net.DNSError) //nolint:errorlint // as the standard library returns it
	*to = e
	return ok
}

// A search list is the standard library's: what a name earlier in it does not have says nothing about the answer.
func TestTTLOfASearchedName(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("one.test.", "300 IN A 10.0.0.1")
	s := &system{servers: []string{z.Addr}}
	_, ttl, err := askEach(s, func(r *net.Resolver) ([]netip.Addr, error) {
		if _, err := r.LookupNetIP(t.Context(), "ip", "one.test.none.test."); err == nil {
			t.Error("found a name that is none")
		}
		return r.LookupNetIP(t.Context(), "ip", "one.test.")
	})
	if err != nil || ttl != 5*time.Minute {
		t.Errorf("ttl %v, error %v", ttl, err)
	}
}

// Against a real server: an answer is asked for again when its TTL ends, and one that fails leaves it.
func TestRealAnswersFollowTheZone(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("web.test.", "1 IN A 10.0.0.1")
	dead, err := net.ListenPacket("udp", "127.0.0.1:0") // says nothing, so the next server is asked
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	r := New(Options{Servers: []string{dead.LocalAddr().String(), z.Addr}})
	t.Cleanup(r.Close)
	l := r.Resolve("web.test")
	t.Cleanup(l.Close)
	awaitAddrs(t, l, naming.Ok, "[10.0.0.1]")
	z.Set("web.test.", "1 IN A 10.0.0.2")
	awaitAddrs(t, l, naming.Ok, "[10.0.0.2]")
	z.Break(true)
	awaitAddrs(t, l, naming.Failed, "[10.0.0.2]")
	if s := r.Stats(); s.Names != 1 || s.Queries < 3 || s.Failures == 0 {
		t.Errorf("stats %+v", s)
	}
}

// That there is no such host is believed only if all was answered: with its IPv4 addresses out of reach, that it has no IPv6 ones says
// nothing. A name that does not exist at all has none of either, and those of one family are an answer.
func TestHalfAnAnswer(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("four.test.", "300 IN A 10.0.0.1")
	z.Set("six.test.", "300 IN AAAA fd00::1")
	z.BreakKind(uint16(dnsmessage.TypeA))
	s := &system{servers: []string{z.Addr}}
	for range 20 { // the two answers come in any order
		_, _, err := s.hosts(t.Context(), "four.test")
		var dns *net.DNSError
		if !errors.As(err, &dns) || dns.IsNotFound || !dns.IsTemporary {
			t.Fatalf("error %v", err)
		}
		// Either answer is right for a name that does not exist: the standard library tells which came first.
		if _, _, err := s.hosts(t.Context(), "none.test"); err == nil || strings.Contains(err.Error(), "a part of the question") {
			t.Fatalf("error %v", err)
		}
		var half *halfAnswer
		if addrs, _, err := s.hosts(t.Context(), "six.test"); !errors.As(err, &half) || !half.v4 || half.v6 || len(addrs) != 1 {
			t.Fatalf("%v, error %v", addrs, err)
		}
	}
}

// A question for which there was no connection, for want of descriptors say, was not answered either.
func TestQuestionThatCouldNotBeAsked(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("four.test.", "300 IN A 10.0.0.1")
	s := &system{servers: []string{z.Addr}}
	var found, failed int
	for range 1000 { // either question may be the one that is asked
		var dials atomic.Int64
		addrs, _, err := askEach(s, func(r *net.Resolver) ([]netip.Addr, error) {
			dial := r.Dial
			r.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials.Add(1) > 1 {
					ended, cancel := context.WithCancel(ctx)
					cancel()
					ctx = ended
				}
				return dial(ctx, network, address)
			}
			return r.LookupNetIP(t.Context(), "ip", "four.test.")
		})
		var dns *net.DNSError
		var half *halfAnswer
		switch {
		case len(addrs) == 1 && errors.As(err, &half) && half.v6 && !half.v4:
			found++
		case len(addrs) == 0 && errors.As(err, &dns) && !dns.IsNotFound:
			failed++
		default:
			t.Fatalf("%v, error %v", addrs, err)
		}
		if found > 0 && failed > 10 {
			break
		}
	}
}

// Of a family that is out of reach the last good addresses stay: without IPv6 in the network, those of the other are of no use.
func TestHalfAnAnswerKeepsTheOther(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("both.test.", "1 IN A 10.0.0.1", "1 IN AAAA fd00::1")
	r := New(Options{Servers: []string{z.Addr}})
	t.Cleanup(r.Close)
	l := r.Resolve("both.test")
	t.Cleanup(l.Close)
	awaitAddrs(t, l, naming.Ok, "[10.0.0.1 fd00::1]")
	z.BreakKind(uint16(dnsmessage.TypeA))
	z.Set("both.test.", "1 IN A 10.0.0.2", "1 IN AAAA fd00::2")
	awaitAddrs(t, l, naming.Ok, "[10.0.0.1 fd00::2]")
	if r.Stats().Failures == 0 {
		t.Error("not counted")
	}
	z.BreakKind(0)
	awaitAddrs(t, l, naming.Ok, "[10.0.0.2 fd00::2]")
}

// SRV records come with their TTL, and the hosts they name are resolved at the same servers.
func TestRealServices(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("_http._tcp.web.test.", "30 IN SRV 2 5 8080 b.test.", "30 IN SRV 1 0 80 a.test.", "30 IN SRV 1 0 80 a.test.")
	z.Set("_off._tcp.web.test.", "30 IN SRV 0 0 0 .")
	s := &system{servers: []string{z.Addr}}
	r := New(Options{Servers: s.servers})
	t.Cleanup(r.Close)
	for name, want := range map[string]string{
		"_http._tcp.web.test": "[{a.test 80 1 0} {b.test 8080 2 5}]", "_off._tcp.web.test": "[]", "_none._tcp.web.test.": "[]",
	} {
		live := r.ResolveSRV(name)
		await(t, live, func(records []SRV, s naming.State, err error) bool {
			return s == naming.Ok && err == nil && fmt.Sprint(records) == want
		})
		live.Close()
	}
	if _, ttl, err := s.services(t.Context(), "_http._tcp.web.test"); ttl != 30*time.Second || err != nil {
		t.Errorf("ttl %v, error %v", ttl, err)
	}
}

func await[T any](t *testing.T, l naming.Live[T], ok func(T, naming.State, error) bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		changed := l.Changed()
		v, s, err := l.Load()
		if ok(v, s, err) {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("still %v, state %d, error %v", v, s, err)
		}
	}
}

func awaitAddrs(t *testing.T, l naming.Live[[]netip.Addr], state naming.State, want string) {
	t.Helper()
	await(t, l, func(a []netip.Addr, s naming.State, _ error) bool { return s == state && fmt.Sprint(a) == want })
}
