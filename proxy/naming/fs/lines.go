package fs

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// line is "host port [* weight]".
type line struct {
	host   string
	port   uint16
	weight float64
}

// parse reads the lines of a file: blank ones and what follows # say nothing. One bad line makes the whole file bad.
func parse(file, text string) ([]line, error) {
	var out []line
	names := make(map[string]bool)
	number := 0
	for raw := range strings.SplitSeq(text, "\n") {
		number++
		raw, _, _ = strings.Cut(raw, "#")
		fields := strings.Fields(raw)
		if len(fields) == 0 {
			continue
		}
		l, err := parseLine(fields)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		if _, literal := dns.ParseLiteral(l.host); !literal {
			names[l.host] = true
		}
		if out = append(out, l); len(out) > MaxEndpoints {
			return nil, fmt.Errorf("%s:%d: more than %d endpoints", file, number, MaxEndpoints)
		}
		if len(names) > MaxHosts {
			return nil, fmt.Errorf("%s:%d: more than %d host names", file, number, MaxHosts)
		}
	}
	return out, nil
}

func parseLine(fields []string) (line, error) {
	const form = "expected <host> <port> [* <weight>]"
	l := line{weight: 1}
	if len(fields) != 2 && (len(fields) != 4 || fields[2] != "*") {
		return l, fmt.Errorf("%s, found %q", form, strings.Join(fields, " "))
	}
	l.host = fields[0]
	port, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil || port == 0 {
		return l, fmt.Errorf("%s, found port %q", form, fields[1])
	}
	l.port = uint16(port)
	if len(fields) == 4 {
		l.weight, err = strconv.ParseFloat(fields[3], 64)
		if err != nil || math.IsNaN(l.weight) || l.weight < 0 || l.weight > dtab.MaxWeight {
			return l, fmt.Errorf("%s, found weight %q", form, fields[3])
		}
	}
	return l, nil
}

// addrs are the live endpoints of one file: its lines, each host resolved. set and close are called under the entry's lock.
type addrs struct {
	*naming.Var[naming.Addrs]
	dns   *dns.Resolver
	stops []func()

	mu    sync.Mutex // guards lines and hosts against publish
	lines []line
	hosts map[string]naming.Live[[]netip.Addr]
}

func newAddrs(resolver *dns.Resolver) *addrs {
	return &addrs{Var: naming.NewVar[naming.Addrs](), dns: resolver}
}

// set replaces the lines. Watches of hosts that stay are made before those of before are ended, so that their addresses stay.
func (a *addrs) set(lines []line) {
	hosts := make(map[string]naming.Live[[]netip.Addr])
	for _, l := range lines {
		if hosts[l.host] == nil {
			hosts[l.host] = a.dns.Resolve(l.host)
		}
	}
	a.mu.Lock()
	old, stops := a.hosts, a.stops
	a.lines, a.hosts, a.stops = lines, hosts, nil
	a.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	for _, live := range old {
		live.Close()
	}
	a.publish()
	for host, live := range hosts {
		if _, literal := dns.ParseLiteral(host); !literal {
			a.stops = append(a.stops, naming.Watch(live, func([]netip.Addr, naming.State, error) { a.publish() }))
		}
	}
}

// publish makes the endpoints of all lines whose hosts are known. It stays Pending while no host is.
func (a *addrs) publish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []naming.Endpoint
	known := len(a.lines) == 0
	seen := make(map[netip.AddrPort]bool)
	for _, l := range a.lines {
		ips, state, _ := a.hosts[l.host].Load()
		known = known || state != naming.Pending
		for _, ip := range ips {
			addr := netip.AddrPortFrom(ip, l.port)
			if !seen[addr] {
				seen[addr] = true
				out = append(out, naming.Endpoint{Addr: addr, Host: l.host, Weight: l.weight, Serving: true})
			}
		}
	}
	if known {
		a.Set(naming.Addrs{Endpoints: out})
	}
}

// close ends the watches. The last endpoints stay: whoever still holds them has requests under way.
func (a *addrs) close() {
	for _, stop := range a.stops {
		stop()
	}
	for _, live := range a.hosts {
		live.Close()
	}
	a.stops, a.hosts = nil, nil
}
