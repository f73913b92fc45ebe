package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

var fuzzLimits = headLimits{line: 4 << 10, bytes: 8 << 10, fields: 100}

// FuzzRequest checks three things of every head that is accepted: net/http accepts what is sent on and sees the same framing, host and
// method as this parser saw; cutting the input anywhere changes nothing.
func FuzzRequest(f *testing.F) {
	for _, tc := range wireCases {
		f.Add([]byte(tc.send), 5)
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 9)
	f.Add([]byte("POST http://b/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked \r\nConnection: x,close\r\n\r\n"), 30)
	f.Add([]byte("CONNECT web:443 HTTP/1.1\r\nHost: other\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nGET / HTTP/1.1\r\n"), 30)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var r, again Request
		done, fail := r.parse(in, fuzzLimits)
		cut = min(max(cut, 0), len(in))
		moved := append([]byte(nil), in...)
		done2, fail2 := again.parse(moved[:cut], fuzzLimits)
		if !done2 && fail2 == nil {
			done2, fail2 = again.parse(append([]byte(nil), in...), fuzzLimits) // in other memory, as after a move
		}
		if done2 != done || (fail2 == nil) != (fail == nil) || done && string(again.host) != string(r.host) {
			t.Fatalf("cut at %d: %v %v, whole: %v %v", cut, done2, fail2, done, fail)
		}
		if !done || r.framing == framingLength && r.length > 1<<20 {
			return
		}
		out := r.appendEnd(r.appendHead(nil, []byte("Via: 1.1 fairlead\r\n")))
		hr, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			if !strictURL(r.path) || !netHTTPHost(r.host) {
				return // net/http parses URLs; what is only opaque bytes to a relay may not be one
			}
			t.Fatalf("net/http refuses %q: %v", out, err)
		}
		length := int64(0)
		if r.framing == framingChunked {
			length = -1
		} else {
			length = r.length
		}
		if hr.ContentLength != length || (len(hr.TransferEncoding) > 0) != (r.framing == framingChunked) {
			t.Fatalf("net/http sees length %d and %v of %q, sent was %d", hr.ContentLength, hr.TransferEncoding, out, length)
		}
		if hr.Method != string(r.method) || hr.Host != string(r.host) {
			t.Fatalf("net/http sees %s %q of %q", hr.Method, hr.Host, out)
		}
	})
}

// strictURL is what net/url takes for certain.
func strictURL(path []byte) bool {
	for _, c := range path {
		if chars[c]&charToken == 0 && c != '/' && c != '?' && c != '=' || c == '%' || c == '#' {
			return false
		}
	}
	return !bytes.HasPrefix(path, []byte("//"))
}

func netHTTPHost(host []byte) bool {
	for _, c := range host {
		if c == '[' || c == ']' || c == ':' || c == '%' {
			return false
		}
	}
	return true
}

// FuzzChunks compares the chunk decoder with net/http's: what is accepted here must give the same bytes there, from the input and from
// what is sent on.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "1;a\r\nx\r\n2\r\nyz\r\n0\r\nA: b\r\n\r\n", "00a\r\n0123456789\r\n0\r\n\r\n"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		step = 1 + min(max(step, 0), 100)
		var d body
		d.reset(framingChunked, 0, fuzzLimits)
		var data []byte
		k := sink{chunked: true, b: make([]byte, 0, 2*len(in)+1<<16)}
		at, end := 0, 0
	feed:
		for end < len(in) {
			end = min(end+step, len(in))
			for {
				p, n, ev, fail := d.next(in[at:end])
				if fail != nil {
					return
				}
				at += n
				switch ev {
				case evData:
					data = append(data, p...)
					_ = k.data(p)
				case evTrailer:
					_ = k.trailer(p)
				case evEnd:
					_ = k.end()
					break feed
				}
				if ev == evMore {
					break
				}
			}
		}
		if d.state != chunkDone {
			return
		}
		for what, wire := range map[string][]byte{"input": in[:at], "output": k.b} {
			head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
			// net/http takes no trailers that are longer than its buffer.
			br := bufio.NewReaderSize(io.MultiReader(bytes.NewReader([]byte(head)), bytes.NewReader(wire)), len(head)+len(wire)+1)
			hr, err := http.ReadRequest(br)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(hr.Body)
			if err != nil && what == "input" {
				continue // stricter about trailers it knows
			}
			if err != nil || !bytes.Equal(got, data) || br.Buffered() > 0 {
				t.Fatalf("net/http reads %q (%v, %d left) of the %s %q, this relay %q", got, err, br.Buffered(), what, wire, data)
			}
		}
	})
}
