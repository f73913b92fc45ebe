package main

import (
	"fmt"
	"strconv"
	"strings"
)

// work is one way to load a proxy.
type work struct {
	name, title string
	conns       int
	// hops: what is compared is one hop of Fairlead's with two.
	hops bool
}

// base is the proxy whose cost is divided by that of the others.
func (c work) base() string {
	if c.hops {
		return twoHops
	}
	return fairlead
}

const (
	keepalive = "keepalive-"
	maxConns  = 4096
)

// fixed are the cases whose names hold no number.
func fixed() []work {
	return []work{
		{name: "hops", title: "One hop and two, 16 connections", conns: 16, hops: true},
	}
}

// defaultCases are those of a run that names none.
const defaultCases = keepalive + "16," + keepalive + "64"

// parseCases reads names of cases, separated by commas.
func parseCases(names string) ([]work, error) {
	var all []work
	for _, name := range strings.Split(names, ",") {
		c, err := parseCase(name)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.name == c.name {
				return nil, fmt.Errorf("-cases: %s is there twice", name)
			}
		}
		all = append(all, c)
	}
	return all, nil
}

func parseCase(name string) (work, error) {
	if digits, ok := strings.CutPrefix(name, keepalive); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > maxConns {
			return work{}, fmt.Errorf("-cases: expected %s1 to %d, found %q", keepalive, maxConns, name)
		}
		return work{name: name, title: fmt.Sprintf("Keep-alive, %d connections", n), conns: n}, nil
	}
	for _, c := range fixed() {
		if c.name == name {
			return c, nil
		}
	}
	return work{}, fmt.Errorf("-cases: expected some of %s, found %q", caseNames(), name)
}

// caseNames lists what parseCase takes.
func caseNames() string {
	names := keepalive + "N"
	for _, c := range fixed() {
		names += ", " + c.name
	}
	return names
}
