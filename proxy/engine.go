package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
)

// EngineOptions configure an [Engine]. The zero value works.
type EngineOptions struct {
	// HeadTimeout bounds the reading of a request's head, from a new connection's beginning too, and TLS handshakes; 0
	// means 10 s. It is kept to within a second or so.
	HeadTimeout time.Duration
	// IdleTimeout bounds the wait for another request; 0 means 3 min.
	IdleTimeout time.Duration
	// HeadBytes bounds a request's head; 0 means 64 KiB.
	HeadBytes int
	// HeadFields bounds the fields of a head; 0 means 256.
	HeadFields int
	// Requests bounds those on one connection; 0 for any number.
	Requests int
	// Greet, if not nil, is called first on each connection, by the connection's goroutine and within HeadTimeout; what it
	// reads is not the engine's. An error has the connection closed without a word. The client's address is what the
	// connection says afterwards.
	Greet func(net.Conn) error
	// TLS makes the engine speak TLS; nil for clear text.
	TLS *tls.Config
	// HTTP2 takes a connection over whose handshake is done and chose h2. It is closed if nil.
	HTTP2 func(*tls.Conn)
	// Local gives the handler of requests that are answered here, nil for those that are proxied. The path is decoded.
	// What handlers write is gathered before it is sent. Nil means that all are proxied.
	Local func(method, path string) http.Handler
}

// Engine is the door for HTTP/1.x: it serves clients' connections, one goroutine each. Its methods may be called
// concurrently.
type Engine struct {
	p      *Proxy
	opts   EngineOptions
	limits http1.Limits

	date atomic.Pointer[dateField]

	// closing says that connections end after the exchange under way; cut that they end now.
	closing, cut atomic.Bool
	// work is the context of connecting to backends; stop ends it.
	work context.Context
	stop context.CancelFunc

	// mu guards what follows.
	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*link]struct{} // those that shutdown waits for: tunnels are not among them
	empty     chan struct{}      // if not nil, closed when there are no conns
}

// NewEngine returns an engine for the proxy's exchanges. It is ended by [Engine.Shutdown] or [Engine.Close].
func NewEngine(p *Proxy, o EngineOptions) *Engine {
	if o.HeadTimeout <= 0 {
		o.HeadTimeout = 10 * time.Second
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 3 * time.Minute
	}
	if o.HeadBytes <= 0 {
		o.HeadBytes = 64 << 10
	}
	e := &Engine{p: p, opts: o, conns: make(map[*link]struct{}), listeners: make(map[net.Listener]struct{})}
	e.limits = http1.Limits{Head: o.HeadBytes, Line: o.HeadBytes, Fields: o.HeadFields}
	e.work, e.stop = context.WithCancel(context.Background())
	return e
}

// Serve accepts connections until the engine is shut down or closed, and returns [http.ErrServerClosed] then. They must
// be *net.TCPConn or have a method TCP that gives one. The listener is closed in any case.
func (e *Engine) Serve(ln net.Listener) error {
	defer ln.Close()
	e.mu.Lock()
	if e.closing.Load() {
		e.mu.Unlock()
		return http.ErrServerClosed
	}
	e.listeners[ln] = struct{}{}
	e.mu.Unlock()
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			e.accept(nc)
			continue
		}
		if e.closing.Load() {
			return http.ErrServerClosed
		}
		var ne net.Error
		if !errors.As(err, &ne) || errors.Is(err, net.ErrClosed) {
			return err
		}
		// No descriptors, or a client that left already: others may come.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-e.work.Done():
		}
	}
}

// accept begins to serve a connection.
func (e *Engine) accept(nc net.Conn) {
	c := newLink(e, nc)
	if c == nil {
		nc.Close()
		return
	}
	e.mu.Lock()
	if e.closing.Load() {
		e.mu.Unlock()
		nc.Close()
		return
	}
	e.conns[c] = struct{}{}
	e.mu.Unlock()
	go c.begin()
}

// forget no longer waits for a connection, which has ended or become a tunnel.
func (e *Engine) forget(c *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
	if len(e.conns) == 0 && e.empty != nil {
		close(e.empty)
		e.empty = nil
	}
}

// Shutdown stops accepting, ends idle connections, and waits for exchanges under way, whose connections end after them.
// When the context ends before, those that are left are cut and the error says how many. Tunnels are not waited for: see
// [Proxy.Close].
func (e *Engine) Shutdown(ctx context.Context) error {
	empty := e.quiesce()
	if empty == nil {
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	left := len(e.conns)
	e.mu.Unlock()
	e.Close()
	if left == 0 {
		return nil
	}
	return fmt.Errorf("cut %d connections whose exchange had not ended: %w", left, ctx.Err())
}

// quiesce stops accepting and wakes the idle connections. It returns a channel that is closed when no connection is
// left, nil if there is none.
func (e *Engine) quiesce() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closing.Store(true)
	for ln := range e.listeners {
		ln.Close()
	}
	for c := range e.conns {
		c.wake()
	}
	if len(e.conns) == 0 {
		return nil
	}
	if e.empty == nil {
		e.empty = make(chan struct{})
	}
	return e.empty
}

// Close ends the engine and its connections now, and returns when they have ended; tunnels stay.
func (e *Engine) Close() {
	e.cut.Store(true)
	e.stop()
	empty := e.quiesce()
	e.mu.Lock()
	for c := range e.conns {
		c.cut()
	}
	e.mu.Unlock()
	if empty != nil {
		<-empty
	}
}
