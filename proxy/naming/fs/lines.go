package fs

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// parse reads the lines of a file: blank ones and what follows # say nothing. One bad line makes the whole file bad.
func parse(file, text string) ([]dns.Target, error) {
	var out []dns.Target
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
		if _, literal := dns.ParseLiteral(l.Host); !literal {
			names[l.Host] = true
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

// parseLine reads "host port [* weight]".
func parseLine(fields []string) (dns.Target, error) {
	const form = "expected <host> <port> [* <weight>]"
	l := dns.Target{Weight: 1}
	if len(fields) != 2 && (len(fields) != 4 || fields[2] != "*") {
		return l, fmt.Errorf("%s, found %q", form, strings.Join(fields, " "))
	}
	if l.Host = fields[0]; !isHost(l.Host) {
		return l, fmt.Errorf("expected an IP address or a host name, found %q", l.Host)
	}
	port, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil || port == 0 {
		return l, fmt.Errorf("%s, found port %q", form, fields[1])
	}
	l.Port = uint16(port)
	if len(fields) == 4 {
		l.Weight, err = strconv.ParseFloat(fields[3], 64)
		if err != nil || math.IsNaN(l.Weight) || l.Weight < 0 || l.Weight > dtab.MaxWeight {
			return l, fmt.Errorf("%s, found weight %q", form, fields[3])
		}
	}
	return l, nil
}

// Limits of DNS (RFC 1035, section 2.3.4).
const (
	maxNameBytes  = 253
	maxLabelBytes = 63
)

// isHost reports whether DNS may have a host of that name, or it is an address. What only looks like one, as 10.0.0.300, would be asked for
// for ever, and its endpoints be gone. Underscores are in use, whatever RFC 952 says.
func isHost(host string) bool {
	if _, literal := dns.ParseLiteral(host); literal {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxNameBytes {
		return false
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabelBytes || strings.ContainsFunc(label, isNoLetter) {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(labels) == 1 || strings.Trim(last, "0123456789") != ""
}

func isNoLetter(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}
