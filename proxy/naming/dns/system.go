package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// system asks by way of the standard library: resolv.conf with its search domains, the hosts file, and TCP where an answer does not fit
// are its business. It does not tell TTLs, so they are read from the answers as they pass by.
type system struct {
	servers []string
}

func (s *system) hosts(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	if len(s.servers) > 0 {
		host = absolute(host)
	}
	return askEach(s, func(r *net.Resolver) ([]netip.Addr, error) { return r.LookupNetIP(ctx, "ip", host) })
}

func (s *system) services(ctx context.Context, name string) ([]SRV, time.Duration, error) {
	return askEach(s, func(r *net.Resolver) ([]SRV, error) {
		_, records, err := r.LookupSRV(ctx, "", "", absolute(name))
		var out []SRV
		for _, s := range records {
			if target := strings.TrimSuffix(s.Target, "."); target != "" {
				out = append(out, SRV{Target: target, Port: s.Port, Priority: s.Priority, Weight: s.Weight})
			}
		}
		if len(out) > 0 {
			err = nil // some records had names that are none: the others are good
		}
		return out, err
	})
}

func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// askEach asks the servers one after the other, those of resolv.conf as one, until one knows.
func askEach[T any](s *system, ask func(*net.Resolver) (T, error)) (answer T, ttl time.Duration, err error) {
	servers := s.servers
	if len(servers) == 0 {
		servers = []string{""}
	}
	for _, server := range servers {
		w := &witness{server: server}
		answer, err = ask(&net.Resolver{PreferGo: true, Dial: w.dial})
		ttl = w.ttl()
		var dns *net.DNSError
		switch missing := errors.As(err, &dns) && dns.IsNotFound; {
		case w.isSpoilt() && (err == nil || missing):
			err = &net.DNSError{Err: "an answer could not be read to its end", Server: server, IsTemporary: true}
		case missing && w.isOpen():
			// The standard library tells one of the errors it met, be it that there are no addresses of the other family.
			err = &net.DNSError{Err: "a part of the question was not answered", Name: dns.Name, Server: server, IsTemporary: true}
		case err == nil:
			err = w.half()
		}
		var half *halfAnswer
		if err == nil || errors.As(err, &half) || errors.As(err, &dns) && dns.IsNotFound {
			break
		}
	}
	return answer, ttl, err
}

// witness reads the answers to one resolution, which may take several queries at once.
type witness struct {
	// server is asked in place of the one the standard library chose; "" leaves that.
	server string

	mu sync.Mutex // guards what follows
	// positive is the smallest TTL of records that lead to the answer, negative that of answers that there are none.
	positive, negative ttl
	// open says of each question whether it is not answered yet, be it that there is nothing. gone are names that do not exist.
	open map[dnsmessage.Question]bool
	gone []dnsmessage.Name
	// undialled is set once there was no connection to ask by: then the question is not known.
	undialled bool
	// spoilt are questions whose last answer could not be read to its end. The standard library takes what it read of one.
	spoilt map[dnsmessage.Question]struct{}
}

// ttl is the smallest of what was seen.
type ttl struct {
	seen bool
	d    time.Duration
}

func (t *ttl) see(seconds uint32) {
	d := time.Duration(seconds) * time.Second
	if !t.seen || d < t.d {
		t.seen, t.d = true, d
	}
}

// ttl returns how long the answer holds, or 0 where no server was asked.
func (w *witness) ttl() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range []ttl{w.positive, w.negative} {
		if t.seen {
			return max(t.d, MinTTL)
		}
	}
	return 0
}

// isOpen reports whether a question was asked and not answered. A name that does not exist has no records of any type (RFC 8020).
func (w *witness) isOpen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for q, open := range w.open {
		if _, other := w.openFamily(q, open); (open || other) && !slices.Contains(w.gone, q.Name) {
			return true
		}
	}
	return false
}

// halfAnswer is the error of addresses beside which there may be others: the name servers failed for a family.
type halfAnswer struct{ v4, v6 bool }

func (*halfAnswer) Error() string { return "the addresses of one family were not answered" }

// lacks reports whether an address may be one of the others.
func (h *halfAnswer) lacks(a netip.Addr) bool { return h.v4 && a.Is4() || h.v6 && a.Is6() }

// half returns a halfAnswer if one family of a name is answered and the other is not, or nil.
func (w *witness) half() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var h halfAnswer
	for q, open := range w.open {
		if other, open := w.openFamily(q, open); open {
			h.v4, h.v6 = h.v4 || other == dnsmessage.TypeA, h.v6 || other == dnsmessage.TypeAAAA
		}
	}
	if h == (halfAnswer{}) {
		return nil
	}
	return &h
}

// openFamily returns the family that is open beside a question that is not. w.mu is held.
func (w *witness) openFamily(q dnsmessage.Question, open bool) (other dnsmessage.Type, otherOpen bool) {
	switch q.Type {
	case dnsmessage.TypeA:
		q.Type = dnsmessage.TypeAAAA
	case dnsmessage.TypeAAAA:
		q.Type = dnsmessage.TypeA
	default:
		return 0, false
	}
	otherOpen, asked := w.open[q]
	return q.Type, !open && (otherOpen || !asked && w.undialled)
}

func (w *witness) isSpoilt() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.spoilt) > 0
}

func (w *witness) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.server != "" {
		address = w.server
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.undialled = true
		return nil, err
	}
	// The standard library tells by the type whether messages have their length before them.
	if udp, ok := c.(*net.UDPConn); ok {
		return &packets{UDPConn: udp, witness: w}, nil
	}
	return &stream{Conn: c, witness: w}, nil
}

// packets is a connection on which each read is a message.
type packets struct {
	*net.UDPConn
	witness *witness
	asked   query
}

// Write implements net.Conn.
func (p *packets) Write(b []byte) (int, error) {
	p.asked = p.witness.asks(b)
	return p.UDPConn.Write(b)
}

// Read implements net.Conn.
func (p *packets) Read(b []byte) (int, error) {
	n, err := p.UDPConn.Read(b)
	p.witness.message(b[:n], p.asked)
	return n, err
}

// stream is a connection with one answer, its length before it.
type stream struct {
	net.Conn
	witness *witness
	asked   query
	read    []byte
}

const lengthBytes = 2

// Write implements net.Conn.
func (s *stream) Write(b []byte) (int, error) {
	if len(b) > lengthBytes {
		s.asked = s.witness.asks(b[lengthBytes:])
		s.asked.last = true
	}
	return s.Conn.Write(b)
}

// Read implements net.Conn.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	const most = lengthBytes + 1<<16
	s.read = append(s.read, b[:min(n, most-len(s.read))]...)
	if len(s.read) >= lengthBytes {
		if whole := lengthBytes + int(binary.BigEndian.Uint16(s.read)); len(s.read) >= whole {
			s.witness.message(s.read[lengthBytes:whole], s.asked)
		}
	}
	return n, err
}

// query is what a connection asked last: what does not carry its id and its question is no answer to it.
type query struct {
	known bool
	// last means that the standard library asks no other way: it takes what there is, even if it is truncated.
	last     bool
	id       uint16
	question dnsmessage.Question
}

// asks takes a query as it is written.
func (w *witness) asks(message []byte) (q query) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return q
	}
	if q.question, err = p.Question(); err != nil {
		return q
	}
	q.known, q.id = true, h.ID
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open, w.spoilt = make(map[dnsmessage.Question]bool), make(map[dnsmessage.Question]struct{})
	}
	w.open[q.question] = true
	return q
}

// isAnsweredBy reports whether a message with this head and question is for q.
func (q *query) isAnsweredBy(h dnsmessage.Header, to dnsmessage.Question) bool {
	return q.known && h.Response && h.ID == q.id && to.Type == q.question.Type && to.Class == q.question.Class &&
		strings.EqualFold(to.Name.String(), q.question.Name.String())
}

// message takes the TTLs of an answer, and whether it can be read to its end. Whether it is good is else for the standard library to say;
// of one that is not it makes an error, after which no TTL counts.
func (w *witness) message(b []byte, asked query) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return
	}
	if to, err := p.Question(); err != nil || !asked.isAnsweredBy(h, to) || p.SkipAllQuestions() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	good := h.RCode == dnsmessage.RCodeSuccess || h.RCode == dnsmessage.RCodeNameError
	if h.RCode == dnsmessage.RCodeNameError {
		w.gone = append(w.gone, asked.question.Name)
	}
	found, err := w.answers(&p)
	if h.Truncated { // it may end anywhere
		if found && asked.last {
			w.open[asked.question] = false
		}
		return
	}
	if err != nil {
		if good {
			w.spoilt[asked.question] = struct{}{}
		}
		return
	}
	delete(w.spoilt, asked.question)
	if good {
		w.open[asked.question] = false
	}
	if !found && good {
		w.authority(&p)
	}
}

// answers takes the TTLs of records that lead to the answer, and reports whether there is any. w.mu is held.
func (w *witness) answers(p *dnsmessage.Parser) (found bool, err error) {
	for {
		record, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return found, nil
		}
		if err == nil {
			err = p.SkipAnswer()
		}
		if err != nil {
			return found, err
		}
		switch record.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeSRV:
			found = true
			w.positive.see(record.TTL)
		}
	}
}

// authority takes how long a negative answer holds (RFC 2308, section 5).
func (w *witness) authority(p *dnsmessage.Parser) {
	for {
		record, err := p.AuthorityHeader()
		if err != nil {
			return
		}
		if record.Type != dnsmessage.TypeSOA {
			if p.SkipAuthority() != nil {
				return
			}
			continue
		}
		soa, err := p.SOAResource()
		if err != nil {
			return
		}
		w.negative.see(min(record.TTL, soa.MinTTL))
	}
}
