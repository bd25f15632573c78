// Package backend holds the one mutable record of each backend: what is under way, how it answers, whether it is
// healthy, its breaker and its drain. Records outlive routing tables, which share them by pointer, so that a rebuilt
// table resets nothing.
package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
)

// Key is the identity of a backend. A backend whose URL changed is another one: nothing known of the old address
// holds for the new.
type Key struct {
	Service string
	ID      string
	URL     string
}

// Health is the verdict of active probes.
type Health int32

// The verdicts. An unprobed backend counts as Up; one that is to be probed before it is used as Probing until then.
const (
	Up Health = iota
	Down
	Probing
)

// String is "up", "down" or "probing".
func (h Health) String() string {
	switch h {
	case Down:
		return "down"
	case Probing:
		return "probing"
	}
	return "up"
}

// State is the record of one backend. All methods may be called concurrently; those on the way of an exchange
// ([State.Begin], [State.End], [State.Available]) take no lock and allocate nothing.
type State struct {
	key Key

	// Breaker is never nil; its options follow the service's policy.
	Breaker *breaker.Breaker
	// Stats are the counters of what the backend was asked and how it answered.
	Stats Stats
	// Seats bound the attempts under way, where the service's policy says so.
	Seats Seats
	// Conns count the connections there are.
	Conns Conns
	// Latency is how long the backend takes to answer, for pickers.
	Latency balance.Latency

	avoid    avoidance
	inFlight atomic.Int64
	health   atomic.Int32
	draining atomic.Bool
	failing  atomic.Bool
	retired  atomic.Bool
	outlier  atomic.Pointer[breaker.Outlier]
	limit    atomic.Pointer[breaker.Limit]
	// ejections counts those as an outlier.
	ejections atomic.Uint64
	events    lazy[events]

	// probe is the last probe's result, for people to read.
	probe atomic.Pointer[ProbeResult]

	// changed is called after Health, Draining or the breaker's state changed, until the backend is retired. It is set
	// by New and nil for none.
	changed func(*State)

	retiring lazy[retiring]
	breaker  breaker.Breaker // what Breaker points to
}

// retiring is what is to be done when the record leaves the table.
type retiring struct {
	mu sync.Mutex // orders OnRetire and Retire
	fs []func()   // guarded by mu; nil once retired
}

// ProbeResult is the outcome of one probe.
type ProbeResult struct {
	At      time.Time
	Latency time.Duration
	// Err is nil for a success.
	Err error
	// By names the balancers of the fleet whose probes the verdict is of; nil for this one's alone. Where this one is not
	// among them, At is when it heard of the verdict, and Latency is 0.
	By []string
}

// New returns the record of a backend that is up and idle. The function changed, which may be nil, is called after
// every change of what [State.Available] depends on, as long as the backend is in the table; it must not block, and it
// may be called concurrently. It is called outside all locks and reads what the state is by then.
func New(key Key, opts breaker.Options, changed func(*State)) *State {
	return NewUnder(key, breaker.NewRules(opts), changed)
}

// NewUnder is New with rules of the breaker that are shared.
func NewUnder(key Key, rules *breaker.Rules, changed func(*State)) *State {
	s := &State{key: key, changed: changed}
	s.Breaker = &s.breaker
	s.Breaker.Init(rules, s.breakerChanged)
	return s
}

// StartProbing has a new backend wait for its first probe. It is called before anybody else knows the record.
func (s *State) StartProbing() { s.health.Store(int32(Probing)) }

func (s *State) breakerChanged() {
	s.note(Event{At: time.Now(), What: "breaker " + s.Breaker.State(time.Now()).String()})
	s.notify()
}

// Key is the backend's identity.
func (s *State) Key() Key { return s.key }

// InFlight is the number of attempts under way.
func (s *State) InFlight() int64 { return s.inFlight.Load() }

// InFlightCounter is the counter behind [State.InFlight], for pickers that read it often. They do not write it.
func (s *State) InFlightCounter() *atomic.Int64 { return &s.inFlight }

// Begin counts an attempt that starts. Each Begin is followed by exactly one End.
func (s *State) Begin() { s.inFlight.Add(1) }

// End counts an attempt that ended.
func (s *State) End() { s.inFlight.Add(-1) }

// Health is the probes' verdict.
func (s *State) Health() Health { return Health(s.health.Load()) }

// SetHealth takes the probes' verdict.
func (s *State) SetHealth(h Health) { s.setHealth(h, nil) }

// Probed takes the result of a probe, for people to read, and the verdict that it led to.
func (s *State) Probed(h Health, r ProbeResult) { s.Judged(h, r.Err, r) }

// Judged is Probed where the verdict has a reason of its own: other balancers' probes count too.
func (s *State) Judged(h Health, why error, r ProbeResult) {
	s.probe.Store(&r)
	s.setHealth(h, why)
}

func (s *State) setHealth(h Health, why error) {
	if s.health.Swap(int32(h)) != int32(h) {
		e := Event{At: time.Now(), What: h.String()}
		if why != nil {
			e.Why = why.Error()
		}
		s.note(e)
		s.notify()
	}
}

// Failing reports whether the registry's own checks keep exchanges away.
func (s *State) Failing() bool { return s.failing.Load() }

// SetFailing takes the verdict of the registry's own checks, as far as the policy heeds it.
func (s *State) SetFailing(f bool) {
	if s.failing.Swap(f) != f {
		e := Event{At: time.Now(), What: "passing in the registry"}
		if f {
			e.What = "failing in the registry"
		}
		s.note(e)
		s.notify()
	}
}

// Draining reports whether the backend takes no new sessions and exchanges.
func (s *State) Draining() bool { return s.draining.Load() }

// SetDraining starts or ends a drain.
func (s *State) SetDraining(d bool) {
	if s.draining.Swap(d) != d {
		s.notify()
	}
}

// Serves reports whether probes and registry have the backend serve those that belong to it, drained or not.
func (s *State) Serves() bool { return Health(s.health.Load()) == Up && !s.failing.Load() }

// Available reports whether new exchanges may go to the backend as far as probes, registry, drain and breaker go. A
// half-open breaker is available; whether it admits one more exchange is asked by [breaker.Breaker.Allow].
func (s *State) Available(now time.Time) bool {
	return s.Serves() && !s.draining.Load() && s.Breaker.State(now) != breaker.Open
}

// LastProbe is the latest probe's result, nil before the first.
func (s *State) LastProbe() *ProbeResult { return s.probe.Load() }

// SetLastProbe keeps a probe's result for people to read; it changes no verdict.
func (s *State) SetLastProbe(r ProbeResult) { s.probe.Store(&r) }

// OnRetire has f called once when the backend has left the table (its idle connections are to be closed then), at once
// if it has left already.
func (s *State) OnRetire(f func()) {
	r := s.retiring.use() // before retired is read, so that Retire finds it
	r.mu.Lock()
	if !s.retired.Load() {
		r.fs = append(r.fs, f)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	f()
}

// Retired reports whether the backend has left the table.
func (s *State) Retired() bool { return s.retired.Load() }

// Retire marks the backend as gone from the table: its breaker's timer ends, no change is told any more, and what
// [State.OnRetire] was given is called. Exchanges under way finish; further calls do nothing.
func (s *State) Retire() {
	s.retired.Store(true)
	var fs []func()
	if r := s.retiring.used(); r != nil {
		r.mu.Lock()
		fs, r.fs = r.fs, nil
		r.mu.Unlock()
	}
	s.Breaker.Close()
	s.stopAvoiding()
	for _, f := range fs {
		f()
	}
}

func (s *State) notify() {
	if s.changed != nil && !s.retired.Load() {
		s.changed(s)
	}
}
