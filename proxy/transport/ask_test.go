package transport

import (
	"errors"
	"io"
	"testing"
	"time"
)

// TestAskSpokenOn asks on connections from the pool that are not idle: nothing may be written, and what came answers nobody.
func TestAskSpokenOn(t *testing.T) {
	t.Parallel()
	p, pool, dial := pooled(t, PoolOptions{})
	buffers := NewBuffers()
	for name, spoil := range map[string]func(peer *Conn){
		"closed": func(peer *Conn) { _ = peer.CloseWrite() },
		"reset":  func(peer *Conn) { peer.Reset() },
		"spoke":  func(peer *Conn) { _, _ = peer.Write([]byte("HTTP/1.1 408\r\n\r\n"), 0, nil) },
	} {
		before := p.Stale.Load()
		c, peer := dial()
		spoil(peer)
		eventually(t, "the peer's sign arrives", func() bool { return !c.Quiet() })
		pool.Put(0, c)
		if got := pool.Get(0); got != c {
			t.Fatalf("%s: got %v", name, got)
		}
		_, _, wrote, err := c.Ask(buffers, []byte("GET"), 0, Now()+int64(limit), nil)
		if !errors.Is(err, ErrSpoke) || wrote != 0 || buffers.Outstanding() != 0 {
			t.Errorf("%s: wrote %d, got %v with %d buffers out", name, wrote, err, buffers.Outstanding())
		}
		pool.Discard(c)
		if p.Stale.Load() != before+1 {
			t.Errorf("%s: stale %d", name, p.Stale.Load())
		}
		if name != "reset" {
			if n, err := peer.Read(make([]byte, 1), Now()+int64(limit), nil); n != 0 {
				t.Errorf("%s: the peer read %d bytes, %v", name, n, err)
			}
		}
	}
}

// TestAskWaits asks past limits of earlier calls, past its own, and of a peer that has answered before it was asked for.
func TestAskWaits(t *testing.T) {
	t.Parallel()
	_, pool, dial := pooled(t, PoolOptions{})
	buffers := NewBuffers()
	ms := int64(time.Millisecond)
	c, peer := dial()
	pool.Put(0, c)
	c = pool.Get(0)
	if _, err := c.Read(make([]byte, 1), Now()+ms, nil); !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	// The limit that has passed above is armed still.
	if _, _, wrote, err := c.Ask(buffers, []byte("one"), 0, Now()+20*ms, nil); !errors.Is(err, ErrTimeout) || wrote != 3 || buffers.Outstanding() != 0 {
		t.Fatalf("wrote %d, got %v with %d buffers out", wrote, err, buffers.Outstanding())
	}
	heard := make([]byte, 10)
	if n, err := peer.Read(heard, Now()+int64(limit), nil); string(heard[:n]) != "one" {
		t.Fatalf("the peer read %q, %v", heard[:n], err)
	}
	answered := make(chan error, 1)
	go func() {
		n, err := peer.Read(heard, Now()+int64(limit), nil)
		if err == nil {
			_, err = peer.Write(append(heard[:n:n], '!'), 0, nil)
		}
		answered <- err
	}()
	b, n, wrote, err := c.Ask(buffers, []byte("two"), 0, Now()+int64(limit), nil)
	if err != nil || wrote != 3 || string(b.B[:n]) != "two!" {
		t.Fatalf("wrote %d, got %d bytes, %v", wrote, n, err)
	}
	buffers.Put(0, b)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	c.Close()
	if _, _, _, err := c.Ask(buffers, []byte("x"), 0, 0, nil); err == nil || buffers.Outstanding() != 0 {
		t.Errorf("on a closed connection: %v with %d buffers out", err, buffers.Outstanding())
	}
}

// TestAskLong writes more than the kernel takes at once, to a peer that reads it and to one that does not.
func TestAskLong(t *testing.T) {
	t.Parallel()
	_, _, dial := pooled(t, PoolOptions{})
	buffers := NewBuffers()
	long := make([]byte, 64<<20)
	c, peer := dial()
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		left := len(long)
		b := make([]byte, 1<<20)
		for left > 0 {
			n, err := peer.Read(b, Now()+int64(limit), nil)
			if err != nil {
				done <- err
				return
			}
			left -= n
		}
		_, err := peer.Write([]byte("all"), 0, nil)
		done <- err
	}()
	b, n, wrote, err := c.Ask(buffers, long, limit, Now()+int64(limit), nil)
	if err != nil || wrote != len(long) || string(b.B[:n]) != "all" {
		t.Fatalf("wrote %d, got %d bytes, %v", wrote, n, err)
	}
	buffers.Put(0, b)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, wrote, err := c.Ask(buffers, long, 20*time.Millisecond, Now()+int64(limit), nil); !errors.Is(err, ErrTimeout) || wrote == 0 || wrote == len(long) {
		t.Errorf("stalled: wrote %d, got %v", wrote, err)
	}
	// What a peer said before it stopped listening is not lost.
	c, peer = dial()
	defer c.Close()
	_, _ = peer.Write([]byte("no"), 0, nil)
	eventually(t, "the answer arrives", func() bool { return !c.Quiet() })
	b, n, _, err = c.Ask(buffers, []byte("x"), 0, Now()+int64(limit), nil)
	if err != nil && !errors.Is(err, io.EOF) || n != 2 {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	buffers.Put(0, b)
}

// A peer may speak as soon as it has accepted, such as to say that it is too busy. What the poller told of before Ask is not told again.
func TestAskOfAPeerThatSpokeFirst(t *testing.T) {
	t.Parallel()
	_, _, dial := pooled(t, PoolOptions{})
	buffers := NewBuffers()
	c, peer := dial()
	defer c.Close()
	_, _ = peer.Write([]byte("503"), 0, nil)
	eventually(t, "the answer arrives", func() bool { return !c.Quiet() })
	// The poller tells in the order of what happened: after a round trip elsewhere it has told of the answer too.
	other, otherPeer := dial()
	defer other.Close()
	go func() { _, _ = otherPeer.Write([]byte("x"), 0, nil) }()
	if _, err := other.Read(make([]byte, 1), Now()+int64(limit), nil); err != nil {
		t.Fatal(err)
	}
	b, n, _, err := c.Ask(buffers, []byte("x"), 0, Now()+int64(time.Second), nil)
	if err != nil || n != 3 {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	buffers.Put(0, b)
}
