package http1

import (
	"bytes"
	"errors"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/transport"
)

// errFull means that a head or a trailer line does not fit the largest buffer, which its limit should have said before.
var errFull = errors.New("buffer is full")

// stream reads a connection through one pooled buffer: the bytes [r, w) are read and not yet used.
type stream struct {
	c    *transport.Conn
	b    *transport.Buffer
	r, w int
}

func (s *stream) bytes() []byte {
	if s.b == nil {
		return nil
	}
	return s.b.B[s.r:s.w]
}

// fill reads more. It moves unused bytes to the front when the end is reached, and into a large buffer when they fill a small one.
func (s *stream) fill(pool *transport.Buffers, want int64, stop *atomic.Bool) error {
	if s.b == nil {
		b, n, err := s.c.ReadLazy(pool, want, stop)
		if err != nil {
			return err
		}
		s.b, s.r, s.w = b, 0, n
		return nil
	}
	switch {
	case s.r == s.w:
		s.r, s.w = 0, 0
	case s.w == len(s.b.B) && s.r > 0:
		s.w = copy(s.b.B, s.b.B[s.r:s.w])
		s.r = 0
	case s.w == len(s.b.B) && s.w >= transport.LargeBuffer:
		return errFull
	case s.w == len(s.b.B):
		s.enlarge(pool)
	}
	n, err := s.c.Read(s.b.B[s.w:], want, stop)
	s.w += n
	return err
}

// ask writes a whole request and waits for the beginning of the response, as transport.Conn.Ask.
func (s *stream) ask(pool *transport.Buffers, p []byte, stall time.Duration, want int64, stop *atomic.Bool) (wrote int, err error) {
	b, n, wrote, err := s.c.Ask(pool, p, stall, want, stop)
	if err == nil {
		s.b, s.r, s.w = b, 0, n
	}
	return wrote, err
}

// enlarge moves to a large buffer.
func (s *stream) enlarge(pool *transport.Buffers) {
	if len(s.b.B) >= transport.LargeBuffer {
		return
	}
	l := pool.GetLarge(s.c.Shard())
	s.w = copy(l.B, s.b.B[s.r:s.w])
	s.r = 0
	pool.Put(s.c.Shard(), s.b)
	s.b = l
}

func (s *stream) release(pool *transport.Buffers, shard uint32) {
	pool.Put(shard, s.b)
	s.b, s.r, s.w = nil, 0, 0
}

// sink writes a message: what is small is gathered in b, what is large goes out as it is.
type sink struct {
	c       *transport.Conn
	b       []byte
	chunked bool
	ended   bool // the last chunk's size line was written
	stall   time.Duration
	until   int64 // when all must be written, or 0
	stop    *atomic.Bool
	body    int64
	mark    string // the name of a header that the proxy writes, so that no trailer may have it, or ""
}

func (k *sink) flush() error {
	if len(k.b) == 0 {
		return nil
	}
	_, err := k.c.Write(k.b, k.patience(), k.stop)
	k.b = k.b[:0]
	return err
}

func (k *sink) room() int { return cap(k.b) - len(k.b) }

func (k *sink) data(p []byte) error {
	k.body += int64(len(p))
	if !k.chunked {
		return k.raw(p)
	}
	for len(p) > 0 {
		if k.room() < chunkRoom+min(len(p), 512) {
			if err := k.flush(); err != nil {
				return err
			}
		}
		n := min(len(p), k.room()-chunkRoom)
		k.b = appendChunk(k.b, p[:n])
		p = p[n:]
	}
	return nil
}

func (k *sink) raw(p []byte) error {
	if len(k.b) > 0 || len(p) <= 4<<10 {
		n := min(len(p), k.room())
		k.b = append(k.b, p[:n]...)
		p = p[n:]
		if len(p) == 0 {
			return nil
		}
		if err := k.flush(); err != nil {
			return err
		}
	}
	_, err := k.c.Write(p, k.patience(), k.stop)
	return err
}

// patience is how long the other side may take nothing.
func (k *sink) patience() time.Duration {
	if k.until == 0 {
		return k.stall
	}
	return min(k.stall, max(time.Duration(k.until-transport.Now()), 1))
}

func (k *sink) trailer(line []byte) error {
	if !k.chunked || !trailerAllowed(line) || k.mark != "" && equalFold(line[:bytes.IndexByte(line, ':')], k.mark) {
		return nil
	}
	if k.room() < len(line)+16 {
		if err := k.flush(); err != nil {
			return err
		}
	}
	k.lastChunk()
	k.b = append(k.b, line...)
	k.b = append(k.b, "\r\n"...)
	return nil
}

func (k *sink) lastChunk() {
	if !k.ended {
		k.ended = true
		k.b = append(k.b, "0\r\n"...)
	}
}

// end writes what closes the body; it stays in b until flush.
func (k *sink) end() error {
	if !k.chunked {
		return nil
	}
	if k.room() < 8 {
		if err := k.flush(); err != nil {
			return err
		}
	}
	k.lastChunk()
	k.b = append(k.b, "\r\n"...)
	return nil
}
