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
	l.Host = fields[0]
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
