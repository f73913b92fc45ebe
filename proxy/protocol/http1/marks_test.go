package http1

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMarks: what an endpoint is told about where a request comes from.
func TestMarks(t *testing.T) {
	t.Parallel()
	heads := make(chan string, 1)
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			h, whole := c.tryHead()
			if !whole {
				return
			}
			heads <- h
			c.reply("HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	client, server := c.c.LocalAddr().String(), r.l.Addr().String()
	const sent = "Forwarded: for=a\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX-FORWARDED-HOST: h\r\nX-Forwarded-Proto: https\r\nX-Start: 1\r\n"
	random := Labeler{Kind: LabelRequest}
	for name, tc := range map[string]struct {
		marks      Marks
		host, send string
		want       string // a regular expression of the lines after Host, without those of Via
	}{
		"none": {Marks{}, "web", sent, regexp.QuoteMeta(sent)},
		"append": {
			Marks{XForwarded: XForwardedAppend}, "web", sent,
			"Forwarded: for=a\r\nX-FORWARDED-HOST: h\r\nX-Forwarded-Proto: https\r\nX-Start: 1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1\r\n",
		},
		"append to nothing": {
			Marks{XForwarded: XForwardedAppend}, "web:80", "X-Forwarded-For:\r\n",
			"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: web:80\r\nX-Forwarded-Proto: http\r\n",
		},
		"a client cannot take it away": {
			Marks{XForwarded: XForwardedAppend}, "web", "Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.1.1.1\r\n",
			"X-Forwarded-For: 1.1.1.1, 127.0.0.1\r\nX-Forwarded-Host: web\r\nX-Forwarded-Proto: http\r\n",
		},
		"a client cannot take it away with its own": {
			Marks{XForwarded: XForwardedAppend}, "web",
			"Connection: X-Forwarded-Host, x-forwarded-proto\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\n",
			"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: web\r\nX-Forwarded-Proto: http\r\n",
		},
		"replace": {
			Marks{XForwarded: XForwardedReplace}, "web", sent,
			"X-Start: 1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: web\r\nX-Forwarded-Proto: http\r\n",
		},
		"timestamp": {Marks{Timestamp: "x-start"}, "web", "X-START: 1\r\nA: b\r\nX-Start: 2\r\n", `A: b\r\nx-start: (\d{13})\r\n`},
		"forwarded": {
			Marks{Forwarded: true}, "web", "Forwarded: for=a\r\n",
			`Forwarded: for=a\r\nForwarded: by=_[0-9A-Za-z]{6};for=_[0-9A-Za-z]{6};host=web;proto=http\r\n`,
		},
		"forwarded addresses": {
			Marks{Forwarded: true, By: Labeler{Kind: LabelIPPort}, For: Labeler{Kind: LabelIPPort}}, "web:80", "",
			fmt.Sprintf("Forwarded: by=%q;for=%q;host=\"web:80\";proto=http\r\n", server, client),
		},
		"forwarded without ports": {
			Marks{Forwarded: true, By: Labeler{Kind: LabelIP}, For: Labeler{Kind: LabelStatic, Text: "gw"}}, "", "",
			"Forwarded: by=127.0.0.1;for=gw;proto=http\r\n",
		},
		"all of them": {
			Marks{Timestamp: "T", Forwarded: true, By: random, For: random, XForwarded: XForwardedReplace}, "web", "",
			`T: \d+\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: web\r\nX-Forwarded-Proto: http\r\nForwarded: by=\S+;proto=http\r\n`,
		},
	} {
		r.s.SetMarks(tc.marks) // also for connections that are open
		before := time.Now().UnixMilli()
		c.send("GET /a HTTP/1.1\r\nHost: " + tc.host + "\r\n" + tc.send + "\r\n")
		got := strings.Replace(strings.TrimPrefix(<-heads, "GET /a HTTP/1.1\r\nHost: "+tc.host+"\r\n"), "Via: 1.1 fairlead\r\n", "", 1)
		found := regexp.MustCompile("^" + tc.want + "\r\n$").FindStringSubmatch(got)
		if found == nil {
			t.Errorf("%s: the endpoint got %q, want %q", name, got, tc.want)
		} else if len(found) > 1 {
			if at, _ := strconv.ParseInt(found[1], 10, 64); at < before || at > time.Now().UnixMilli() {
				t.Errorf("%s: %d is not the time between %d and now", name, at, before)
			}
		}
		c.head()
	}
}

// TestNoTrailerIsAMark: a recipient that merges trailers into headers would take the client's for the proxy's.
func TestNoTrailerIsAMark(t *testing.T) {
	t.Parallel()
	trailers := make(chan string, 1)
	e := newEndpoint(t, func(_ int, c *client) {
		c.head()
		_, trailer := c.chunks(t)
		trailers <- trailer
		c.reply("HTTP/1.1 204 No Content\r\n\r\n")
	})
	r := newRig(t, rigOptions{}, e.addr)
	r.s.SetMarks(Marks{Timestamp: "X-Start"})
	for _, size := range []int{1, 200_000} { // in the first buffer, and by its own goroutine
		c := r.dial()
		c.send(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nx-start: 1\r\nX-Sum: 2\r\nX-Forwarded-For: 3\r\n\r\n",
			size, strings.Repeat("a", size)))
		if got, want := <-trailers, "X-Sum: 2\r\n"; got != want {
			t.Errorf("%d bytes: trailers %q, want %q", size, got, want)
		}
		c.head()
	}
}

// TestLabels: a label of a connection stays, that of a request does not, and addresses of IPv6 are quoted.
func TestLabels(t *testing.T) {
	t.Parallel()
	x := &exchange{c: &conn{}}
	label := func(k LabelerKind, at string) string {
		end, _ := netip.ParseAddrPort(at)
		return string(x.appendLabel(nil, Labeler{Kind: k}, func() netip.AddrPort { return end }))
	}
	if a, b := label(LabelConnection, ""), label(LabelConnection, ""); a != b {
		t.Errorf("one connection is %s and %s", a, b)
	}
	if a, b := label(LabelRequest, ""), label(LabelRequest, ""); a == b {
		t.Errorf("two requests are %s", a)
	}
	for _, tc := range []struct {
		kind     LabelerKind
		at, want string
	}{
		{LabelIP, "[::1]:80", `"[::1]"`},
		{LabelIPPort, "[::1]:80", `"[::1]:80"`},
		{LabelIPPort, "[fe80::1%eth0]:80", `"[fe80::1]:80"`},
		{LabelIP, "[fe80::1%eth0]:80", `"[fe80::1]"`},
		{LabelIPPort, "1.2.3.4:80", `"1.2.3.4:80"`},
		{LabelIP, "1.2.3.4:80", "1.2.3.4"},
		{LabelIP, "", "unknown"},
	} {
		if got := label(tc.kind, tc.at); got != tc.want {
			t.Errorf("%s by %d is %s, want %s", tc.at, tc.kind, got, tc.want)
		}
	}
}

// TestXForwardedForIPv6: the address alone, without the zone, which is the name of an interface of this node.
func TestXForwardedForIPv6(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{"[2001:db8::1]:80": "2001:db8::1", "[fe80::1%eth0]:80": "fe80::1"} {
		r := Request{client: netip.MustParseAddrPort(at)}
		if got := string(r.appendXForwarded(nil, false)); got != "X-Forwarded-For: "+want+"\r\nX-Forwarded-Proto: http\r\n" {
			t.Errorf("from %s: %q", at, got)
		}
	}
}
