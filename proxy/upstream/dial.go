package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/proxy/proxyproto"
	"github.com/vietddude/load-balancer/routing"
)

// dialer makes the connections of one pool.
type dialer struct {
	timeout time.Duration // 0 for none
	tls     *tls.Config   // nil for clear connections
	net     net.Dialer
	proxy   proxyproto.Version // 0 for none
	conns   *backend.Conns
	room    func() // makes room for a transport's connection; nil for nothing to do

	keepAlive atomic.Int64 // what the backend said last; see conn
}

func newDialer(host string, secure bool, s settings) (*dialer, error) {
	d := &dialer{timeout: s.connect, proxy: proxyproto.Version(s.proxy), conns: new(backend.Conns)}
	d.net.KeepAliveConfig = net.KeepAliveConfig{Enable: s.keepAlive > 0, Idle: s.keepAlive, Interval: s.keepAlive}
	if s.keepAlive <= 0 {
		d.net.KeepAlive = -1
	}
	d.net.ControlContext = userTimeout(s.userTimeout)
	if !secure {
		return d, nil
	}
	c, err := tlsConfig(host, s.tls)
	d.tls = c
	return d, err
}

// tlsConfig makes the configuration for a backend's host.
func tlsConfig(host string, o routing.BackendTLS) (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         o.ServerName,
		InsecureSkipVerify: o.InsecureSkipVerify,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(16),
		MinVersion:         tls.VersionTLS12,
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if o.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the backends' authorities: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the file %s of the backends' authorities holds no PEM certificate", o.CAFile)
	}
	return c, nil
}

// Ends are the two ends of a client's connection, as a backend is told in the PROXY protocol.
type Ends struct{ Client, Local netip.AddrPort }

// endsKey is where the context of a transport's attempt has the Ends.
type endsKey struct{}

// WithEnds is a context for [Pools.RoundTrip].
func WithEnds(ctx context.Context, ends Ends) context.Context {
	return context.WithValue(ctx, endsKey{}, ends)
}

// dial makes a connection for a transport; see connect.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ends, _ := ctx.Value(endsKey{}).(Ends)
	if d.room != nil {
		d.room()
	}
	return d.connect(ctx, network, addr, ends, true)
}

// connect makes a connection, PROXY header and TLS handshake included, within the timeout; if told, it is one that tells
// of its closing. Its errors are *dialError.
func (d *dialer) connect(ctx context.Context, network, addr string, ends Ends, tells bool) (net.Conn, error) {
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	c, failed := d.make(ctx, network, addr, ends, tells)
	switch {
	case failed == nil:
		d.conns.Opened()
		return c, nil
	case failed.kind != Canceled:
		d.conns.Failed()
	}
	return nil, failed
}

// make is connect within the context, and counts nothing.
func (d *dialer) make(ctx context.Context, network, addr string, ends Ends, tells bool) (net.Conn, *dialError) {
	c, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, dialFailed(ctx, Refused, err)
	}
	if d.proxy != 0 {
		h := proxyproto.Header{Source: ends.Client, Destination: ends.Local}
		if _, err := c.Write(h.Append(nil, d.proxy)); err != nil { // the first bytes always fit in the system's buffers
			c.Close()
			return nil, dialFailed(ctx, Refused, err)
		}
	}
	var telling *conn
	if tcp, ok := c.(*net.TCPConn); ok && tells {
		telling = &conn{TCPConn: tcp, keepAlive: &d.keepAlive}
		c = telling
	}
	if d.tls != nil {
		secure := tls.Client(c, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, dialFailed(ctx, tlsKind(err), err)
		}
		c = secure
	}
	if telling != nil {
		telling.conns = d.conns
	}
	return c, nil
}

// tlsKind tells a backend that broke the connection off from one that cannot be talked to.
func tlsKind(err error) Kind {
	var op *net.OpError
	if errors.As(err, &op) && op.Op != "remote error" && op.Op != "local error" {
		return Refused
	}
	return BadTLS
}

func dialFailed(ctx context.Context, kind Kind, err error) *dialError {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		kind = Canceled
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		kind = ConnectTimeout
	}
	return &dialError{kind: kind, err: err}
}
