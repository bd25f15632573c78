package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
)

// conn is a connection that tells when it is closed, and whether anything was written for the attempt it was lent to.
type conn struct {
	*net.TCPConn
	keepAlive *atomic.Int64 // how long the backend says that it keeps idle connections, in nanoseconds; 0 if it does not
	onClose   atomic.Pointer[func()]
	use       atomic.Int32
	conns     *backend.Conns // nil until it counts; set before others than its dialer know it
	closing   sync.Once
}

// What became of the attempt that a connection was lent to.
const (
	lent  int32 = iota + 1 // nothing was written yet
	stale                  // nothing is written, since the backend has closed the connection, or is about to
	sent
)

var errStale = errors.New("the idle connection was closed")

// Write writes, unless the connection was found to be stale when it was lent.
func (c *conn) Write(p []byte) (int, error) {
	use := c.use.Load()
	if use == stale {
		return 0, errStale
	}
	n, err := c.TCPConn.Write(p)
	if use == lent {
		if n == 0 && err != nil {
			c.use.Store(stale)
		} else {
			c.use.Store(sent)
		}
	}
	return n, err
}

// Close closes the connection, and tells so once.
func (c *conn) Close() error {
	err := c.TCPConn.Close()
	if c.conns != nil { // else a handshake has failed
		c.closing.Do(c.conns.Closed)
	}
	if f := c.onClose.Swap(nil); f != nil {
		(*f)()
	}
	return err
}

// expired reports whether the backend closes the connection about now, after that idle time: what is sent in that moment
// is lost. "Keep-Alive: timeout=5" leaves 4 s.
func (c *conn) expired(idle time.Duration) bool {
	return keepAliveOver(time.Duration(c.keepAlive.Load()), idle)
}

// keepAliveOver is expired for a backend that keeps idle connections that long.
func keepAliveOver(keep, idle time.Duration) bool {
	return keep > 0 && idle > keep-min(keep/2, time.Second)
}

// Lend is called by [httptrace.ClientTrace.GotConn] for attempts that the transport does not send again by itself. A
// pooled connection that the backend has closed takes nothing from then on, so that [Unsent] proves that the request can
// go out again; looking costs a system call.
//
// The function is called when this side closes the connection, instead of what was given before. A transport that gives
// up a request closes its connection, but does not return before the request's body lets go of its reader; the function
// can see to that. For connections that are not of [Pools] Lend does nothing.
func Lend(info httptrace.GotConnInfo, onClose func()) {
	c := own(info.Conn)
	if c == nil {
		return
	}
	c.onClose.Store(&onClose)
	if info.Reused && (info.WasIdle && c.expired(info.IdleTime) || c.readable()) {
		c.use.Store(stale)
	} else {
		c.use.Store(lent)
	}
}

// Unsent reports whether nothing was written on a connection since it was lent. It is asked when the attempt has failed.
func Unsent(nc net.Conn) bool {
	c := own(nc)
	return c != nil && c.use.Load() != sent
}

// own is the connection of [Pools] that lies under another, nil if there is none.
func own(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}
