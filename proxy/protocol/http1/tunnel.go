package http1

import (
	"errors"
	"io"

	"github.com/fairlead/fairlead/proxy/transport"
)

// tunnel passes bytes both ways after a 101, or the success of a CONNECT, first those that were read with the heads. The end of one side is passed on as the end
// of that direction alone; an error, or silence both ways, ends both.
func (x *exchange) tunnel() {
	x.o.Tunnel = true
	x.takeOut(x.resp.pos + 4<<10)
	x.b = x.resp.appendInterim(x.b, x.s.via[x.resp.minor])
	if _, err := x.c.tc.Write(x.b, x.limits.StallTimeout, nil); err != nil {
		x.o.Reason = clientFailure(err).Reason
		x.dropUpstream()
		x.nodeDone(x.o.HeadNs, x.o.Class)
		return
	}
	x.bodyStop.Store(false)
	x.tunnelLast.Store(transport.Now())
	go x.tunnelFn()
	x.o.ResponseBytes = x.pipe(&x.up, x.in.c)
	<-x.bodyDone
	x.o.RequestBytes = x.bodyBytes
	x.dropUpstream()
	x.nodeDone(x.o.HeadNs, x.o.Class)
}

// tunnelUp is the goroutine from client to endpoint; tunnel waits for it.
func (x *exchange) tunnelUp() {
	x.bodyBytes = x.pipe(&x.in, x.up.c)
	x.bodyDone <- struct{}{}
}

// pipe copies until from ends, and returns how many bytes to took.
func (x *exchange) pipe(from *stream, to *transport.Conn) (n int64) {
	idle := int64(x.limits.TunnelIdleTimeout)
	for {
		if p := from.bytes(); len(p) > 0 {
			m, err := to.Write(p, x.limits.StallTimeout, nil)
			n += int64(m)
			if err != nil {
				break
			}
			from.r = from.w
			x.tunnelLast.Store(transport.Now())
		}
		err := from.fill(x.s.buffers, x.tunnelLast.Load()+idle, nil)
		if err == nil || errors.Is(err, transport.ErrTimeout) && transport.Now() < x.tunnelLast.Load()+idle {
			continue
		}
		if errors.Is(err, io.EOF) && to.CloseWrite() == nil {
			return n
		}
		break
	}
	x.in.c.Close()
	x.up.c.Close()
	return n
}
