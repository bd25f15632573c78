package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vietddude/load-balancer/proxy"
	"github.com/vietddude/load-balancer/tlsload"
)

// door is one listener and what serves its connections: net/http alone, or the engine, which hands HTTP/2 over to it.
type door struct {
	name   string // as configured, for errors and logs
	listen net.Listener
	http   *http.Server   // nil if the engine serves clear text
	engine *proxy.Engine  // nil if net/http serves everything
	h2     *handedOver    // what the engine hands over; nil without engine or TLS
	certs  *tlsload.Store // nil for clear text
	conns  connCount
}

// connCount counts the connections of a door. Those that became tunnels count until they end.
type connCount struct {
	open     atomic.Int64
	accepted atomic.Uint64
}

// doorOptions configure a door.
type doorOptions struct {
	// Address is where it listens, as net.Listen takes it.
	Address string
	// Handler answers what net/http serves.
	Handler http.Handler
	// Proxy, if not nil, has HTTP/1.x served by an engine before it, but for requests that Local has a handler for.
	Proxy *proxy.Proxy
	Local func(method, path string) http.Handler
	// Certificates make it speak TLS, and HTTP/2 too; nil for clear text.
	Certificates *tlsload.Store
	// HeadTimeout bounds the reading of a request's head, IdleTimeout the wait for the next one; HeadBytes and HeadFields
	// bound the head, and Requests how many there are on one connection, 0 for any number.
	HeadTimeout, IdleTimeout        time.Duration
	HeadBytes, HeadFields, Requests int
	// Clients bound the connections of all doors that share it; nil for no bounds.
	Clients *clients
	// Proxies are the networks whose connections begin with a PROXY header; it needs a Proxy.
	Proxies []netip.Prefix
	Logger  *slog.Logger
}

// openDoor opens a listener; nothing is accepted before serve.
func openDoor(ctx context.Context, o doorOptions) (*door, error) {
	d := &door{name: o.Address, certs: o.Certificates}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, listenError(o.Address, err)
	}
	if o.Clients == nil {
		o.Clients = newClients(0, 0, nil)
	}
	d.listen = &clientListener{Listener: ln, count: &d.conns, clients: o.Clients, proxies: o.Proxies}
	if d.certs != nil || o.Proxy == nil {
		d.http = &http.Server{
			Handler:           o.Handler,
			ReadHeaderTimeout: o.HeadTimeout,
			IdleTimeout:       o.IdleTimeout,
			MaxHeaderBytes:    o.HeadBytes,
			ConnContext:       withRequests,
			// OPTIONS * is for the backends to answer.
			DisableGeneralOptionsHandler: true,
			ErrorLog:                     slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		}
	}
	var secure *tls.Config
	if d.certs != nil {
		secure = d.certs.Config()
		secure.NextProtos = []string{"h2", "http/1.1"}
		d.http.TLSConfig = secure.Clone()
	}
	if o.Proxy != nil {
		e := proxy.EngineOptions{
			HeadTimeout: o.HeadTimeout, IdleTimeout: o.IdleTimeout, HeadBytes: o.HeadBytes, HeadFields: o.HeadFields,
			Requests: o.Requests, TLS: secure, Local: o.Local,
		}
		if len(o.Proxies) > 0 {
			e.Greet = func(nc net.Conn) error { return nc.(*clientConn).greet() }
		}
		if secure != nil {
			d.h2 = &handedOver{addr: ln.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
			e.HTTP2 = d.h2.take
		}
		d.engine = proxy.NewEngine(o.Proxy, e)
	}
	return d, nil
}

// serve accepts connections until the door is closed or shut down; then it returns nil.
func (d *door) serve() error {
	var err error
	switch {
	case d.engine != nil:
		var wg sync.WaitGroup
		if d.h2 != nil {
			wg.Go(func() { _ = d.http.Serve(d.h2) }) // it ends with the door
		}
		if err = d.engine.Serve(d.listen); d.h2 != nil {
			d.h2.Close()
		}
		wg.Wait()
	case d.certs != nil:
		err = d.http.ServeTLS(d.listen, "", "")
	default:
		err = d.http.Serve(d.listen)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s: %w", d.name, err)
}

// shutdown stops accepting at once and waits for exchanges under way until the context ends, then cuts them.
func (d *door) shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	var errs [2]error
	if d.engine != nil {
		wg.Go(func() { errs[0] = d.engine.Shutdown(ctx) })
	}
	if d.http != nil {
		wg.Go(func() {
			if errs[1] = d.http.Shutdown(ctx); errs[1] != nil {
				_ = d.http.Close()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// close ends the door and all its connections now.
func (d *door) close() {
	if d.http != nil {
		_ = d.http.Close()
	}
	if d.engine != nil {
		d.engine.Close()
	}
	_ = d.listen.Close()
}

// handedOver is a listener for connections that were accepted by somebody else.
type handedOver struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *handedOver) Addr() net.Addr { return l.addr }

func (l *handedOver) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Accept implements net.Listener.
func (l *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// take hands a connection over, or closes it if nobody takes it any more.
func (l *handedOver) take(c *tls.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// listenError says what to do about an address that cannot be listened on.
func listenError(addr string, err error) error {
	var hint string
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "; another program uses the port: end it, or choose another port (0 picks a free one)"
	case errors.Is(err, os.ErrPermission):
		hint = "; ports below 1024 need a privilege: choose a higher one, or grant CAP_NET_BIND_SERVICE"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("cannot listen on %s: %w%s", addr, err, hint)
}
