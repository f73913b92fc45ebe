package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/test/testkit/zone"
)

// hostile is a name server that writes what a test says.
type hostile struct {
	addr    string
	answers atomic.Pointer[answers]
	queries atomic.Int64
}

// answers returns the packets that a question is answered by. Over TCP each is written as it is, with no length before it.
type answers func(q asked) [][]byte

// asked is one query.
type asked struct {
	id   uint16
	name dnsmessage.Name
	kind dnsmessage.Type
	tcp  bool
}

func newHostile(t *testing.T, a answers) *hostile {
	t.Helper()
	h := &hostile{}
	h.answers.Store(&a)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	var wait sync.WaitGroup
	wait.Go(func() { h.packets(p) })
	wait.Go(func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			wait.Go(func() { h.stream(c) })
		}
	})
	t.Cleanup(func() {
		_, _ = p.Close(), l.Close()
		wait.Wait()
	})
	return h
}

func (h *hostile) packets(p net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := p.ReadFrom(b)
		if err != nil {
			return
		}
		for _, a := range h.answer(b[:n], false) {
			_, _ = p.WriteTo(a, from)
		}
	}
}

func (h *hostile) stream(c net.Conn) {
	defer c.Close() //nolint:errcheck // nothing to lose
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 1<<16)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return
	}
	n := int(binary.BigEndian.Uint16(b))
	if _, err := io.ReadFull(c, b[:n]); err != nil {
		return
	}
	for _, a := range h.answer(b[:n], true) {
		if _, err := c.Write(a); err != nil {
			return
		}
	}
}

func (h *hostile) answer(query []byte, tcp bool) [][]byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	h.queries.Add(1)
	return (*h.answers.Load())(asked{head.ID, q.Name, q.Type, tcp})
}

// reply is a message that may be spoilt before it is packed.
func (a asked) reply(change func(*dnsmessage.Message), ips ...string) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: a.id, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{{Name: a.name, Type: a.kind, Class: dnsmessage.ClassINET}},
	}
	for _, ip := range ips {
		if a.kind == dnsmessage.TypeA {
			m.Answers = append(m.Answers, a.record([4]byte(net.ParseIP(ip).To4())))
		}
	}
	if change != nil {
		change(&m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func (a asked) record(ip [4]byte) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: a.name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 0},
		Body:   &dnsmessage.AResource{A: ip},
	}
}

// framed puts its length before a message.
func framed(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// good answers with addresses of one family, and that there are none of the other.
func good(ips ...string) answers {
	return func(q asked) [][]byte {
		if b := q.reply(nil, ips...); q.tcp {
			return [][]byte{framed(b)}
		} else {
			return [][]byte{b}
		}
	}
}

// spoilt answers that there are no IPv6 addresses, and by spoil for IPv4.
func spoilt(spoil func(q asked, good []byte) []byte) answers {
	return func(q asked) [][]byte {
		b := q.reply(nil, "10.0.0.1", "10.0.0.2", "10.0.0.3")
		if q.kind == dnsmessage.TypeA {
			b = spoil(q, b)
		}
		if q.tcp {
			b = framed(b)
		}
		return [][]byte{b}
	}
}

// What is no answer leaves the last good one, however much of it can be read: neither are addresses lost, nor is the name said to be gone.
func TestSpoiltAnswersKeepTheLastGoodOne(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(q asked, good []byte) []byte{
		"cut in a record":     func(_ asked, b []byte) []byte { return b[:len(b)-3] },
		"cut in the first":    func(_ asked, b []byte) []byte { return b[:len(b)-3-2*16] },
		"cut after the head":  func(q asked, b []byte) []byte { return b[:12+int(q.name.Length)+1+4+1] },
		"more than there are": func(_ asked, b []byte) []byte { b[7]++; return b },
		"a pointer to itself": func(_ asked, b []byte) []byte {
			at := len(b) - 16 // where the last record begins
			binary.BigEndian.PutUint16(b[at:], 0xC000|uint16(at))
			return b
		},
		"a longer address": func(_ asked, b []byte) []byte { b[len(b)-5]++; return b },
		"a failure":        func(_ asked, b []byte) []byte { b[3] |= byte(dnsmessage.RCodeServerFailure); return b },
		"refused":          func(_ asked, b []byte) []byte { b[3] |= byte(dnsmessage.RCodeRefused); return b },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, good("10.0.0.1", "10.0.0.2", "10.0.0.3"))
			s := &system{servers: []string{h.addr}}
			ask := spoilt(spoil)
			h.answers.Store(&ask)
			for range 10 { // the two answers come in any order
				addrs, _, err := s.hosts(t.Context(), "web.test")
				var dns *net.DNSError
				if err == nil || errors.As(err, &dns) && dns.IsNotFound {
					t.Fatalf("%v, error %v", addrs, err)
				}
			}
		})
	}
}

// The same question may be answered well the next time: the standard library asks twice.
func TestSpoiltAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	var asks atomic.Int64
	h := newHostile(t, spoilt(func(q asked, b []byte) []byte {
		if asks.Add(1) == 1 {
			return b[:12+int(q.name.Length)+1+4+1]
		}
		return b
	}))
	addrs, _, err := (&system{servers: []string{h.addr}}).hosts(t.Context(), "web.test")
	if len(addrs) != 3 || err != nil || asks.Load() != 2 {
		t.Errorf("%v, error %v, asked %d times", addrs, err, asks.Load())
	}
}

// An answer to another question, or to a query that was not sent, is none: the right one may still come.
func TestForgedAnswersAreIgnored(t *testing.T) {
	t.Parallel()
	forge := func(q asked, change func(*dnsmessage.Message)) []byte { return q.reply(change, "6.6.6.6") }
	h := newHostile(t, func(q asked) [][]byte {
		var out [][]byte
		for i := range 50 {
			out = append(out, forge(q, func(m *dnsmessage.Message) { m.ID += uint16(i) + 1 }))
		}
		return append(out,
			forge(q, func(m *dnsmessage.Message) { m.Response = false }),
			forge(q, func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("evil.test.") }),
			forge(q, func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }),
			forge(q, func(m *dnsmessage.Message) { m.Questions = nil }),
			nil, []byte{1}, q.reply(nil, "10.0.0.1"))
	})
	r := New(Options{Servers: []string{h.addr}})
	t.Cleanup(r.Close)
	l := r.Resolve("web.test")
	t.Cleanup(l.Close)
	awaitAddrs(t, l, naming.Ok, "[10.0.0.1]")
}

// Aliases in a circle, records of other kinds, thousands of records, and doubled ones.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	alias := func(q asked, to string) dnsmessage.Resource {
		return dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.name, Type: dnsmessage.TypeCNAME, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)},
		}
	}
	for what, c := range map[string]struct {
		change func(q asked, m *dnsmessage.Message)
		want   string
	}{
		"aliases in a circle": {func(q asked, m *dnsmessage.Message) {
			m.Answers = []dnsmessage.Resource{alias(q, "b.test."), alias(q, q.name.String())}
		}, "missing"},
		"doubled": {func(q asked, m *dnsmessage.Message) {
			m.Answers = slices.Repeat([]dnsmessage.Resource{q.record([4]byte{10, 0, 0, 1})}, 20)
		}, "1"},
		"thousands": {func(q asked, m *dnsmessage.Message) {
			for i := range 4000 {
				m.Answers = append(m.Answers, q.record([4]byte{10, 1, byte(i >> 8), byte(i)}))
			}
		}, fmt.Sprint(MaxRecords)},
		"nothing": {func(asked, *dnsmessage.Message) {}, "missing"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, func(q asked) [][]byte {
				b := q.reply(func(m *dnsmessage.Message) {
					if q.kind == dnsmessage.TypeA {
						c.change(q, m)
					}
					if m.Truncated = !q.tcp; m.Truncated {
						m.Answers = nil
					}
				})
				if q.tcp {
					b = framed(b)
				}
				return [][]byte{b}
			})
			addrs, _, err := (&system{servers: []string{h.addr}}).hosts(t.Context(), "web.test")
			got := fmt.Sprint(len(tidy(addrs)))
			var dns *net.DNSError
			if errors.As(err, &dns) && dns.IsNotFound {
				got = "missing"
			}
			if got != c.want {
				t.Errorf("%s, error %v; want %s", got, err, c.want)
			}
		})
	}
}

// An answer over TCP may come in pieces; one that never ends is given up.
func TestAnswersInPieces(t *testing.T) {
	t.Parallel()
	var stuck atomic.Bool
	h := newHostile(t, func(q asked) [][]byte {
		b := q.reply(func(m *dnsmessage.Message) { m.Truncated = !q.tcp }, "10.0.0.1")
		if !q.tcp {
			return [][]byte{b}
		}
		b = framed(b)
		if stuck.Load() {
			b = b[:len(b)-1]
		}
		var pieces [][]byte
		for piece := range slices.Chunk(b, 1) {
			pieces = append(pieces, piece)
		}
		return pieces
	})
	s := &system{servers: []string{h.addr}}
	if addrs, ttl, err := s.hosts(t.Context(), "web.test"); fmt.Sprint(tidy(addrs)) != "[10.0.0.1]" || ttl != MinTTL || err != nil {
		t.Errorf("%v, ttl %v, error %v", addrs, ttl, err)
	}
	stuck.Store(true) // the connection ends before the answer does
	ctx, cancel := context.WithTimeout(t.Context(), QueryTimeout)
	defer cancel()
	addrs, _, err := s.hosts(ctx, "web.test")
	var dns *net.DNSError
	if err == nil || errors.As(err, &dns) && dns.IsNotFound {
		t.Errorf("%v, error %v", addrs, err)
	}
}

// Without descriptors nothing can be asked: that is no answer, and the last good ones stay until there are some again. Not parallel: it is
// the whole process that has none.
func TestOutOfDescriptors(t *testing.T) {
	z := zone.New(t)
	z.Set("web.test.", "1 IN A 10.0.0.1")
	z.Set("_http._tcp.web.test.", "1 IN SRV 1 0 80 web.test.")
	r := New(Options{Servers: []string{z.Addr}})
	t.Cleanup(r.Close)
	host, srv := r.Resolve("web.test"), r.ResolveSRV("_http._tcp.web.test")
	t.Cleanup(host.Close)
	t.Cleanup(srv.Close)
	is := func(records []SRV) bool { return fmt.Sprint(records) == "[{web.test 80 1 0}]" }
	awaitAddrs(t, host, naming.Ok, "[10.0.0.1]")
	await(t, srv, func(records []SRV, s naming.State, _ error) bool { return s == naming.Ok && is(records) })

	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
	t.Cleanup(restore)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	awaitAddrs(t, host, naming.Failed, "[10.0.0.1]")
	await(t, srv, func(records []SRV, s naming.State, _ error) bool { return s == naming.Failed && is(records) })
	z.Set("web.test.", "1 IN A 10.0.0.2")
	restore()
	awaitAddrs(t, host, naming.Ok, "[10.0.0.2]")
	await(t, srv, func(records []SRV, s naming.State, _ error) bool { return s == naming.Ok && is(records) })
}
