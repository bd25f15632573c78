package proxy

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
)

// engineConn is what exchanges work in, and their door: it is lent to a connection for as long as there is something of a
// request, so that even of connections that are in use few have one. It is used by the connection's goroutine, and the part
// of an upload by the upload while there is one.
type engineConn struct {
	*link

	// in and out have a buffer, but see slim, and but for those of a connection that became a tunnel.
	in   http1.Reader
	out  http1.Writer
	req  http1.Request
	body http1.Body

	x exchange
	// lastTarget, lastPath and lastHost are those of the last request: many are for the same.
	lastTarget, lastPath, lastHost string

	// keep says that another request can follow.
	keep bool
	doorState
}

var engineConns = sync.Pool{New: func() any {
	c := new(engineConn)
	c.leg = &c.own
	return c
}}

// use returns what the connection's exchanges work in, and borrows it if need be.
func (l *link) use() *engineConn {
	if l.lent != nil {
		return l.lent
	}
	c := engineConns.Get().(*engineConn)
	c.link, l.lent = l, c
	c.absence.look = l.look
	if c.out.Progress == nil {
		c.out.Progress = c.progressed
	}
	c.in.Reset(l.stream(), sized(c.in.Detach(), smallBuffer, getSmall))
	c.out.Reset(l.stream(), sized(c.out.Detach(), largeBuffer, getLarge))
	return c
}

// sized is a buffer that was kept, or another one if it is not of that size any more.
func sized(b []byte, size int, get func() []byte) []byte {
	if cap(b) == size {
		return b
	}
	return get()
}

// slim gives the buffers away that a head does not need which comes slowly.
func (c *engineConn) slim() {
	c.letGoBack()
	putBuffer(c.out.Detach())
}

// holdOut undoes slim as far as need be.
func (c *engineConn) holdOut() {
	if c.out.Buf == nil {
		c.out.Attach(getLarge())
	}
}

// giveBack gives back what was borrowed. Nothing is under way, and nothing that was read matters any more.
func (l *link) giveBack() {
	c := l.lent
	c.in.Discard(len(c.in.Buffered()))
	c.keep, c.lingers, c.abort, c.tunneled, c.written = false, false, false, false, 0
	c.link, l.lent = nil, nil
	engineConns.Put(c)
}

func isTimeout(err error) bool {
	var t net.Error
	return err != nil && errors.As(err, &t) && t.Timeout()
}

// earlier is the earlier of two times, of which the second may be zero for none.
func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Bounds of reading what a client still sends when its connection is about to be closed.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// leave closes the connection so that the client gets what was sent to it: if bytes of it were not read, closing at
// once would have the system throw away what is on its way.
func (c *engineConn) leave() {
	if c.abort {
		return
	}
	if len(c.in.Buffered()) == 0 && !c.lingers && !c.look.Readable() || c.e.cut.Load() {
		if c.tls != nil {
			c.tls.Close()
		}
		return
	}
	if c.tls != nil {
		c.tls.CloseWrite()
	}
	if c.tcp.CloseWrite() != nil {
		return
	}
	c.tcp.SetReadDeadline(time.Now().Add(lingerTime))
	buf := getSmall()
	defer putBuffer(buf)
	for n := 0; n < lingerBytes; {
		m, err := c.tcp.Read(buf)
		if n += m; err != nil {
			return
		}
	}
}
