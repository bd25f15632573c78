package backend

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vietddude/load-balancer/breaker"
)

func TestAnUnreachableBackendIsAvoidedForGrowingTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		s := New(Key{"web", "a", "http://127.0.0.1:1"}, breaker.Options{}, func(*State) { told.Add(1) })
		defer s.Retire()
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			want *= time.Second
			start := time.Now()
			s.Unreachable(start)
			s.Unreachable(start) // others that failed in the same moment lengthen nothing
			if !s.Avoided(start.Add(want - 1)) {
				t.Errorf("time %d: not avoided for %v", i, want)
			}
			time.Sleep(want)
			synctest.Wait()
			if s.Avoided(time.Now()) {
				t.Errorf("time %d: avoided for more than %v", i, want)
			}
			if told.Load() != int64(2*(i+1)) {
				t.Errorf("time %d: told of %d changes, want beginning and end of each", i, told.Load())
			}
		}
	})
}

func TestABackendThatWasReachedStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Key{"web", "a", "http://127.0.0.1:1"}, breaker.Options{}, nil)
		defer s.Retire()
		s.Unreachable(time.Now())
		time.Sleep(AvoidMin)
		s.Unreachable(time.Now())
		s.Reached()
		if s.Avoided(time.Now()) {
			t.Error("avoided although it was reached")
		}
		s.Unreachable(time.Now())
		if s.Avoided(time.Now().Add(AvoidMin)) {
			t.Error("the time did not start over at AvoidMin")
		}
	})
}

func TestARetiredBackendLeavesNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Key{"web", "a", "http://127.0.0.1:1"}, breaker.Options{}, func(s *State) {
			if s.Retired() {
				t.Error("told of a change after it was retired")
			}
		})
		s.Unreachable(time.Now())
		s.Retire()
		s.Unreachable(time.Now())
		time.Sleep(time.Minute)
	})
}
