package upstream

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/routing"
)

// MaxHead is [Options.MaxResponseHead].
func (p *Pools) MaxHead() int { return int(p.opts.MaxResponseHead) }

// ContinueTimeout is [Options.ContinueTimeout].
func (p *Pools) ContinueTimeout() time.Duration { return p.opts.ContinueTimeout }

// Options configure [Pools]. The zero value works.
type Options struct {
	// MaxIdle is how many idle connections are kept for each backend; 0 means 512.
	MaxIdle int
	// IdleTimeout is how long a connection stays idle before it is closed; 0 means 60 s.
	IdleTimeout time.Duration
	// MaxResponseHead bounds the head of each response, in bytes; 0 means 256 KiB. How many informational ones there may
	// be is bounded by whoever traces them.
	MaxResponseHead int64
	// ContinueTimeout is how long a request with Expect: 100-continue waits for the backend's word before its body is
	// sent anyway; 0 means 1 s.
	ContinueTimeout time.Duration
}

// Pools are the connections to all backends. Its methods may be called concurrently.
type Pools struct {
	opts  Options
	pools sync.Map // of *backend.State to *pool
}

// New returns pools without connections.
func New(o Options) *Pools {
	if o.MaxIdle <= 0 {
		o.MaxIdle = 512
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Minute
	}
	if o.MaxResponseHead <= 0 {
		o.MaxResponseHead = 256 << 10
	}
	if o.ContinueTimeout <= 0 {
		o.ContinueTimeout = time.Second
	}
	return &Pools{opts: o}
}

// RoundTrip sends the request to the backend under the policy and returns the response as soon as its head is there.
// The scheme and the host of the request's URL are the backend's afterwards; nothing else of the request is changed,
// and no header field is added but what the framing needs. An error is never nil and untyped: it is an *Error.
//
// As with [http.RoundTripper], the response's body must be closed, and the request's body may still be read after
// RoundTrip returned, until it is closed.
//
// WithEnds has given the request's context the client's ends, where the policy has backends told of them.
func (p *Pools) RoundTrip(r *http.Request, s *backend.State, policy *routing.Policy) (*http.Response, *Error) {
	pl := p.pool(s)
	g, err := pl.generation(policy)
	if err != nil {
		return nil, &Error{Kind: BadTLS, Err: err}
	}
	r.URL.Scheme, r.URL.Host = pl.url.Scheme, pl.url.Host
	resp, err := g.transport.RoundTrip(r)
	if pl.current.Load() != g {
		// The pool moved on meanwhile; by taking a connection this attempt told the old transport to keep idle ones.
		g.transport.CloseIdleConnections()
	}
	if err != nil {
		return nil, classify(err)
	}
	if v := resp.Header["Keep-Alive"]; v != nil {
		g.dialer.keepAlive.Store(int64(keepAliveTimeout(v)))
	}
	return resp, nil
}

// CloseIdle closes all connections that no attempt uses.
func (p *Pools) CloseIdle() {
	p.pools.Range(func(_, v any) bool {
		if g := v.(*pool).current.Load(); g != nil {
			g.closeIdle(false)
		}
		return true
	})
}

// CloseIdleTo closes the connections to one backend that no attempt uses.
func (p *Pools) CloseIdleTo(s *backend.State) {
	if v, ok := p.pools.Load(s); ok {
		if g := v.(*pool).current.Load(); g != nil {
			g.closeIdle(false)
		}
	}
}

// Len is the number of backends that have a pool.
func (p *Pools) Len() int {
	n := 0
	p.pools.Range(func(_, _ any) bool { n++; return true })
	return n
}

// pool returns the backend's pool and makes it if need be.
func (p *Pools) pool(s *backend.State) *pool {
	if v, ok := p.pools.Load(s); ok {
		return v.(*pool)
	}
	pl := &pool{opts: &p.opts, conns: &s.Conns}
	if u, err := url.Parse(s.Key().URL); err != nil {
		pl.err = fmt.Errorf("the backend's address is unusable: %w", err)
	} else {
		pl.url = *u
	}
	if v, loaded := p.pools.LoadOrStore(s, pl); loaded {
		return v.(*pool)
	}
	s.OnRetire(func() {
		p.pools.Delete(s)
		pl.retire()
	})
	return pl
}

// pool holds the connections to one backend.
type pool struct {
	opts  *Options
	conns *backend.Conns
	url   url.URL // scheme and host
	err   error   // why the backend cannot be reached at all

	// current is what attempts use now, nil before the first. It is written with mu held.
	current atomic.Pointer[generation]

	mu      sync.Mutex
	retired bool
	// failed is why the settings failedFor gave no generation, told until retryAt.
	failed    error
	failedFor settings
	retryAt   time.Time
}

// generation is the connections under one state of the settings: those of a transport and, beside them, those of
// [Pools.Get].
type generation struct {
	settings  settings
	policy    atomic.Pointer[routing.Policy] // one that has these settings
	transport *http.Transport
	dialer    *dialer
	addr      string
	idle      idleList
}

// closeIdle closes idle connections, and if for good, those too that become idle later.
func (g *generation) closeIdle(forGood bool) {
	g.transport.CloseIdleConnections()
	g.idle.close(forGood)
}

// settings are what of a policy concerns connections.
type settings struct {
	connect, head time.Duration
	tls           routing.BackendTLS
	maxIdle       int
	idle          time.Duration
	maxConns      int
	keepAlive     time.Duration
	userTimeout   time.Duration
	proxy         uint8
}

func (o *Options) settings(p *routing.Policy) settings {
	c := &p.Connections
	s := settings{
		connect: p.Timeouts.Connect, head: p.Timeouts.ResponseHead, tls: p.TLS, maxIdle: c.MaxIdle, idle: c.IdleTimeout,
		maxConns: c.MaxConns, keepAlive: c.KeepAlive, userTimeout: c.UserTimeout, proxy: p.ProxyProtocol,
	}
	if s.maxIdle == 0 {
		s.maxIdle = o.MaxIdle
	}
	if s.idle <= 0 {
		s.idle = o.IdleTimeout
	}
	return s
}

// crowded reports whether all connections are open that there may be. Those of the transport and those of Get do not know
// of each other, so that one that is to be made may have to wait for an idle one of the others to be closed.
func (g *generation) crowded() bool {
	most := g.settings.maxConns
	return most > 0 && g.dialer.conns.Open() >= int64(most)
}

// makeRoom closes idle connections for one of the transport's.
func (g *generation) makeRoom() {
	if g.crowded() {
		g.idle.close(false)
	}
}

// generation returns the connections under the policy.
func (p *pool) generation(policy *routing.Policy) (*generation, error) {
	g := p.current.Load()
	if g != nil && g.policy.Load() == policy {
		return g, nil
	}
	s := p.opts.settings(policy)
	if g != nil && g.settings == s {
		g.policy.Store(policy)
		return g, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.current.Load()
	switch {
	case p.err != nil:
		return nil, p.err
	case old != nil && old.settings == s:
		return old, nil
	case p.failed != nil && p.failedFor == s && time.Now().Before(p.retryAt):
		return nil, p.failed
	}
	d, err := newDialer(p.url.Hostname(), p.url.Scheme == "https", s)
	if err != nil { // a file may come to be right; it is not read at each attempt
		p.failed, p.failedFor, p.retryAt = err, s, time.Now().Add(5*time.Second)
		return nil, err
	}
	p.failed = nil
	d.conns = p.conns
	g = &generation{settings: s, transport: p.newTransport(d), dialer: d, addr: address(&p.url)}
	g.idle.max, g.idle.timeout, g.idle.keep, g.idle.closed = s.maxIdle, s.idle, &d.keepAlive, p.retired
	g.transport.ResponseHeaderTimeout = s.head
	g.transport.IdleConnTimeout = s.idle
	g.transport.MaxIdleConns, g.transport.MaxIdleConnsPerHost = s.maxIdle, s.maxIdle
	// A connection that the backend knows as one client's carries no other's, and the transport cannot tell them apart.
	g.transport.DisableKeepAlives = p.retired || s.proxy != 0 || s.maxIdle < 0
	g.policy.Store(policy)
	d.room = g.makeRoom
	p.current.Store(g)
	if old != nil {
		old.closeIdle(true)
	}
	return g, nil
}

func (p *pool) newTransport(d *dialer) *http.Transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	t := &http.Transport{
		DisableCompression:     true,
		ExpectContinueTimeout:  p.opts.ContinueTimeout,
		MaxResponseHeaderBytes: p.opts.MaxResponseHead,
		Protocols:              &http1,
		DialContext:            d.dial,
	}
	if d.tls != nil {
		t.DialTLSContext = d.dial
	}
	return t
}

// retire closes idle connections, now and as soon as those in use become idle. Exchanges that began by an earlier table
// may still come; each has a connection of its own.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	if g := p.current.Swap(nil); g != nil {
		g.closeIdle(true)
	}
}
