package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
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
		if err == nil || errors.As(err, &dns) && dns.IsNotFound {
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

func (w *witness) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.server != "" {
		address = w.server
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
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
	asked   id
}

// Write implements net.Conn.
func (p *packets) Write(b []byte) (int, error) {
	p.asked.of(b)
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
	asked   id
	read    []byte
}

const lengthBytes = 2

// Write implements net.Conn.
func (s *stream) Write(b []byte) (int, error) {
	if len(b) > lengthBytes {
		s.asked.of(b[lengthBytes:])
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

// id is that of a query: what does not carry it is no answer to it.
type id struct {
	known bool
	n     uint16
}

func (i *id) of(query []byte) {
	if len(query) >= 2 {
		i.known, i.n = true, binary.BigEndian.Uint16(query)
	}
}

// message takes the TTLs of an answer. Whether the answer is good is for the standard library to say; of one that is not it makes an
// error, after which no TTL counts.
func (w *witness) message(b []byte, asked id) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || !asked.known || h.ID != asked.n || p.SkipAllQuestions() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	answered := false
	for {
		record, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		switch record.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeSRV:
			answered = true
			w.positive.see(record.TTL)
		}
	}
	if !answered && (h.RCode == dnsmessage.RCodeNameError || h.RCode == dnsmessage.RCodeSuccess) {
		w.authority(&p)
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
