package http1

import (
	"strings"
	"testing"
)

// TestLimitsAreExact holds what is as large as a limit allows, and one byte or line more, to the same answer wherever the reads end.
func TestLimitsAreExact(t *testing.T) {
	t.Parallel()
	lim := headLimits{line: 40, bytes: 60, fields: 3}
	line := func(n int) string { return "GET /" + strings.Repeat("a", n-14) + " HTTP/1.1\r\nHost: web\r\n\r\n" }
	fields := func(n int) string {
		return "GET / HTTP/1.1\r\nHost: web\r\nA: " + strings.Repeat("b", n-len("Host: web\r\nA: \r\n")) + "\r\n\r\n"
	}
	count := func(n int) string {
		return "GET / HTTP/1.1\r\nHost: web\r\n" + strings.Repeat("A: b\r\n", n-1) + "\r\n"
	}
	for name, tc := range map[string]struct {
		send string
		want *Failure
	}{
		"line below": {line(39), nil}, "line at": {line(40), nil}, "line above": {line(41), errLineTooLong},
		"bytes below": {fields(59), nil}, "bytes at": {fields(60), nil}, "bytes above": {fields(61), errHeaderTooLarge},
		"count below": {count(2), nil}, "count at": {count(3), nil}, "count above": {count(4), errTooManyHeaders},
	} {
		for cut := range len(tc.send) {
			var r Request
			r.reset()
			_, got := r.parse([]byte(tc.send[:cut]), lim)
			if got == nil {
				_, got = r.parse([]byte(tc.send), lim)
			}
			if got != tc.want {
				t.Errorf("%s, read up to %d: got %v, want %v", name, cut, got, tc.want)
			}
		}
	}
}

// TestTrailerLimitsAreExact is the same for trailers.
func TestTrailerLimitsAreExact(t *testing.T) {
	t.Parallel()
	lim := headLimits{bytes: 20, fields: 3}
	size := func(n int) string { return "0\r\nA: " + strings.Repeat("b", n-5) + "\r\n\r\n" }
	count := func(n int) string { return "0\r\n" + strings.Repeat("A: b\r\n", n) + "\r\n" }
	for name, tc := range map[string]struct {
		send string
		want *Failure
	}{
		"bytes below": {size(19), nil}, "bytes at": {size(20), nil}, "bytes above": {size(21), errTrailerTooBig},
		"count below": {count(2), nil}, "count at": {count(3), nil}, "count above": {count(4), errTrailerTooBig},
	} {
		for cut := range len(tc.send) {
			var d body
			d.reset(framingChunked, 0, lim)
			got := decode(&d, tc.send, cut)
			if got != tc.want {
				t.Errorf("%s, read up to %d: got %v, want %v", name, cut, got, tc.want)
			}
		}
	}
}

// decode reads a body of which the first cut bytes come first.
func decode(d *body, s string, cut int) *Failure {
	at := 0
	for _, end := range [...]int{cut, len(s)} {
		for {
			_, n, ev, fail := d.next([]byte(s[at:end]))
			at += n
			if fail != nil || ev == evEnd {
				return fail
			}
			if ev == evMore {
				break
			}
		}
	}
	return errUpTruncated
}
