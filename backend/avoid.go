package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/internal/steady"
)

// How long a backend that could not be connected to is avoided: at first, and at most.
const (
	AvoidMin = time.Second
	AvoidMax = 10 * time.Second
)

// avoidance keeps exchanges from a backend to which no connection could be made. It is there before probes and the
// source have noticed, and where there are no probes; a breaker counts answers, which such a backend gives none of.
// Where all of a service's backends are avoided, none is.
type avoidance struct {
	// until is the time to which the backend is avoided, as [steady.Nanos] has it; 0 if it was reached since.
	until atomic.Int64
	turns lazy[avoidTurns]
}

// avoidTurns are how avoidances follow one another.
type avoidTurns struct {
	mu    sync.Mutex
	wait  time.Duration // guarded by mu: the length of the last avoidance
	timer *time.Timer   // guarded by mu: tells when the time has passed
}

// Unreachable tells that no connection could be made. The backend is avoided for a second; if the first exchange after
// that cannot connect either for two, and so on to ten.
func (s *State) Unreachable(now time.Time) {
	if s.unreached(now) {
		return
	}
	a := s.avoid.turns.use() // before retired is read, so that who retires the record finds it
	a.mu.Lock()
	if s.unreached(now) || s.retired.Load() {
		a.mu.Unlock()
		return
	}
	a.wait = min(max(2*a.wait, AvoidMin), AvoidMax)
	s.avoid.until.Store(steady.Nanos(now.Add(a.wait)))
	if a.timer != nil {
		a.timer.Stop()
	}
	a.timer = time.AfterFunc(a.wait, s.notify)
	a.mu.Unlock()
	s.notify()
}

// Reached tells that a connection was made; it costs little for a backend that always is.
func (s *State) Reached() {
	if s.avoid.until.Load() == 0 {
		return
	}
	s.stopAvoiding()
	s.notify()
}

// Avoided reports whether the backend could not be connected to a moment ago, or is ejected as an outlier: it takes new
// exchanges only where the service has no others.
func (s *State) Avoided(now time.Time) bool { return s.unreached(now) || s.Ejection() != nil }

func (s *State) unreached(now time.Time) bool {
	until := s.avoid.until.Load()
	return until != 0 && steady.Nanos(now) < until
}

func (s *State) stopAvoiding() {
	a := s.avoid.turns.used()
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.avoid.until.Store(0)
	a.wait = 0
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}
