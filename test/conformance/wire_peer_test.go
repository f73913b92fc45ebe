package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wirePeer is one end of a TCP connection that speaks raw bytes.
type wirePeer struct {
	c *net.TCPConn
	r *bufio.Reader
}

func newWirePeer(c net.Conn) *wirePeer {
	_ = c.SetDeadline(time.Now().Add(wireLimit))
	return &wirePeer{c: c.(*net.TCPConn), r: bufio.NewReader(c)}
}

// slowTail is how many of the last bytes of a message are sent one by one.
const slowTail = 8

// write sends b, if slow then in pieces: one ends with each CR, between it and its LF, and those at the end are of one byte. That the
// other end takes no more is seen by what comes from there.
func (w *wirePeer) write(b wireBytes, slow bool) {
	for len(b) > 0 {
		n := len(b)
		if cr := bytes.IndexByte(b, '\r'); slow && n <= slowTail {
			n = 1
		} else if slow && cr >= 0 {
			n = min(cr+1, n-slowTail)
		} else if slow {
			n -= slowTail
		}
		if _, err := w.c.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

func (w *wirePeer) close() { _ = w.c.Close() }

// end closes the connection as a case says.
func (w *wirePeer) end(how string) {
	switch how {
	case "half-closes":
		_ = w.c.CloseWrite()
	case "resets":
		_ = w.c.SetLinger(0)
		_ = w.c.Close()
	default:
		_ = w.c.Close()
	}
}

// pending returns what was received and not read yet.
func (w *wirePeer) pending() string {
	_ = w.c.SetReadDeadline(time.Now().Add(time.Millisecond))
	b := make([]byte, 512)
	n, _ := w.r.Read(b)
	return string(b[:n])
}

// expectEnd checks that the other end closes, without another byte. An end that this one closed is one too.
func (w *wirePeer) expectEnd() error {
	b, err := w.r.ReadByte()
	switch {
	case err == nil:
		_ = w.r.UnreadByte()
		return fmt.Errorf("got %q, want the end", w.pending())
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return nil
	}
	return fmt.Errorf("got %q, %w, want the end", b, err)
}

func (w *wirePeer) expectReset() error {
	if _, err := w.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("got %w, want a reset", err)
	}
	return nil
}

// head reads up to the blank line.
func (w *wirePeer) head() (string, error) {
	var b strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return "", fmt.Errorf("after %q: %w", b.String(), err)
		}
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// chunkedHead ends the head of a message in chunks, as the proxy writes it.
const chunkedHead = "Transfer-Encoding: chunked\r\n"

// expect reads exactly want. Chunks may be cut elsewhere: what they hold is compared.
func (w *wirePeer) expect(want wireBytes) error {
	for {
		at := bytes.Index(want, []byte(chunkedHead))
		if at >= 0 {
			at += bytes.Index(want[at:], []byte("\r\n\r\n")) + 4
		}
		if at < 0 || at == len(want) || bytes.HasPrefix(want[at:], []byte("HTTP/")) {
			return w.expectExactly(want)
		}
		if err := w.expectExactly(want[:at]); err != nil {
			return err
		}
		rest, err := w.expectChunks(want[at:])
		if err != nil {
			return err
		}
		want = rest
	}
}

func (w *wirePeer) expectExactly(want wireBytes) error {
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		m, err := w.r.Read(got[n:])
		n += m
		if !bytes.HasPrefix(want, got[:n]) || err != nil {
			return fmt.Errorf("got  %q, %w\nwant %q", clip(string(got[:n])+w.pending()), err, clip(string(want)))
		}
	}
	return nil
}

// clip keeps a message of a failure readable.
func clip(s string) string {
	const most = 3000
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s ... (%d bytes) ... %s", s[:most/2], len(s), s[len(s)-most/2:])
}

// expectChunks reads chunks as far as want goes, and returns what follows them in want.
func (w *wirePeer) expectChunks(want wireBytes) (rest wireBytes, err error) {
	is := bufio.NewReader(bytes.NewReader(want))
	wanted, wantedEnd, err := chunks(is, -1)
	if err != nil {
		return nil, fmt.Errorf("the case itself has malformed chunks: %w", err)
	}
	most := len(wanted)
	if wantedEnd != "" {
		most = -1
	}
	got, gotEnd, err := chunks(w.r, most)
	if err != nil || got != wanted || gotEnd != wantedEnd {
		return nil, fmt.Errorf("got  body %q and trailers %q, %w %q\nwant body %q and trailers %q",
			clip(got), gotEnd, err, w.pending(), clip(wanted), wantedEnd)
	}
	return io.ReadAll(is)
}

// chunks reads chunks as the proxy writes them: lower-case digits without zeros in front, no extension. With most >= 0 it stops at
// that many bytes of data, else at the end of the body or of r; end is the last chunk and the trailers, empty if they did not come.
func chunks(r *bufio.Reader, most int) (data, end string, err error) {
	for most < 0 || len(data) < most {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" && most < 0 {
			return data, "", nil
		}
		if err != nil {
			return data, "", fmt.Errorf("chunk size %q: %w", line, err)
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 31)
		if err != nil || line != fmt.Sprintf("%x\r\n", n) {
			return data, "", fmt.Errorf("the chunk size line %q", line)
		}
		if n == 0 {
			for end = line; ; end += line {
				if line, err = r.ReadString('\n'); err != nil {
					return data, end, err
				}
				if line == "\r\n" {
					return data, end + line, nil
				}
			}
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil || string(b[n:]) != "\r\n" {
			return data, "", fmt.Errorf("the chunk %q: %w", b, err)
		}
		data += string(b[:n])
	}
	return data, "", nil
}
