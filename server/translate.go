package server

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/probe"
	"github.com/vietddude/load-balancer/routing"
)

// resolve makes a service's policy by the configuration in force.
func (s *Server) resolve(service string, texts []routing.PolicyText) (routing.Policy, []discovery.Problem) {
	raw := make([][]byte, len(texts))
	for i, t := range texts {
		raw[i] = t.Text
	}
	p, errs := s.config.Load().Policy(service, raw...)
	var problems []discovery.Problem
	for i, err := range errs {
		if err != nil {
			problems = append(problems, discovery.Problem{
				Source: texts[i].Source, Key: "policy of " + service, Code: discovery.CodeBadPolicy, Detail: err.Error(),
			})
		}
	}
	if p.StickySession.Enabled && p.StickySession.Store == affinity.StoreEtcd {
		if s.sharing != nil {
			s.sharing.want()
		} else {
			problems = append(problems, discovery.Problem{
				Source: configSource, Key: "policy of " + service, Code: discovery.CodeBadPolicy,
				Detail: "sticky_session.store is etcd, but no etcd is shared, so that sessions stay in this process: name one in discovery or fleet.store, and leave fleet.enabled true",
			})
		}
	}
	return policy(p), problems
}

// policy translates a resolved policy of the configuration.
func policy(p config.Policy) routing.Policy {
	out := routing.Policy{
		Algorithm: balance.Algorithm(p.Algorithm),
		Hash: routing.Hash{
			By:        routing.HashBy(p.Hash.By),
			Name:      p.Hash.Name,
			MaxLoad:   p.Hash.MaxLoad,
			TableSize: p.Hash.TableSize,
		},
		SlowStart:      p.SlowStart,
		PanicThreshold: p.PanicThreshold,
		IgnoreZones:    p.Zones == "ignore",
		Subset:         p.Subset.Size,
		Health:         routing.HealthRule(p.Health),
		Probe:          probeOptions(p.HealthCheck),
		ProbeBy:        probeBy(p.HealthCheck),
		ProbeTLS: probe.TLS{
			ServerName:         cmp.Or(p.HealthCheck.TLS.ServerName, p.BackendTLS.ServerName),
			CAFile:             cmp.Or(p.HealthCheck.TLS.CAFile, p.BackendTLS.CAFile),
			InsecureSkipVerify: p.HealthCheck.TLS.InsecureSkipVerify || p.BackendTLS.InsecureSkipVerify,
		},
		Breaker: breakerOptions(p.CircuitBreaker),
		Outlier: outlierOptions(p.OutlierDetection),
		Limit:   limitOptions(p.AdaptiveConcurrency),
		Retry: routing.Retry{
			MaxRetries:      p.Retry.MaxRetries,
			InitialInterval: p.Retry.InitialInterval,
			MaxInterval:     p.Retry.MaxInterval,
			Multiplier:      p.Retry.Multiplier,
			Randomization:   p.Retry.Randomization,
			Budget:          p.Retry.Budget,
			NotOn:           notOn(p.Retry.On),
			Statuses:        statuses(p.Retry.On),
		},
		Hedge: hedge(p.Hedge),
		Timeouts: routing.Timeouts{
			Connect:      p.Timeouts.Connect,
			ResponseHead: p.Timeouts.ResponseHead,
			Exchange:     p.Timeouts.Exchange,
			ClientIdle:   p.Timeouts.ClientIdle,
			BackendIdle:  p.Timeouts.BackendIdle,
			TunnelIdle:   p.Timeouts.TunnelIdle,
		},
		Connections: routing.Connections{
			MaxIdle:      p.Connections.MaxIdle,
			IdleTimeout:  p.Connections.IdleTimeout,
			MaxConns:     p.Connections.MaxConns,
			MaxQueue:     p.Connections.MaxQueue,
			QueueTimeout: p.Connections.QueueTimeout,
			KeepAlive:    p.Connections.KeepAlive,
			UserTimeout:  p.Connections.UserTimeout,
		},
		TLS: routing.BackendTLS{
			ServerName:         p.BackendTLS.ServerName,
			CAFile:             p.BackendTLS.CAFile,
			InsecureSkipVerify: p.BackendTLS.InsecureSkipVerify,
		},
	}
	if out.Connections.MaxIdle == 0 {
		out.Connections.MaxIdle = -1 // where 0 is the default
	}
	switch p.ProxyProtocol {
	case "v1":
		out.ProxyProtocol = 1
	case "v2":
		out.ProxyProtocol = 2
	}
	if s := p.StickySession; s.Enabled {
		out.Affinity = affinity.Options{
			Type:              affinity.Type(s.Type),
			CookieName:        s.CookieName,
			CookiePath:        s.CookiePath,
			CookieDomain:      s.CookieDomain,
			CookieSameSite:    s.CookieSameSite,
			CookieSecure:      s.CookieSecure,
			HeaderName:        s.HeaderName,
			AddressIPv6Prefix: s.AddressIPv6Prefix,
			Timeout:           s.Timeout,
			Store:             s.Store,
			Return:            s.Return,
			MaxSessions:       s.MaxSessions,
			CleanupInterval:   s.CleanupInterval,
		}
	}
	return out
}

// here is what the balancer knows of itself. Where its place among others is not given, its host's name and port tell it
// from them.
func here(cfg *config.Config) routing.Here {
	h := routing.Here{Zone: cfg.Zone, Index: cfg.Position.Index, Of: cfg.Position.Of}
	h.ID, _ = os.Hostname()
	if len(cfg.Listen) > 0 {
		h.ID += ":" + strconv.Itoa(cfg.Listen[0].Port)
	}
	return h
}

// retryFailures are the words of retry.on.
var retryFailures = map[string]routing.Failures{
	"connect": routing.ConnectFailed, "reset": routing.ResetFailed, "malformed": routing.MalformedFailed, "timeout": routing.TimeoutFailed,
}

// notOn are the failures that retry.on does not name.
func notOn(on string) (not routing.Failures) {
	for word, f := range retryFailures {
		if !slices.Contains(strings.Split(on, ","), word) {
			not |= f
		}
	}
	return not
}

// statuses are those that retry.on names.
func statuses(on string) (set routing.StatusSet) {
	for word := range strings.SplitSeq(on, ",") {
		if n, err := strconv.Atoi(word); err == nil {
			set.Add(n)
		}
	}
	return set
}

func hedge(h config.Hedge) routing.Hedge {
	if !h.Enabled {
		return routing.Hedge{}
	}
	return routing.Hedge{Percentile: h.Percentile, MinDelay: h.MinDelay, MaxDelay: max(h.MaxDelay, h.MinDelay)}
}

func probeOptions(h config.HealthCheck) probe.Options {
	return probe.Options{
		Type:              h.Type,
		Interval:          h.Interval,
		UnhealthyInterval: h.UnhealthyInterval,
		Timeout:           h.Timeout,
		FailureThreshold:  h.FailureThreshold,
		SuccessThreshold:  h.SuccessThreshold,
		InitialState:      h.InitialState,
		Port:              h.Port,
		Scheme:            h.Scheme,
		Method:            h.Method,
		Path:              h.Path,
		Host:              h.Host,
		Headers:           h.Headers,
		Statuses:          h.Statuses,
		Body:              h.Body,
		BodyRegexp:        h.BodyRegexp,
		GRPCService:       h.GRPCService,
	}
}

// probeBy is how many balancers probe a backend; 0 for each.
func probeBy(h config.HealthCheck) int {
	if h.Share == "etcd" {
		return h.ShareBy
	}
	return 0
}

// breakerCauses are what the words of circuit_breaker.failures stand for.
var breakerCauses = map[string]breaker.Cause{
	"5xx": breaker.ServerError, "gateway": breaker.GatewayError, "connect": breaker.ConnectFailed,
	"timeout": breaker.Timeout, "reset": breaker.Reset,
}

func breakerOptions(c config.CircuitBreaker) breaker.Options {
	o := breaker.Options{
		FailureThreshold: c.FailureThreshold,
		FailureRate:      c.FailureRate,
		Window:           c.Window,
		MinVolume:        c.MinVolume,
		ResetTimeout:     c.ResetTimeout,
		ResetMultiplier:  c.ResetMultiplier,
		MaxResetTimeout:  c.MaxResetTimeout,
		ResetJitter:      c.ResetJitter,
		HalfOpenLimit:    c.HalfOpenLimit,
	}
	for w := range strings.SplitSeq(c.Failures, ", ") {
		o.Counts |= breakerCauses[w]
	}
	return o
}

func limitOptions(c config.AdaptiveConcurrency) breaker.LimitOptions {
	if !c.Enabled {
		return breaker.LimitOptions{}
	}
	return breaker.LimitOptions{Max: c.MaxLimit, Min: min(c.MinLimit, c.MaxLimit), Initial: c.InitialLimit, Tolerance: c.Tolerance}
}

func outlierOptions(d config.OutlierDetection) breaker.OutlierOptions {
	if !d.Enabled {
		return breaker.OutlierOptions{}
	}
	return breaker.OutlierOptions{
		ConsecutiveErrors:  d.Consecutive5xx,
		ConsecutiveGateway: d.ConsecutiveGateway,
		SuccessRateStdev:   d.SuccessRateStdev,
		LatencyFactor:      d.LatencyFactor,
		Interval:           d.Interval,
		MinHosts:           d.MinHosts,
		MinVolume:          d.MinVolume,
		BaseEjection:       d.BaseEjectionTime,
		MaxEjection:        d.MaxEjectionTime,
		MaxEjectionPercent: d.MaxEjectionPercent,
	}
}

// route translates a route of the configuration.
func route(r config.Route) discovery.Route {
	return discovery.Route{
		Name: r.Name, Host: r.Host, Path: r.Path, Method: r.Method, Headers: r.Headers,
		StripPrefix: r.StripPrefix, Service: r.Service,
	}
}

// backends translates backends of the configuration, in order of ID.
func backends(list []config.Backend) []discovery.Backend {
	out := make([]discovery.Backend, 0, len(list))
	for _, b := range list {
		out = append(out, discovery.Backend{ID: b.ID, URL: b.URL, Weight: b.Weight, Zone: b.Zone})
	}
	slices.SortFunc(out, func(a, b discovery.Backend) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// announceConfig announces what the configuration itself lists, as the source [configSource].
func (s *Server) announceConfig(cfg *config.Config) {
	sink := s.catalog.Sink(configSource)
	sink.Resync("changed")
	now := time.Now()
	for _, name := range cfg.ServiceNames() {
		if list := cfg.ServiceBackends(name); len(list) > 0 {
			sink.Service(discovery.Service{Name: name, Backends: backends(list), Seen: now})
		}
	}
	for _, r := range cfg.Routes {
		sink.Route(route(r))
	}
	sink.Synced()
}
