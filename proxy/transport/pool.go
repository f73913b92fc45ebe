package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// PoolOptions of Pools. Zero values mean defaults.
type PoolOptions struct {
	// IdleTimeout closes connections unused for so long. The default of 4 s is below the 5 s after which Node.js, Apache httpd and
	// uvicorn close theirs, so that the endpoint is seldom first.
	IdleTimeout time.Duration
	// MaxIdle is the greatest number of idle connections over all pools, kept as an equal part for each shard; 4096 by default. Beyond it
	// a returned connection is closed.
	MaxIdle int
	// MaxAge closes connections that are returned when older; 0 means no limit.
	MaxAge time.Duration
}

// Pools makes the pools of endpoints and closes what stays idle in them. One goroutine does that, until Close.
type Pools struct {
	dialer *Dialer
	opts   PoolOptions
	shards [poolShards]poolsShard

	mu     sync.Mutex
	all    map[*Pool]struct{}
	closed bool
	stop   chan struct{}
	done   chan struct{}

	// Stale counts connections found dead when they were to be reused, Expired those closed for their idle time or age, Overflow those
	// closed because MaxIdle was reached or descriptors are short.
	Stale, Expired, Overflow atomic.Uint64
}

// poolsShard is what every request writes: a cache line for each shard.
type poolsShard struct {
	idle   atomic.Int64
	reused atomic.Uint64
	_      [48]byte
}

// NewPools starts the sweeper. The caller owes one Close.
func NewPools(d *Dialer, o PoolOptions) *Pools {
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 4 * time.Second
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 4096
	}
	p := &Pools{dialer: d, opts: o, all: map[*Pool]struct{}{}, stop: make(chan struct{}), done: make(chan struct{})}
	d.opts.Descriptors.join(p)
	go p.sweepLoop()
	return p
}

// Dialer returns the dialer of all pools.
func (p *Pools) Dialer() *Dialer { return p.dialer }

// Idle returns the number of idle connections.
func (p *Pools) Idle() (n int64) {
	for i := range p.shards {
		n += p.shards[i].idle.Load()
	}
	return n
}

// Reused returns how many connections were taken from a pool, those that Discard got too.
func (p *Pools) Reused() (n uint64) {
	for i := range p.shards {
		n += p.shards[i].reused.Load()
	}
	return n
}

// New returns a pool for one endpoint. The caller owes one Close.
func (p *Pools) New(addr netip.AddrPort) *Pool {
	pool := &Pool{owner: p, addr: addr}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		pool.closed.Store(true)
		return pool
	}
	p.all[pool] = struct{}{}
	return pool
}

// makeRoom closes an idle connection, and reports whether there was one.
func (p *Pools) makeRoom() bool {
	if p.Idle() <= 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for pool := range p.all {
		for i := range pool.shards {
			if pool.shards[i].count.Load() == 0 {
				continue
			}
			if c := pool.shards[i].pop(); c != nil {
				p.shards[i].idle.Add(-1)
				p.Overflow.Add(1)
				c.Close()
				return true
			}
		}
	}
	return false
}

// Close closes every pool and waits for the sweeper.
func (p *Pools) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.done
		return
	}
	p.closed = true
	pools := make([]*Pool, 0, len(p.all))
	for pool := range p.all {
		pools = append(pools, pool)
	}
	close(p.stop)
	p.mu.Unlock()
	for _, pool := range pools {
		pool.Close()
	}
	p.dialer.opts.Descriptors.leave(p)
	<-p.done
}

func (p *Pools) sweepLoop() {
	defer close(p.done)
	t := time.NewTicker(max(p.opts.IdleTimeout/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
		}
		p.mu.Lock()
		pools := make([]*Pool, 0, len(p.all))
		for pool := range p.all {
			pools = append(pools, pool)
		}
		p.mu.Unlock()
		for _, pool := range pools {
			pool.sweep(Now())
		}
	}
}

const poolShards = 4

// Pool keeps the idle connections of one endpoint, newest first, in a few shards that steal from each other.
type Pool struct {
	owner  *Pools
	addr   netip.AddrPort
	closed atomic.Bool
	shards [poolShards]poolShard
}

type poolShard struct {
	mu    sync.Mutex
	idle  []*Conn
	count atomic.Int32
	_     [24]byte
}

// Addr returns the address the pool dials.
func (p *Pool) Addr() netip.AddrPort { return p.addr }

// Get returns an idle connection, or nil. Before it is used, the kernel must be asked whether the peer closed it or sent anything, which
// Ask and Quiet do; if so, it goes to Discard.
func (p *Pool) Get(shard uint32) *Conn {
	now := Now()
	for i := range uint32(poolShards) {
		at := (shard + i) % poolShards
		s := &p.shards[at]
		for s.count.Load() > 0 {
			c := s.pop()
			if c == nil {
				break
			}
			p.owner.shards[at].idle.Add(-1)
			if now-c.idleSince > int64(p.owner.opts.IdleTimeout) {
				p.owner.Expired.Add(1)
				c.Close()
				continue
			}
			c.reused = true
			c.shard = shard
			p.owner.shards[at].reused.Add(1)
			return c
		}
	}
	return nil
}

// Dial opens a new connection to the endpoint. Where descriptors are short an idle one of another endpoint makes room; where there is none,
// it waits for as long as a connect may take, in line with others, and then fails with ErrDescriptors. What it is given in line is a
// connection out of use, as from Get.
func (p *Pool) Dial(ctx context.Context, shard uint32, limit time.Duration) (*Conn, error) {
	if p.owner.dialer.opts.Descriptors.waiting.Load() == 0 {
		c, err := p.dial(ctx, shard, limit)
		if !errors.Is(err, ErrDescriptors) {
			return c, err
		}
	}
	return p.dialInLine(ctx, shard, limit)
}

func (p *Pool) dial(ctx context.Context, shard uint32, limit time.Duration) (*Conn, error) {
	d := p.owner.dialer
	c, err := d.Dial(ctx, shard, p.addr, limit)
	if errors.Is(err, ErrDescriptors) && d.opts.Descriptors.makeRoom() {
		c, err = d.Dial(ctx, shard, p.addr, limit)
	}
	return c, err
}

// dialInLine is Dial where descriptors are short.
func (p *Pool) dialInLine(ctx context.Context, shard uint32, limit time.Duration) (*Conn, error) {
	d := p.owner.dialer
	t := d.opts.Timeout
	if limit > 0 {
		t = min(t, limit)
	}
	w := &waiter{pool: p, since: Now(), turn: make(chan *Conn, 1)}
	for {
		if c := d.opts.Descriptors.await(ctx, w, w.since+int64(t)); c != nil {
			c.reused, c.shard = true, shard
			p.owner.shards[shard%poolShards].reused.Add(1)
			return c, nil
		}
		waited := time.Duration(Now() - w.since)
		if waited >= t || ctx.Err() != nil {
			return nil, fmt.Errorf("connect to %s: %w (waited %v for one)", p.addr, ErrDescriptors, t.Round(time.Millisecond))
		}
		left := limit
		if limit > 0 {
			left = limit - waited
		}
		if c, err := p.dial(ctx, shard, left); !errors.Is(err, ErrDescriptors) {
			return c, err
		}
	}
}

// Discard closes a connection from Get that turned out not to be idle, and counts it.
func (p *Pool) Discard(c *Conn) {
	p.owner.Stale.Add(1)
	c.Close()
}

// Put takes back a connection on which the last response ended cleanly and no byte is left to read. It may close it.
func (p *Pool) Put(shard uint32, c *Conn) {
	now := Now()
	if age := p.owner.opts.MaxAge; age > 0 && now-c.born > int64(age) {
		p.owner.Expired.Add(1)
		c.Close()
		return
	}
	if descriptors := p.owner.dialer.opts.Descriptors; descriptors.waiting.Load() > 0 {
		if !descriptors.handOver(p, c) {
			c.Close() // which lets the first in line try
		}
		return
	}
	idle := &p.owner.shards[shard%poolShards].idle
	if idle.Add(1) > int64(p.owner.opts.MaxIdle+poolShards-1)/poolShards {
		idle.Add(-1)
		p.owner.Overflow.Add(1)
		c.Close()
		return
	}
	c.idleSince = now
	s := &p.shards[shard%poolShards]
	s.mu.Lock()
	if p.closed.Load() { // looked at under the lock that Close takes after setting it
		s.mu.Unlock()
		idle.Add(-1)
		c.Close()
		return
	}
	s.idle = append(s.idle, c)
	s.count.Store(int32(len(s.idle)))
	s.mu.Unlock()
}

// Close closes the idle connections; those in use close when they are returned.
func (p *Pool) Close() {
	if p.closed.Swap(true) {
		return
	}
	p.owner.mu.Lock()
	delete(p.owner.all, p)
	p.owner.mu.Unlock()
	for i := range p.shards {
		for c := p.shards[i].pop(); c != nil; c = p.shards[i].pop() {
			p.owner.shards[i].idle.Add(-1)
			c.Close()
		}
	}
}

func (p *Pool) sweep(now int64) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		n := 0
		for n < len(s.idle) && now-s.idle[n].idleSince > int64(p.owner.opts.IdleTimeout) {
			n++ // oldest first: a stack grows at its end
		}
		expired := append([]*Conn(nil), s.idle[:n]...)
		kept := copy(s.idle, s.idle[n:])
		clear(s.idle[kept:])
		s.idle = s.idle[:kept]
		s.count.Store(int32(kept))
		s.mu.Unlock()
		for _, c := range expired {
			p.owner.shards[i].idle.Add(-1)
			p.owner.Expired.Add(1)
			c.Close()
		}
	}
}

func (s *poolShard) pop() *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	c := s.idle[n-1]
	s.idle[n-1] = nil
	s.idle = s.idle[:n-1]
	s.count.Store(int32(n - 1))
	return c
}
