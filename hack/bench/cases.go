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
	path        string
	post        int // bytes of a request's body; 0: GET
	rate        int // requests per second of an open loop; 0: as fast as they are answered
	idle        int // connections beside those under load that ask for nothing
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
		{name: "get-10k", title: "10 KiB bodies, 16 connections", conns: 16, path: "/10k"},
		{name: "get-1m", title: "1 MiB bodies, 4 connections", conns: 4, path: "/1m"},
		{name: "post-1k", title: "POST of 1 KiB, 16 connections", conns: 16, path: "/", post: 1 << 10},
		{name: "post-100k", title: "POST of 100 KiB, 16 connections", conns: 16, path: "/", post: 100 << 10},
		{name: "open-3000", title: "Open loop, 3,000 requests/s over 64 connections", conns: 64, path: "/", rate: 3000},
		{name: "open-12000", title: "Open loop, 12,000 requests/s over 64 connections", conns: 64, path: "/", rate: 12000},
		{name: "idle-15000", title: "64 connections beside 15,000 idle ones", conns: 64, path: "/", idle: 15000},
		{name: "hops", title: "One hop and two, 16 connections", conns: 16, path: "/", hops: true},
		{name: "hops-open", title: "One hop and two, open loop, 3,000 requests/s over 64 connections", conns: 64, path: "/", rate: 3000, hops: true},
	}
}

const (
	// quickCases are the three that say most.
	quickCases = "keepalive-64,get-1m,open-3000"
	allCases   = "keepalive-1,keepalive-16,keepalive-64,keepalive-256,keepalive-512,get-10k,get-1m,post-1k,post-100k,open-3000,open-12000," +
		"idle-15000,hops,hops-open"
)

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
		title := fmt.Sprintf("Keep-alive, %d connections", n)
		if n == 1 {
			title = "Keep-alive, one connection"
		}
		return work{name: name, title: title, conns: n, path: "/"}, nil
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
