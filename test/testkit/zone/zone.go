// Package zone is a real name server on loopback whose records a test sets.
package zone

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// negative is the SOA record of answers that there is nothing: they hold for 20 s (RFC 2308, section 5).
const negative = "test. 40 IN SOA ns.test. admin.test. 1 60 60 60 20"

// maxAliases bounds the aliases that are followed for one answer.
const maxAliases = 8

// Zone answers over UDP and TCP until its test ends.
type Zone struct {
	// Addr is host:port.
	Addr string

	t       *testing.T
	mu      sync.Mutex // guards what follows
	records map[string][]dns.RR
	rcode   int
	broken  map[uint16]bool
}

// New returns a server without records.
func New(t *testing.T) *Zone {
	t.Helper()
	z := &Zone{t: t, records: make(map[string][]dns.RR)}
	conn, l := listen(t)
	z.Addr = conn.LocalAddr().String()
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait) // after those below
	for _, s := range []*dns.Server{{PacketConn: conn, Handler: z}, {Listener: l, Handler: z}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wait.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return z
}

// listen returns a port that is free for both.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	var last error
	for range 100 {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", conn.LocalAddr().String())
		if err == nil {
			return conn, l
		}
		last = err
		_ = conn.Close()
	}
	t.Fatal(last)
	return nil, nil
}

// Set replaces the records of a name, which ends in a dot, each written as in a zone file without its name: "300 IN A 10.0.0.1".
func (z *Zone) Set(name string, records ...string) {
	z.t.Helper()
	var parsed []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(name + " " + text)
		if err != nil {
			z.t.Fatal(err)
		}
		parsed = append(parsed, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name] = parsed
}

// Break makes every answer a server failure, or ends that.
func (z *Zone) Break(broken bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode = dns.RcodeSuccess
	if broken {
		z.rcode = dns.RcodeServerFailure
	}
}

// BreakKind makes answers to questions for one kind of record, dns.TypeA, server failures.
func (z *Zone) BreakKind(kind uint16) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.broken = map[uint16]bool{kind: true}
}

// ServeDNS implements dns.Handler.
func (z *Zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	if m.Rcode = z.rcode; z.broken[q.Question[0].Qtype] {
		m.Rcode = dns.RcodeServerFailure
	} else if m.Rcode == dns.RcodeSuccess {
		z.answer(m, strings.ToLower(q.Question[0].Name), q.Question[0].Qtype)
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		m.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(m)
}

// answer adds the records of a name, and those of the names it is an alias of. z.mu is held.
func (z *Zone) answer(m *dns.Msg, name string, kind uint16) {
	for range maxAliases {
		var alias *dns.CNAME
		for _, rr := range z.records[name] {
			c, isAlias := rr.(*dns.CNAME)
			if isAlias {
				alias = c
			}
			if isAlias || rr.Header().Rrtype == kind {
				m.Answer = append(m.Answer, rr)
			}
		}
		if alias == nil {
			break
		}
		name = alias.Target
	}
	if len(m.Answer) > 0 {
		return
	}
	if z.records[name] == nil {
		m.Rcode = dns.RcodeNameError
	}
	soa, err := dns.NewRR(negative)
	if err != nil {
		z.t.Error(err)
		return
	}
	m.Ns = append(m.Ns, soa)
}
