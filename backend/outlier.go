package backend

import (
	"time"

	"github.com/vietddude/load-balancer/breaker"
)

// Outlier is what outlier detection counts of the backend, nil unless its service has it: see [State.SetOutlier].
func (s *State) Outlier() *breaker.Outlier { return s.outlier.Load() }

// SetOutlier begins to count for outlier detection, or ends it and an ejection with it. What is counted already stays.
func (s *State) SetOutlier(on bool) {
	switch {
	case on && s.outlier.Load() == nil:
		s.outlier.CompareAndSwap(nil, &breaker.Outlier{})
	case !on && s.outlier.Load() != nil:
		if o := s.outlier.Swap(nil); o != nil && o.Release() {
			s.Released("outlier detection is off")
		}
	}
}

// Ejection is why and how long the backend is ejected as an outlier, nil if it is not.
func (s *State) Ejection() *breaker.Ejection {
	if o := s.outlier.Load(); o != nil {
		return o.Ejection()
	}
	return nil
}

// Ejections counts how often the backend was ejected.
func (s *State) Ejections() uint64 { return s.ejections.Load() }

// Ejected tells that the backend was ejected as an outlier.
func (s *State) Ejected(e *breaker.Ejection) {
	s.ejections.Add(1)
	s.note(Event{At: e.Since, What: "ejected", Why: e.Reason})
	s.notify()
}

// Released tells that an ejection has ended.
func (s *State) Released(why string) {
	s.note(Event{At: time.Now(), What: "released", Why: why})
	s.notify()
}
