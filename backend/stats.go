package backend

import (
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the latency histogram's buckets; one more bucket takes what is above.
var LatencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Stats count what was asked and how it was answered, of a backend (attempts) or a service (exchanges). The zero value
// is ready; all methods may be called concurrently. What nothing was asked of takes no memory for it: in a great table
// that is most.
type Stats struct{ lazy[counters] }

type counters struct {
	codes    [6]atomic.Uint64 // by first digit of the status; 0 counts what got no answer at all
	buckets  [len(LatencyBounds) + 1]atomic.Uint64
	nanos    atomic.Int64
	retries  atomic.Uint64
	sessions atomic.Uint64
	beaten   atomic.Uint64
	hedges   [hedgeOutcomes]atomic.Uint64
}

// HedgeOutcome is what became of a second attempt that was to be made while the first kept an exchange waiting.
type HedgeOutcome uint8

// The outcomes.
const (
	// HedgeWon: its response was taken.
	HedgeWon HedgeOutcome = iota
	// HedgeLost: the response of the first attempt was.
	HedgeLost
	// HedgeNeither: neither gave one.
	HedgeNeither
	// HedgeOverBudget: it was not made, since the retry budget was used up.
	HedgeOverBudget
	// HedgeNoBackend: it was not made, since no other backend had room and admitted it.
	HedgeNoBackend

	hedgeOutcomes
)

// String is a stable word for the outcome.
func (o HedgeOutcome) String() string {
	return [...]string{"won", "lost", "neither", "over-budget", "no-backend"}[o]
}

// Observe counts one attempt or exchange. The code is the status that was answered, 0 for none (reset, timeout,
// refused); the latency is measured to the response head. It allocates nothing but the first time.
func (s *Stats) Observe(code int, latency time.Duration) {
	class := code / 100
	if class < 1 || class > 5 {
		class = 0
	}
	c := s.use()
	c.codes[class].Add(1)
	i := 0
	for i < len(LatencyBounds) && latency > LatencyBounds[i] {
		i++
	}
	c.buckets[i].Add(1)
	c.nanos.Add(int64(latency))
}

// AddRetry counts a retry: of an exchange, for a service; away from a backend, for a backend.
func (s *Stats) AddRetry() { s.use().retries.Add(1) }

// AddHedge counts a hedge of a service's exchange.
func (s *Stats) AddHedge(o HedgeOutcome) { s.use().hedges[o].Add(1) }

// AddBeaten counts an attempt that was given up since another backend had answered.
func (s *Stats) AddBeaten() { s.use().beaten.Add(1) }

// AddSession counts a session that was begun.
func (s *Stats) AddSession() { s.use().sessions.Add(1) }

// Snapshot is a reading of [Stats].
type Snapshot struct {
	// Codes counts by first digit of the status, index 0 what got no answer.
	Codes [6]uint64
	// Buckets counts by [LatencyBounds], not cumulated, the last what is above all.
	Buckets  [len(LatencyBounds) + 1]uint64
	Sum      time.Duration
	Retries  uint64
	Sessions uint64
	Beaten   uint64
	// Hedges counts by [HedgeOutcome].
	Hedges [hedgeOutcomes]uint64
}

// Read returns the counters now. Counters that change meanwhile may be read from before or after.
func (s *Stats) Read() Snapshot {
	var r Snapshot
	c := s.used()
	if c == nil {
		return r
	}
	for i := range c.codes {
		r.Codes[i] = c.codes[i].Load()
	}
	for i := range c.buckets {
		r.Buckets[i] = c.buckets[i].Load()
	}
	r.Sum = time.Duration(c.nanos.Load())
	r.Retries, r.Sessions = c.retries.Load(), c.sessions.Load()
	r.Beaten = c.beaten.Load()
	for i := range c.hedges {
		r.Hedges[i] = c.hedges[i].Load()
	}
	return r
}
