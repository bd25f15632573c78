package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/routing"
)

// Conn is a connection to a backend that carries one exchange at a time, without net/http. It is used by whoever got
// it until Release or Close, and its Close may be called concurrently with its other methods.
type Conn struct {
	net.Conn
	// TCP is the connection itself, or what carries its TLS.
	TCP *net.TCPConn
	// Secure says that there is TLS between.
	Secure bool
	// Reused says that the connection has carried an exchange before.
	Reused bool
	// ReadUntil is the deadline for reading that the user has set; it stays from exchange to exchange, so that deadlines
	// need not be moved by each.
	ReadUntil time.Time

	look   *Look
	ask    asking
	gather gathering
	gen    *generation
	ends   Ends      // whom it belongs to, if the backend was told; else zero
	since  time.Time // it is idle
	closed atomic.Bool
}

// Close closes the connection. It may be called more than once.
func (c *Conn) Close() error {
	if !c.closed.Swap(true) {
		c.gen.dialer.conns.Closed()
	}
	return c.Conn.Close()
}

// Plain is what carries the bytes: the TCP connection itself if there is no TLS.
func (c *Conn) Plain() net.Conn {
	if c.Secure {
		return c.Conn
	}
	return c.TCP
}

// Release gives the connection back for another exchange. All of the last response must have been read, nothing else
// may have come, and all of the request must have been written.
func (c *Conn) Release(now time.Time) {
	if !c.gen.idle.put(c, now) {
		c.Close()
	}
}

// KeepsFor takes the value of a response's Keep-Alive, which tells how long the backend keeps idle connections.
func (c *Conn) KeepsFor(value []byte) {
	keep := int64(keepAliveTimeout([]string{string(value)}))
	if c.gen.dialer.keepAlive.Load() != keep {
		c.gen.dialer.keepAlive.Store(keep)
	}
}

// Caller is who asks for a connection. It is asked only when one is to be made.
type Caller interface {
	// Gone is closed when nobody waits for the connection any more.
	Gone() <-chan struct{}
	// Deadline is when it must be there; zero for none.
	Deadline() time.Time
	// Ends are those of the client's connection.
	Ends() Ends
}

// Get returns a connection to the backend under the policy: the one that was used last, if it still stands and nothing
// has come through it, else a new one. If fresh, it is a new one in any case. Backends that are told whom a connection
// belongs to get none that belongs to another.
func (p *Pools) Get(ctx context.Context, s *backend.State, policy *routing.Policy, caller Caller, fresh bool) (*Conn, *Error) {
	pl := p.pool(s)
	g, err := pl.generation(policy)
	if err != nil {
		return nil, &Error{Kind: BadTLS, Err: err}
	}
	var ends Ends
	if g.settings.proxy != 0 {
		ends = caller.Ends()
	}
	for !fresh {
		c := g.idle.take(ends)
		if c == nil {
			break
		}
		if !keepAliveOver(time.Duration(g.dialer.keepAlive.Load()), time.Since(c.since)) && c.look.Quiet() {
			c.Reused = true
			return c, nil
		}
		c.Close()
	}
	return g.connect(ctx, caller, ends)
}

// connect makes a connection. It gives up when the caller has left.
func (g *generation) connect(ctx context.Context, caller Caller, ends Ends) (*Conn, *Error) {
	if g.crowded() {
		g.transport.CloseIdleConnections()
	}
	var cancel context.CancelFunc
	if t := caller.Deadline(); !t.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, t)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	defer cancel()
	gone, made, watched := caller.Gone(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-gone:
			cancel()
		case <-made:
		}
	}()
	nc, err := g.dialer.connect(ctx, "tcp", g.addr, ends, false)
	close(made)
	<-watched
	if err != nil {
		return nil, classify(err)
	}
	c := &Conn{Conn: nc, gen: g, ends: ends}
	if t, ok := nc.(*tls.Conn); ok {
		c.Secure = true
		nc = t.NetConn()
	}
	c.TCP = nc.(*net.TCPConn)
	c.look = NewLook(c.TCP)
	return c, nil
}

// address is the host and port of a backend's URL.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// idleList holds the idle connections of one generation, the one that was used last at the end.
type idleList struct {
	max     int
	timeout time.Duration
	keep    *atomic.Int64 // the dialer's

	// mu guards what follows. It is the backend's alone.
	mu     sync.Mutex
	closed bool
	conns  []*Conn
	timer  *time.Timer // runs while there are connections
}

// take returns the connection that was used last, of those that belong to that client's connection.
func (l *idleList) take(ends Ends) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.conns) - 1
	for n >= 0 && l.conns[n].ends != ends {
		n--
	}
	if n < 0 {
		return nil
	}
	c := l.conns[n]
	l.conns = slices.Delete(l.conns, n, n+1)
	return c
}

// limit is how long a connection may be idle: for less than the backend keeps it, if it says so.
func (l *idleList) limit() time.Duration {
	keep := time.Duration(l.keep.Load())
	if keep <= 0 {
		return l.timeout
	}
	return min(l.timeout, keep-min(keep/2, time.Second))
}

// put takes a connection up, and reports false if it is to be closed.
func (l *idleList) put(c *Conn, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= l.max {
		return false
	}
	c.since = now
	l.conns = append(l.conns, c)
	switch {
	case l.timer == nil:
		l.timer = time.AfterFunc(l.limit(), l.expire)
	case len(l.conns) == 1:
		l.timer.Reset(l.limit())
	}
	return true
}

// expire closes the connections that were idle for too long.
func (l *idleList) expire() {
	l.mu.Lock()
	now, limit, n := time.Now(), l.limit(), 0
	for n < len(l.conns) && now.Sub(l.conns[n].since) >= limit {
		n++
	}
	old := append([]*Conn(nil), l.conns[:n]...)
	l.conns = append(l.conns[:0], l.conns[n:]...)
	clear(l.conns[len(l.conns):cap(l.conns)])
	if len(l.conns) > 0 {
		l.timer.Reset(limit - now.Sub(l.conns[0].since))
	}
	l.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// close closes the idle connections, and if for good, those too that are given back later.
func (l *idleList) close(forGood bool) {
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.closed = l.closed || forGood
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
