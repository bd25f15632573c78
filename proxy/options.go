package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/accesslog"
	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/proxy/upstream"
	"github.com/vietddude/load-balancer/routing"
)

// AccessLog is told of every exchange that has ended. It does not keep the record and does not block.
type AccessLog interface{ Log(*accesslog.Record) }

// Options configure a [Proxy].
type Options struct {
	// Table gives the table that an exchange which starts now is routed by. It must not be nil; a nil table has every
	// exchange answered with 503.
	Table func() *routing.Table
	// Upstream holds the connections to backends; nil makes its own with default options.
	Upstream *upstream.Pools
	// Sessions holds the clients' sessions; nil makes its own with a random secret, closed with the proxy.
	Sessions *affinity.Manager
	// AccessLog is told of every exchange; nil means nobody is.
	AccessLog AccessLog
	// TrustedProxies are the networks of proxies whose word on a client's address, scheme and host is kept.
	TrustedProxies []netip.Prefix
	// Logger is told what an operator must know; nil discards it. Failed exchanges are told at level debug.
	Logger *slog.Logger
}

// Proxy carries exchanges. Its methods may be called concurrently.
type Proxy struct {
	opts        Options
	ownSessions bool
	headDelay   time.Duration
	settleDelay time.Duration
	unreadGrace time.Duration

	services sync.Map // of *routing.Runtime to *service
	// serviceCount approximates the size of services; sweepAt is the size at which those that are gone are looked for.
	serviceCount, sweepAt atomic.Int64

	tunnels tunnels

	trusted atomic.Pointer[[]netip.Prefix]

	active atomic.Int64
	ended  [kindCount]atomic.Uint64
	bounds bounds
}

// New returns a proxy. It is closed by [Proxy.Close].
func New(o Options) *Proxy {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Upstream == nil {
		o.Upstream = upstream.New(upstream.Options{})
	}
	p := &Proxy{opts: o, headDelay: headDelay, settleDelay: settleDelay, unreadGrace: unreadGrace}
	if o.Sessions == nil {
		m, err := affinity.NewManager(nil)
		if err != nil {
			panic(err) // only a given secret can be wrong
		}
		p.opts.Sessions, p.ownSessions = m, true
	}
	p.sweepAt.Store(minSweep)
	p.SetTrustedProxies(o.TrustedProxies)
	return p
}

// SetTrustedProxies replaces [Options.TrustedProxies]; exchanges under way may still go by the former.
func (p *Proxy) SetTrustedProxies(networks []netip.Prefix) { p.trusted.Store(&networks) }

// Close ends what an [net/http.Server] that shuts down leaves: it waits for tunnels to end until the context does, then
// cuts them, and closes idle connections to backends. The error says how many tunnels were cut. It is called when no
// more requests come; upgrades that come all the same after tunnels were cut are cut at once.
func (p *Proxy) Close(ctx context.Context) error {
	cut := p.tunnels.close(ctx)
	if p.ownSessions {
		p.opts.Sessions.Close()
	}
	p.opts.Upstream.CloseIdle()
	if cut > 0 {
		return fmt.Errorf("cut %d tunnels that had not ended: %w", cut, context.Cause(ctx))
	}
	return nil
}

// Stats are the proxy's own numbers; those of services and backends are in their [backend.Stats].
type Stats struct {
	// Active is the number of exchanges under way, tunnels included; Tunnels that of tunnels.
	Active, Tunnels int64
	// NoRoute counts exchanges that no route matched.
	NoRoute uint64
	// Broken counts responses that broke off after their head had gone out.
	Broken uint64
	// Failed counts exchanges that did not end well, by a stable word for the reason, the two above included; all reasons are there.
	Failed map[string]uint64
}

// Stats reads the numbers. They may be from slightly different moments.
func (p *Proxy) Stats() Stats {
	s := Stats{
		Active: p.active.Load(), Tunnels: p.tunnels.count.Load(),
		NoRoute: p.ended[noRoute].Load(), Broken: p.ended[brokenResponse].Load(),
		Failed: make(map[string]uint64),
	}
	for k := fine + 1; k < kindCount; k++ {
		if k != beaten {
			s.Failed[k.String()] = p.ended[k].Load()
		}
	}
	return s
}
