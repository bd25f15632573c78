package backend

import (
	"time"

	"github.com/vietddude/load-balancer/breaker"
)

// Limit finds out how many attempts the backend can have at a time, nil unless its service asks for it.
func (s *State) Limit() *breaker.Limit { return s.limit.Load() }

// SetLimit begins to find out, ends it, or goes on under other options. What was learned stays.
func (s *State) SetLimit(o breaker.LimitOptions) {
	l := s.limit.Load()
	switch {
	case !o.Enabled() && l != nil:
		s.limit.Store(nil)
	case o.Enabled() && l == nil:
		s.limit.CompareAndSwap(nil, breaker.NewLimit(o, time.Now()))
	case o.Enabled():
		l.SetOptions(o)
	}
}

// Limited reports whether the backend has as many attempts as it can have.
func (s *State) Limited() bool {
	l := s.limit.Load()
	return l != nil && s.inFlight.Load() >= l.Now()
}
