package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/admin"
	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/metrics"
	"github.com/vietddude/load-balancer/proxy"
)

// openDoors opens the clients' listeners and the admin's.
func (s *Server) openDoors(ctx context.Context, cfg *config.Config) error {
	s.scrape = metrics.Handler(s.observer(), metrics.Options{
		Bounds: observeBounds(), Build: metrics.Build{Version: s.opts.Version}, Logger: s.log,
	})
	limits := &cfg.Limits
	handler := s.clientHandler(limits)
	s.clients = newClients(limits.Connections, limits.ConnectionsPerAddress, s.trusts)
	for i := range cfg.Listen {
		l := &cfg.Listen[i]
		certs, err := certificates(l, s.log)
		if err != nil {
			return err
		}
		d, err := openDoor(ctx, doorOptions{
			Address: listenAddress(l), Handler: handler, Proxy: s.proxy, Local: s.local, Certificates: certs,
			HeadTimeout: limits.HeadTimeout, IdleTimeout: limits.IdleTimeout, HeadBytes: limits.HeadBytes,
			HeadFields: limits.HeadFields, Requests: limits.Requests, Clients: s.clients, Proxies: l.ProxyProtocol.From,
			Logger: s.log,
		})
		if err != nil {
			return err
		}
		s.doors = append(s.doors, d)
	}
	if err := admin.CheckAddress(cfg.Admin.Address, cfg.Admin.Token.Reveal()); err != nil {
		return err
	}
	s.api.set(s.adminHandler(cfg.Admin.Token.Reveal()))
	d, err := openDoor(ctx, doorOptions{
		Address: cfg.Admin.Address, Handler: &s.api,
		HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute, HeadBytes: 64 << 10, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	s.admin = d
	return nil
}

// clientHandler is what answers clients by net/http: the proxy, or what is local.
func (s *Server) clientHandler(l *config.Limits) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.within(l, w, r) {
			return
		}
		if h := s.local(r.Method, r.URL.Path); h != nil {
			h.ServeHTTP(w, r)
			return
		}
		s.proxy.ServeHTTP(w, r)
	})
}

// within sees to the limits that net/http does not know. It reports false for a request that it has refused.
func (s *Server) within(l *config.Limits, w http.ResponseWriter, r *http.Request) bool {
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > l.HeadFields {
		s.proxy.Strike(proxy.HeadFields)
		http.Error(w, "bad request", http.StatusRequestHeaderFieldsTooLarge)
		return false
	}
	if l.Requests > 0 {
		if n, ok := r.Context().Value(requestsKey{}).(*atomic.Int64); ok && n.Add(1) >= int64(l.Requests) {
			if n.Load() == int64(l.Requests) {
				s.proxy.Strike(proxy.Requests)
			}
			w.Header().Set("Connection", "close") // of HTTP/2: GOAWAY
		}
	}
	return true
}

// requestsKey is where the context of a connection of net/http has the number of its requests.
type requestsKey struct{}

// withRequests is the context of a new connection.
func withRequests(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, requestsKey{}, new(atomic.Int64))
}

// trusts reports whether an address is that of a trusted proxy.
func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.config.Load().TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// local is the handler of requests on the clients' listeners that the balancer answers itself, nil for all others: the
// metrics, if the configuration in force has them there.
func (s *Server) local(method, path string) http.Handler {
	m := &s.config.Load().Prometheus
	if m.Enabled && path == m.Path && (method == http.MethodGet || method == http.MethodHead) {
		return s.scrape
	}
	return nil
}

// adminHandler is what answers on the admin address. It is made anew when the token changes.
func (s *Server) adminHandler(token string) http.Handler {
	o := admin.Options{
		Catalog: s.catalog,
		Fleet:   s.fleetView,
		Checks:  s.checks,
		Metrics: s.scrape,
		Token:   token,
		Info:    admin.Info{Version: s.opts.Version, Started: s.started},
		Logger:  s.log,
	}
	if s.steering != nil {
		o.Steering = s.steering
	}
	return admin.New(o)
}

// swapHandler is a handler that can be replaced while it serves.
type swapHandler struct{ current atomic.Pointer[http.Handler] }

func (h *swapHandler) set(next http.Handler) { h.current.Store(&next) }

func (h *swapHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*h.current.Load()).ServeHTTP(w, r)
}

// checks are the conditions that /readyz shows, beside those of the sources.
func (s *Server) checks() []admin.Check {
	ready, reasons := s.ready()
	detail := ""
	if !ready { // the sources' reasons are otherwise shown with the sources
		detail = strings.Join(reasons, "; ")
	}
	problem, certs := s.reloadProblem(), s.certificateProblems()
	checks := []admin.Check{
		{Name: "table", OK: ready, Required: true, Detail: detail},
		{Name: "config", OK: problem == "", Detail: problem},
		{Name: "certificates", OK: certs == "", Detail: certs},
		{Name: "shutdown", OK: !s.stopping.Load(), Required: true, Detail: s.stoppingDetail()},
	}
	if s.snapshot != nil {
		checks = append(checks, snapshotCheck(s.snapshot.Stats()))
	}
	return checks
}

// ready reports whether there is a table to route by, and if not or not wholly so, why. Where the configuration lists
// no backends, its routes alone make no table: a discovered source must have been heard.
func (s *Server) ready() (bool, []string) {
	ready, reasons := s.catalog.Ready()
	if !ready || listsBackends(s.config.Load()) {
		return ready, reasons
	}
	for _, src := range s.catalog.Status().Sources {
		if src.Name != configSource && (!src.Synced.IsZero() || src.Restored) {
			return true, reasons
		}
	}
	return false, reasons
}

func (s *Server) stoppingDetail() string {
	if s.stopping.Load() {
		return "the balancer is stopping"
	}
	return ""
}

// observer is where metrics are read from.
func (s *Server) observer() *observer {
	return newObserver(observeOptions{
		Catalog: s.catalog,
		Ready: func() bool {
			ready, _ := s.ready()
			return ready && !s.stopping.Load()
		},
		Connections: func() (open int64, accepted uint64) {
			for _, d := range s.doors {
				open += d.conns.open.Load()
				accepted += d.conns.accepted.Load()
			}
			return open, accepted
		},
		Exchanges: func() int64 { return s.proxy.Stats().Active },
		NoRoute:   func() uint64 { return s.proxy.Stats().NoRoute },
		Failed:    func() map[string]uint64 { return s.proxy.Stats().Failed },
		Limits: func() map[string]uint64 {
			all := s.proxy.Strikes()
			s.clients.strikes(all)
			return all
		},
		Reloads: func() metrics.Reloads {
			r := metrics.Reloads{Taken: s.reloads.taken.Load(), Refused: s.reloads.refused.Load(), LastOK: s.reloads.lastOK.Load(), LastTaken: s.started}
			if at := s.reloads.lastTaken.Load(); at != 0 {
				r.LastTaken = time.Unix(0, at)
			}
			return r
		},
		Fleet: func() (all, differing int) {
			v := s.Fleet()
			return len(v.Members), len(v.Differing())
		},
		Sessions: s.observeSessions,
		Steered: func() (all, pending int) {
			if s.steering != nil {
				pending = s.steering.unwritten()
			}
			return len(s.catalog.Overrides()), pending
		},
		Probes:       s.probes.counts,
		Certificates: s.certificateMetrics,
		Snapshot:     s.snapshotMetrics(),
		AccessLogDropped: func() uint64 {
			if s.access == nil {
				return 0
			}
			return s.access.Stats().Dropped
		},
	})
}
