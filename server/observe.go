package server

import (
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/metrics"
	"github.com/vietddude/load-balancer/routing"
)

// observeCatalog is the part of the catalog that metrics are read from.
type observeCatalog interface {
	Table() *routing.Table
	Status() routing.Status
}

var _ observeCatalog = (*routing.Catalog)(nil)

// observeOptions say where an [observer] reads. Catalog must be set; a function that is nil counts as 0 or none. The
// functions are called at each scrape, concurrently if scrapes overlap.
type observeOptions struct {
	Catalog observeCatalog
	// Ready reports whether the readiness check passes.
	Ready func() bool
	// Connections are the client connections open now and all that were ever accepted, over all listeners.
	Connections func() (active int64, accepted uint64)
	// Exchanges are under way now; NoRoute counts those that no route matched.
	Exchanges func() int64
	NoRoute   func() uint64
	// Failed counts exchanges that did not end well, by reason; Limits how often bounds have struck, by name.
	Failed, Limits func() map[string]uint64
	// Fleet tells how many replicas there are and how many of them differ, Steered how many backends an operator steers and
	// how many of these changes are not written yet.
	Fleet, Steered func() (all, some int)
	// Sessions tells how many are in memory, and of those that are shared.
	Sessions func() (remembered int64, shared metrics.Sharing)
	// Probes tells how many were made, how many backends only others probe, and how many verdicts were taken from them.
	Probes func() (made uint64, byOthers int, taken uint64)
	// Reloads tell of the configuration file; without it the configuration counts as in force.
	Reloads      func() metrics.Reloads
	Certificates func() []metrics.Certificate
	// Snapshot tells of the file that the last known good state is kept in.
	Snapshot func() metrics.SnapshotFile
	// AccessLogDropped counts lines that the access log lost.
	AccessLogDropped func() uint64
}

// observer reads the numbers that a scrape shows.
type observer struct{ observeOptions }

var _ metrics.Reader = (*observer)(nil)

func newObserver(o observeOptions) *observer { return &observer{o} }

// observeBounds are the upper bounds of all histograms.
func observeBounds() []time.Duration { return backend.LatencyBounds[:] }

// Read implements metrics.Reader.
func (o *observer) Read() metrics.Snapshot {
	table, status := o.Catalog.Table(), o.Catalog.Status()
	s := metrics.Snapshot{
		Generation:       table.Generation(),
		Fingerprint:      table.Fingerprint(),
		Problems:         len(table.Problems()),
		Ready:            observed(o.Ready),
		Exchanges:        observed(o.Exchanges),
		NoRoute:          observed(o.NoRoute),
		Failed:           observed(o.Failed),
		Limits:           observed(o.Limits),
		Certificates:     observed(o.Certificates),
		Snapshot:         observed(o.Snapshot),
		AccessLogDropped: observed(o.AccessLogDropped),
		Propagation:      metrics.Histogram{Buckets: status.Propagation[:], Sum: status.PropagationSum},
		Reloads:          metrics.Reloads{LastOK: true},
	}
	if o.Connections != nil {
		s.Connections, s.Accepted = o.Connections()
	}
	if o.Reloads != nil {
		s.Reloads = o.Reloads()
	}
	if o.Fleet != nil {
		s.Replicas, s.Differing = o.Fleet()
	}
	if o.Probes != nil {
		s.Probes, s.ProbedByOthers, s.SharedVerdicts = o.Probes()
	}
	if o.Steered != nil {
		s.Overrides, s.Pending = o.Steered()
	}
	if o.Sessions != nil {
		s.Remembered, s.Sharing = o.Sessions()
	}
	now := time.Now()
	s.Services, s.Backends = observeServices(table), observeBackends(table, now)
	s.Routes = observeRoutes(table.Routes())
	for i := range status.Sources {
		m := observeSource(&status.Sources[i])
		m.Staleness = status.Sources[i].Staleness(now, status.Made)
		s.Sources = append(s.Sources, m)
	}
	return s
}

// observeRoutes reads each counter once: routes of one name share theirs.
func observeRoutes(rs []*routing.Route) []metrics.Route {
	out := make([]metrics.Route, 0, len(rs))
	read := make(map[*atomic.Uint64]bool, len(rs))
	for _, r := range rs {
		m := metrics.Route{Name: r.Name, Source: r.Source, Service: r.Target.Name}
		if !read[r.Requests] {
			read[r.Requests] = true
			m.Requests = r.Requests.Load()
		}
		out = append(out, m)
	}
	return out
}

// observeServices are the services of a table. One item serves for all.
func observeServices(table *routing.Table) metrics.Items[metrics.Service] {
	all := table.Services()
	return metrics.Items[metrics.Service]{Len: len(all), Each: func(yield func(*metrics.Service) bool) {
		var m metrics.Service
		var counts backend.Snapshot
		for _, svc := range all {
			set := svc.Runtime.Ready()
			m = metrics.Service{
				Name: svc.Name, Backends: len(svc.Backends), Used: svc.Runtime.Members(), Panic: set.Panic, Zones: svc.Runtime.ZoneRequests(),
			}
			for _, b := range svc.Backends {
				if isReady(set, b) {
					m.Ready++
				}
			}
			m.Counts = observeCounts(&svc.Runtime.Stats, &counts)
			m.Hedges = observeHedges(svc, &counts)
			if !yield(&m) {
				return
			}
		}
	}}
}

// observeBackends are the backends of a table. One item serves for all.
func observeBackends(table *routing.Table, now time.Time) metrics.Items[metrics.Backend] {
	all := table.Services()
	n := 0
	for _, svc := range all {
		n += len(svc.Backends)
	}
	return metrics.Items[metrics.Backend]{Len: n, Each: func(yield func(*metrics.Backend) bool) {
		var m metrics.Backend
		var counts backend.Snapshot
		for _, svc := range all {
			set := svc.Runtime.Ready()
			for _, b := range svc.Backends {
				m = observeBackend(svc.Name, b, now, &counts)
				if m.Ready = isReady(set, b); !yield(&m) {
					return
				}
			}
		}
	}}
}

// isReady reports whether new exchanges may go to a backend, other than by a panic. The set may be of an earlier table, so records, which tables
// share, are compared.
func isReady(set *routing.ReadySet, b *routing.Backend) bool {
	r := set.Backend(b.ID)
	return r != nil && r.State == b.State && !set.InPanic(r)
}

func observeBackend(service string, b *routing.Backend, now time.Time, counts *backend.Snapshot) metrics.Backend {
	m := metrics.Backend{
		Service: service, ID: b.ID, Counts: observeCounts(&b.State.Stats, counts), Weight: b.Weight, InFlight: b.State.InFlight(),
		Up: b.State.Serves(), Draining: b.Draining || b.State.Draining(),
		Breaker: observeBreaker(b.State.Breaker.State(now)),
		Ejected: b.State.Ejection() != nil, Ejections: b.State.Ejections(),
	}
	m.Beaten = counts.Beaten
	m.Queued, m.QueueTimeouts = b.State.Seats.Waiting(), b.State.Seats.Timeouts()
	m.Connections, m.Connected, m.Unconnected = b.State.Conns.Open(), b.State.Conns.Made(), b.State.Conns.Unmade()
	if l := b.State.Limit(); l != nil {
		m.Limit = l.Now()
	}
	if p := b.State.LastProbe(); p != nil && p.Latency > 0 { // else others have probed
		m.Probed, m.ProbeTime = true, p.Latency
	}
	return m
}

func observeBreaker(s breaker.State) metrics.BreakerState {
	switch s {
	case breaker.Open:
		return metrics.BreakerOpen
	case breaker.HalfOpen:
		return metrics.BreakerHalfOpen
	}
	return metrics.BreakerClosed
}

// observeCounts reads counters by way of r, which the result refers to.
func observeCounts(s *backend.Stats, r *backend.Snapshot) metrics.Counts {
	*r = s.Read()
	return metrics.Counts{
		Codes: r.Codes, Latency: metrics.Histogram{Buckets: r.Buckets[:], Sum: r.Sum},
		Retries: r.Retries, Sessions: r.Sessions,
	}
}

// observeHedges are nil for a service that never had any and is not to.
func observeHedges(svc *routing.Service, r *backend.Snapshot) map[string]uint64 {
	if svc.Policy.Hedge.Percentile == 0 && r.Hedges == [len(r.Hedges)]uint64{} {
		return nil
	}
	all := make(map[string]uint64, len(r.Hedges))
	for i, n := range r.Hedges {
		all[backend.HedgeOutcome(i).String()] = n
	}
	return all
}

// observeCodes and observeReasons are the words that sources are counted under. All are shown from the start, as 0, so
// that a rate sees the first.
var (
	observeCodes = []string{
		discovery.CodeBadName, discovery.CodeBadKey, discovery.CodeBadValue, discovery.CodeTooLarge, discovery.CodeBadURL,
		discovery.CodeBadWeight, discovery.CodeBadPolicy, discovery.CodeBadRoute, discovery.CodeBadOption, discovery.CodeDuplicate,
		discovery.CodeDisagree,
	}
	observeReasons = []string{"start", "compaction", "reconnect", "index-reset", "changed"}
)

func observeSource(s *routing.SourceStatus) metrics.Source {
	ended := make(map[string]uint64, len(routing.HeldReasons))
	for i, reason := range routing.HeldReasons {
		ended[reason] = s.Guard.Ended[i]
	}
	return metrics.Source{
		Guard: metrics.Guard{
			Holding: !s.Guard.Since.IsZero(), Held: s.Guard.Held, Incidents: s.Guard.Incidents, Ended: ended,
		},
		Differences: s.Differences, Restored: s.Restored,
		Name: s.Name, Up: s.Up, Synced: s.Synced, Services: s.Services, Backends: s.Backends, Routes: s.Routes,
		Problems: len(s.Problems), Stale: s.StaleItems, Rejected: observeWords(observeCodes, s.Rejected), Resyncs: observeWords(observeReasons, s.Resyncs),
	}
}

// observeWords is the counters with a 0 for every word that they lack.
func observeWords(words []string, counters map[string]uint64) map[string]uint64 {
	out := make(map[string]uint64, len(words)+len(counters))
	for _, w := range words {
		out[w] = 0
	}
	for w, n := range counters {
		out[w] = n
	}
	return out
}

// observed is what f returns, the zero value if f is nil.
func observed[T any](f func() T) (v T) {
	if f != nil {
		v = f()
	}
	return v
}
