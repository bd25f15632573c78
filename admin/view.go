package admin

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// tableView is the answer of /api/v1/table.
type tableView struct {
	Generation uint64 `json:"generation"`
	// Fingerprint is equal for balancers that route alike.
	Fingerprint string    `json:"fingerprint"`
	Time        time.Time `json:"time"`
	Version     string    `json:"version"`
	Ready       bool      `json:"ready"`
	Checks      []Check   `json:"checks"`
	// Counts are of the whole table, Matched of what passed the filter, before the limit.
	Counts   counts              `json:"counts"`
	Matched  counts              `json:"matched"`
	Services []serviceView       `json:"services"`
	Routes   []routeView         `json:"routes"`
	Sources  []sourceView        `json:"sources"`
	Problems []discovery.Problem `json:"problems"`
	// Stale are the items whose state in their store is not known now.
	Stale []staleView `json:"stale"`
}

// staleView is a stale item and the source that announces it.
type staleView struct {
	Source string `json:"source"`
	routing.StaleItem
}

type counts struct {
	Services      int `json:"services"`
	Backends      int `json:"backends"`
	BackendsReady int `json:"backends_ready"`
	Routes        int `json:"routes"`
	Problems      int `json:"problems"`
}

type serviceView struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Ready     int    `json:"ready"`
	Total     int    `json:"total"`
	// Panic says that too few are ready, so that those that are not take part too.
	Panic bool `json:"panic,omitempty"`
	// Subset is how many backends this balancer uses, if not all.
	Subset int `json:"subset,omitempty"`
	// ZoneRequests counts attempts by the zone of the backend, if any has one.
	ZoneRequests map[string]uint64 `json:"zone_requests,omitempty"`
	Requests     map[string]uint64 `json:"requests"`
	Retries      uint64            `json:"retries"`
	// Hedges counts second attempts by what became of them, if there ever was one.
	Hedges   map[string]uint64 `json:"hedges,omitempty"`
	Sessions uint64            `json:"sessions"`
	// Past reports whether nothing announces the service any more; it answers 503 until it is forgotten.
	Past     bool          `json:"past,omitempty"`
	Policy   *policyView   `json:"policy,omitempty"`
	Backends []backendView `json:"backends"`
}

type backendView struct {
	ID   string `json:"id"`
	URL  string `json:"url"`
	Zone string `json:"zone,omitempty"`
	// State is the one word that tells most: see stateOf.
	State    string `json:"state"`
	Ready    bool   `json:"ready"`
	Health   string `json:"health"`
	Breaker  string `json:"breaker"`
	Draining bool   `json:"draining"`
	Disabled bool   `json:"disabled,omitempty"`
	// Held reports whether no source announces the backend any more, and a guard holds it.
	Held   bool `json:"held,omitempty"`
	Weight int  `json:"weight"`
	// WeightInForce is the weight relative to the other backends' while zones or a slow start change it.
	WeightInForce *int  `json:"weight_in_force,omitempty"`
	InFlight      int64 `json:"in_flight"`
	// Queued are those in flight that wait for their turn; Connections are open to the backend, idle ones included.
	Queued      int64             `json:"queued"`
	Connections int64             `json:"connections"`
	Requests    map[string]uint64 `json:"requests"`
	Retries     uint64            `json:"retries"`
	Sessions    uint64            `json:"sessions"`
	LastProbe   *probeView        `json:"last_probe,omitempty"`
	Ejection    *ejectionView     `json:"ejection,omitempty"`
	// ConcurrencyLimit is how many attempts adaptive concurrency lets through at a time.
	ConcurrencyLimit int64 `json:"concurrency_limit,omitempty"`
	// Events are the last changes of what is thought of the backend, the latest first.
	Events  []eventView       `json:"events,omitempty"`
	Sources []string          `json:"sources"`
	Meta    map[string]string `json:"meta,omitempty"`
}

type probeView struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
	// By are the balancers whose shared probes the verdict is of.
	By []string `json:"by,omitempty"`
}

// ejectionView is an ejection as an outlier that lasts now.
type ejectionView struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

type eventView struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
}

type routeView struct {
	Name        string            `json:"name"`
	Source      string            `json:"source"`
	Host        string            `json:"host,omitempty"`
	Path        string            `json:"path,omitempty"`
	Method      string            `json:"method,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	StripPrefix string            `json:"strip_prefix,omitempty"`
	Service     string            `json:"service"`
	Requests    uint64            `json:"requests"`
}

type sourceView struct {
	Name     string     `json:"name"`
	Up       bool       `json:"up"`
	Error    string     `json:"error,omitempty"`
	Synced   *time.Time `json:"last_sync,omitempty"`
	Services int        `json:"services"`
	Backends int        `json:"backends"`
	Routes   int        `json:"routes"`
	Problems int        `json:"problems"`
	Stale    int        `json:"stale"`
	// Staleness is the time since the source was last known to be in step, or since the start, in seconds.
	Staleness float64           `json:"staleness_seconds"`
	Resyncs   map[string]uint64 `json:"resyncs"`
	Rejected  map[string]uint64 `json:"rejected"`
	// Restored reports whether what is in force is from the snapshot on disk.
	Restored bool `json:"from_snapshot,omitempty"`
	// Guard is what is held back; absent while nothing is.
	Guard *guardView `json:"guard,omitempty"`
	// Differences counts what the source says otherwise than the one that counts, where it is shadowed.
	Differences int `json:"differences,omitempty"`
}

// States of a backend, by what keeps exchanges away first.
const (
	stateReady       = "ready"
	stateTrial       = "half-open" // ready, for trial exchanges
	stateDraining    = "draining"  // an operator or the source asked for it
	stateDisabled    = "disabled"  // an operator keeps everything from it
	stateDown        = "down"      // the probes fail
	stateProbing     = "probing"   // waits for its first probe
	stateFailing     = "failing"   // the registry's own checks fail
	stateEjected     = "ejected"   // an outlier
	stateOpen        = "open"      // the breaker refuses
	stateZeroWeight  = "weight-0"  // nothing new by its weight
	stateUnavailable = "not ready" // not taken up yet
)

// readyStates tells which backends take new exchanges, those left out that do so only in a panic. The ready set may be of an earlier table, so it is the records, which
// tables share, that are compared.
func readyStates(s *routing.Service) map[*backend.State]bool {
	set := map[*backend.State]bool{}
	if r := s.Runtime.Ready(); r != nil {
		for _, b := range r.Healthy {
			set[b.State] = true
		}
	}
	return set
}

func stateOf(b *routing.Backend, ready bool, now time.Time) string {
	switch st := b.State.Breaker.State(now); {
	case ready && st == breaker.HalfOpen:
		return stateTrial
	case ready:
		return stateReady
	case b.Disabled:
		return stateDisabled
	case b.Draining || b.State.Draining():
		return stateDraining
	case b.State.Failing():
		return stateFailing
	case b.State.Health() == backend.Down:
		return stateDown
	case b.State.Health() == backend.Probing:
		return stateProbing
	case st == breaker.Open:
		return stateOpen
	case b.Weight == 0:
		return stateZeroWeight
	case b.State.Ejection() != nil:
		return stateEjected
	}
	return stateUnavailable
}

func viewBackend(b *routing.Backend, ready bool, now time.Time) backendView {
	n := b.State.Stats.Read()
	v := backendView{
		ID: b.ID, URL: b.URL, Zone: b.Zone, State: stateOf(b, ready, now), Ready: ready,
		Health: b.State.Health().String(), Breaker: b.State.Breaker.State(now).String(),
		Draining: b.Draining || b.State.Draining(), Disabled: b.Disabled, Weight: b.Weight, InFlight: b.State.InFlight(), Held: b.Held,
		Queued: b.State.Seats.Waiting(), Connections: b.State.Conns.Open(),
		Requests: classes(n.Codes), Retries: n.Retries, Sessions: n.Sessions,
		Sources: append([]string{}, b.Sources...), Meta: b.Meta,
	}
	if e := b.State.Ejection(); e != nil {
		v.Ejection = &ejectionView{e.Since, e.Until, e.Reason}
	}
	if l := b.State.Limit(); l != nil {
		v.ConcurrencyLimit = l.Now()
	}
	for _, e := range b.State.Events() {
		v.Events = append(v.Events, eventView(e))
	}
	if p := b.State.LastProbe(); p != nil {
		v.LastProbe = &probeView{At: p.At, Seconds: p.Latency.Seconds(), By: p.By}
		if p.Err != nil {
			v.LastProbe.Error = p.Err.Error()
		}
	}
	return v
}

// viewService shows a service without backends.
func viewService(s *routing.Service) serviceView {
	n := s.Runtime.Stats.Read()
	v := serviceView{
		Name: s.Name, Algorithm: string(s.Policy.Algorithm), Total: len(s.Backends), Requests: classes(n.Codes),
		Retries: n.Retries, Sessions: n.Sessions, Past: s.Past, Backends: []backendView{},
		Panic: s.Runtime.Ready().Panic,
	}
	for i, k := range n.Hedges {
		if k > 0 {
			if v.Hedges == nil {
				v.Hedges = make(map[string]uint64)
			}
			v.Hedges[backend.HedgeOutcome(i).String()] = k
		}
	}
	if used := s.Runtime.Members(); used < len(s.Backends) {
		v.Subset = used
	}
	if zones := s.Runtime.ZoneRequests(); len(zones) > 1 || len(zones) == 1 && zones[""] == 0 {
		v.ZoneRequests = zones
	}
	return v
}

// weightsInForce are those of backends in the ready set where they are not the backends' own.
func weightsInForce(s *routing.Service) map[*backend.State]int {
	r := s.Runtime.Ready()
	if !r.Weighed() {
		return nil
	}
	out := make(map[*backend.State]int, len(r.Backends))
	for i, b := range r.Backends {
		out[b.State] = r.Weight(i)
	}
	return out
}

func (v backendView) weighed(b *routing.Backend, weights map[*backend.State]int) backendView {
	if w, ok := weights[b.State]; ok {
		v.WeightInForce = &w
	}
	return v
}

func viewRoute(r *routing.Route) routeView {
	v := routeView{
		Name: r.Name, Source: r.Source, Host: r.Host, Path: r.Path, Method: r.Method, Headers: r.Headers,
		StripPrefix: r.StripPrefix, Service: r.Service,
	}
	if r.Target != nil {
		v.Service = r.Target.Name
	}
	if r.Requests != nil {
		v.Requests = r.Requests.Load()
	}
	return v
}

func viewSources(status routing.Status, now time.Time) []sourceView {
	out := make([]sourceView, 0, len(status.Sources))
	for _, s := range status.Sources {
		v := sourceView{
			Name: s.Name, Up: s.Up, Services: s.Services, Backends: s.Backends, Routes: s.Routes, Problems: len(s.Problems),
			Stale: s.StaleItems, Staleness: s.Staleness(now, status.Made).Seconds(), Resyncs: s.Resyncs, Rejected: s.Rejected,
			Restored: s.Restored, Guard: viewGuard(s.Guard), Differences: s.Differences,
		}
		if s.Err != nil {
			v.Error = s.Err.Error()
		}
		if !s.Synced.IsZero() {
			v.Synced = &s.Synced
		}
		out = append(out, v)
	}
	return out
}

// staleItems are those of all sources.
func staleItems(status routing.Status) []staleView {
	out := []staleView{}
	for _, s := range status.Sources {
		for _, item := range s.Stale {
			out = append(out, staleView{s.Name, item})
		}
	}
	return out
}

// problems are those of the sources and those of the table, each once.
func problems(t *routing.Table, status routing.Status) []discovery.Problem {
	seen := map[discovery.Problem]bool{}
	out := []discovery.Problem{}
	add := func(ps []discovery.Problem) {
		for _, p := range ps {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	for _, s := range status.Sources {
		add(s.Problems)
	}
	add(t.Problems())
	slices.SortStableFunc(out, func(a, b discovery.Problem) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// classes names counters by class of status, those that count nothing left out.
func classes(codes [6]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for i, name := range [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if codes[i] > 0 {
			out[name] = codes[i]
		}
	}
	return out
}

// contains reports whether any of the texts has the part, whatever the case; the part is in lower case.
func contains(part string, texts ...string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), part) })
}
