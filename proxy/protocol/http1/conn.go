package http1

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// conn is one client connection. Between requests it holds neither a buffer nor an exchange.
type conn struct {
	s     *Server
	tc    *transport.Conn
	shard uint32
	// up is the endpoint's connection in use, for kill alone.
	up   atomic.Pointer[transport.Conn]
	dead atomic.Bool
	// busy is true while a request or a tunnel is under way, from its first byte on.
	busy atomic.Bool
	// served is true after the first request.
	served bool
	// received and sent are what the connection had moved when its last outcome was told.
	received, sent int64
	// label is the connection's own in Forwarded, once it was needed.
	label randomLabel
}

// kill ends whatever the connection is doing. Any goroutine may call it.
func (c *conn) kill() {
	c.dead.Store(true)
	c.tc.Close()
	if up := c.up.Load(); up != nil {
		up.Close()
	}
}

// drainGrace is how long a connection may still bring one request while the server drains, which is answered with Connection: close. A
// client that asks just when its connection is closed cannot know whether the request was taken, and may not send every one again (RFC
// 9112 section 9.3.1); the first request of a connection many clients never send again.
const drainGrace = time.Second

// grace is drainGrace for a new connection. A kept one has a quarter to three quarters of it, so that not all clients come again at once.
func (c *conn) grace() int64 {
	if !c.served {
		return int64(drainGrace)
	}
	return int64(drainGrace/4) + rand.Int64N(int64(drainGrace/2)) //nolint:gosec // no secret
}

func (c *conn) serve() {
	defer c.tc.Close()
	for c.turn() {
	}
}

// turn waits for bytes and serves the requests among them. It reports whether the connection goes on.
func (c *conn) turn() bool {
	b, n, err := c.tc.ReadLazy(c.s.buffers, transport.Now()+int64(c.s.limits.Load().IdleTimeout), &c.s.draining)
	if errors.Is(err, transport.ErrStopped) {
		b, n, err = c.tc.ReadLazy(c.s.buffers, transport.Now()+c.grace(), nil)
	}
	if err != nil {
		return false // closed by the client, idle for too long, or draining: nothing was asked, so nothing is owed
	}
	c.served = true
	c.busy.Store(true)
	x := c.s.scratch.Get().(*exchange)
	x.begin(c, b, n)
	keep := true
	for keep && x.in.r < x.in.w {
		keep = x.request()
	}
	c.busy.Store(false) // before the linger, which has been answered
	if !keep && x.linger && !c.dead.Load() {
		x.lingerRead()
	}
	x.end()
	c.s.scratch.Put(x)
	return keep
}

// exchange is the working set of a connection that is not idle: one request at a time and its response.
type exchange struct {
	s      *Server
	c      *conn
	shard  uint32
	in, up stream
	req    Request
	resp   response
	target Target
	limits *Limits // those of the server when the request began
	edge   bool    // the server's clearContext when the request began
	// policy is that of the target, and silence its timeout, or the one of the limits.
	policy  *resilience.Policy
	silence time.Duration
	wall    wall
	// diagnoses says that the response gets a diagnosis below its body.
	diagnoses bool
	// repeats says that the classifier repeats a failed request of this method; class is what the last attempt came to.
	repeats bool
	class   classify.Class
	// forwards is how many proxies the request may pass, with this one; -1: any number.
	forwards int64
	// counted are what counts the request as under way: the server's admission, and the one it shares with others.
	counted [2]*Admission
	// out holds the bytes to be written; b is its slice in use and outlives it only if the head outgrew the buffer.
	out *transport.Buffer
	b   []byte

	reqBody, respBody body
	sent              sink // the request's body towards the endpoint
	// whole is true when b holds the entire request; held when its body waits for 100 Continue.
	whole, held bool
	held100At   int64
	wrote       int
	interims    int
	// led is the length of the l5d-dst-endpoint line that stands in front with the request line, of ledLine bytes, before it; 0: none
	// does. front is x.b with the room before it.
	led, ledLine int
	front        []byte

	// In x.b, the target's own header lines stand from ownAt to ownEnd, and the numbers of the deadline at deadlineAt, 0 where there is none.
	ownAt, ownEnd, deadlineAt int
	// keep is the announced length up to which a body is kept; requeued counts budgeted repetitions.
	keep     int64
	requeued int
	lastWait time.Duration
	// notes tell of endpoints that were tried; noted says that the last one is among them.
	notes []note
	noted bool

	node *balance.Node
	// next is picked already; pool is where the endpoint's connection goes back to; via is the hop that is waited for,
	// and word what it said of a failure.
	next      *balance.Node
	pool      *transport.Pool
	via       *transport.Via
	word      hopWord
	nodeStart int64
	tried     []*balance.Node
	attemptAt int64
	o         Outcome
	linger    bool

	// The goroutine that sends a body not wholly buffered.
	bodyFn      func()
	bodyDone    chan struct{}
	bodyStarted bool
	bodyRunning bool
	bodyOK      bool
	bodyStop    atomic.Bool
	bodyFailed  atomic.Bool // the client's side failed; bodyFail says how
	bodyFail    *Failure
	bodyBytes   int64
	bodyWaited  int64 // nanoseconds in which nothing of the request's body came
	tunnelFn    func()
	tunnelLast  atomic.Int64
}

func newExchange(s *Server) *exchange {
	x := &exchange{s: s, bodyDone: make(chan struct{}, 1)}
	x.req.fields = make([]field, 0, 24)
	x.resp.fields = make([]field, 0, 24)
	x.tried = make([]*balance.Node, 0, s.limits.Load().ConnectAttempts)
	x.bodyFn = x.runBody
	x.tunnelFn = x.tunnelUp
	return x
}

func (x *exchange) begin(c *conn, b *transport.Buffer, n int) {
	x.c, x.shard = c, c.shard
	x.in = stream{c: c.tc, b: b, w: n}
	x.linger = false
}

// end gives back all buffers and forgets everything that belongs to the connection.
func (x *exchange) end() {
	x.in.release(x.s.buffers, x.shard)
	x.in.c = nil
	x.putOut()
	x.req.reset()
	x.resp.reset()
	x.c, x.target, x.policy, x.node, x.pool, x.front = nil, nil, nil, nil, nil, nil
	x.sent = sink{}
	x.o = Outcome{}
	clear(x.tried[:cap(x.tried)])
	x.tried = x.tried[:0]
	clear(x.notes[:cap(x.notes)])
	x.notes = x.notes[:0]
	if cap(x.req.fields) > 256 {
		x.req.fields = make([]field, 0, 24)
	}
	if cap(x.resp.fields) > 256 {
		x.resp.fields = make([]field, 0, 24)
	}
}

// takeOut makes x.b an empty slice with room for n bytes.
func (x *exchange) takeOut(n int) {
	if x.out != nil && len(x.out.B) < n {
		x.putOut()
	}
	if x.out == nil {
		if n <= transport.SmallBuffer {
			x.out = x.s.buffers.Get(x.shard)
		} else {
			x.out = x.s.buffers.GetLarge(x.shard)
		}
	}
	x.b = x.out.B[:0]
}

func (x *exchange) putOut() {
	x.s.buffers.Put(x.shard, x.out)
	x.out, x.b = nil, nil
}

// request reads one head and answers it. It reports whether the connection may carry another.
func (x *exchange) request() bool {
	x.req.reset()
	x.limits = x.s.limits.Load()
	x.edge = x.s.clearContext.Load()
	x.target, x.policy, x.node = nil, nil, nil
	x.tried, x.notes = x.tried[:0], x.notes[:0]
	x.o = Outcome{}
	x.bodyWaited, x.lastWait, x.requeued, x.attemptAt = 0, 0, 0, 0
	x.wall = wall{}
	x.bodyStarted, x.bodyRunning, x.bodyOK, x.held, x.whole = false, false, false, false, false
	x.bodyFail, x.bodyBytes, x.interims, x.wrote, x.led = nil, 0, 0, 0, 0
	x.front, x.next, x.via, x.word, x.noted = nil, nil, nil, hopWord{}, false
	x.bodyStop.Store(false)
	x.bodyFailed.Store(false)
	x.req.client = x.c.tc.Remote()
	fail, silent := x.readHead()
	if silent {
		return false
	}
	x.o.StartNs = transport.Now()
	x.o.AttemptNs = x.o.StartNs
	x.s.observer.RequestStarted(x.shard)
	if fail != nil {
		x.refuse(fail, true)
		return x.finish(false)
	}
	if x.edge {
		x.req.clearContext()
	}
	if x.req.has(kDeadline) {
		x.req.readDeadline(x.o.StartNs)
	}
	x.reqBody.reset(x.req.framing, x.req.length, x.requestLimits())
	x.diagnoses = x.req.asksForContext()
	x.forwards, fail = x.req.takeForwards()
	if x.forwards == 0 {
		return x.finish(x.endsHere())
	}
	if fail == nil {
		fail = x.admitted()
	}
	if fail != nil {
		closing := x.req.close || !x.skipBody()
		return x.finish(x.refuse(fail, closing))
	}
	if status := x.target.Status(); status != 0 {
		return x.finish(x.answer(status))
	}
	return x.finish(x.forward())
}

func (x *exchange) requestLimits() headLimits {
	l := x.limits
	return headLimits{line: l.RequestLine, bytes: l.HeaderBytes, fields: l.Headers}
}

// readHead reads until the head is whole. silent means that the client left or sent nothing but empty lines: nobody awaits an answer.
func (x *exchange) readHead() (fail *Failure, silent bool) {
	deadline := int64(0)
	for {
		done, fail := x.req.parse(x.in.bytes(), x.requestLimits())
		if fail == errTooManyHeaders && 2*x.req.vias > x.limits.Headers {
			return errCallDepth, false // each proxy adds a line: a loop comes to this before it comes to a great CallDepth
		}
		if fail != nil {
			return fail, false
		}
		if done {
			x.in.r += x.req.pos
			return nil, false
		}
		if deadline == 0 {
			deadline = transport.Now() + int64(x.limits.HeaderTimeout)
		}
		err := x.in.fill(x.s.buffers, deadline, nil)
		switch {
		case err == nil:
		case errors.Is(err, transport.ErrTimeout) && x.req.pos < x.in.w-x.in.r:
			return errHeaderTimeout, false
		case errors.Is(err, errFull):
			return errHeaderTooLarge, false
		default:
			return nil, true
		}
	}
}

// admitted routes the request, if one more may be under way.
func (x *exchange) admitted() *Failure {
	if !x.enter() {
		return errOverload
	}
	return x.route()
}

func (x *exchange) route() *Failure {
	if x.req.vias > x.limits.CallDepth {
		return errCallDepth
	}
	r := x.s.router.Load()
	if r == nil {
		return errNoRouter
	}
	t, fail := (*r).Route(x.shard, &x.req)
	if fail != nil {
		return fail
	}
	if t == nil {
		return errNoRouter
	}
	x.target = t
	return nil
}

// skipBody uses up the request's body if all of it was read already.
func (x *exchange) skipBody() bool {
	if x.req.expect {
		return false // the client may still send it or not
	}
	for {
		_, n, ev, fail := x.reqBody.next(x.in.bytes())
		if fail != nil || ev == evMore {
			return false
		}
		x.in.r += n
		if ev == evEnd {
			return true
		}
	}
}

// finish reports the outcome once and passes keep on.
func (x *exchange) finish(keep bool) bool {
	x.o.EndNs = transport.Now()
	x.o.Node = x.node
	received, sent := x.c.tc.Moved()
	x.o.Received, x.o.Sent = received-x.c.received, sent-x.c.sent
	x.c.received, x.c.sent = received, sent
	if x.target != nil {
		x.target.Finish(x.shard, &x.o)
	}
	x.leave()
	x.s.observer.RequestFinished(x.shard, &x.o)
	return keep && !x.c.dead.Load()
}

// maySendMore reports whether the client may send what is not of this request: the next one, or bytes for a tunnel that did not come to be.
func (x *exchange) maySendMore() bool { return !x.req.close || x.req.connect }

// lingerRead reads and drops for a bounded time, so that the kernel does not answer unread input with RST, which would destroy the
// response on its way.
func (x *exchange) lingerRead() {
	if x.in.c.CloseWrite() != nil {
		return
	}
	until := transport.Now() + int64(x.limits.LingerTimeout)
	for left := x.limits.LingerBytes; left > 0; {
		x.in.r, x.in.w = 0, 0
		if x.in.fill(x.s.buffers, until, nil) != nil {
			return
		}
		left -= x.in.w
	}
}
