package backend

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/breaker"
)

func TestABackendThatIsToBeProbedFirstIsNotAvailableUntilThen(t *testing.T) {
	s := New(key, breaker.Options{}, nil)
	s.StartProbing()
	if s.Available(time.Now()) || s.Serves() || s.Health() != Probing || s.Health().String() != "probing" {
		t.Error("available before its first probe")
	}
	s.Probed(Up, ProbeResult{})
	if !s.Available(time.Now()) {
		t.Error("not available after its first probe")
	}
}

func TestABackendThatFailsInItsRegistryIsNotAvailable(t *testing.T) {
	told := 0
	s := New(key, breaker.Options{}, func(*State) { told++ })
	s.SetFailing(true)
	s.SetFailing(true)
	if s.Available(time.Now()) || s.Serves() || !s.Failing() {
		t.Error("available")
	}
	s.SetFailing(false)
	if !s.Available(time.Now()) || told != 2 {
		t.Errorf("available %v, told %d times", s.Available(time.Now()), told)
	}
}

func TestAnEjectedBackendIsAvoidedUntilReleased(t *testing.T) {
	told := 0
	s := New(key, breaker.Options{}, func(*State) { told++ })
	if s.SetOutlier(true); s.Outlier() == nil {
		t.Fatal("nothing is counted")
	}
	was := s.Outlier()
	s.SetOutlier(true)
	if s.Outlier() != was {
		t.Error("what was counted is gone")
	}
	o := breaker.OutlierOptions{ConsecutiveErrors: 1, MaxEjectionPercent: 100}
	now := time.Now()
	s.Outlier().Observe(&o, breaker.ServerError, 0)
	breaker.Judge(&o, now, []*breaker.Outlier{s.Outlier()}, false)
	s.Ejected(s.Ejection())
	if !s.Avoided(now) || !s.Available(now) {
		t.Error("an ejected backend is not avoided, or is out for good")
	}
	s.SetOutlier(false)
	if s.Avoided(now) || s.Ejection() != nil || told != 2 {
		t.Errorf("still ejected after outlier detection was turned off, or told %d times", told)
	}
}

func TestTheLastFewEventsAreKeptWithTheirReasons(t *testing.T) {
	s := New(key, breaker.Options{FailureThreshold: 1}, nil)
	defer s.Retire()
	for i := range 5 {
		s.Probed(Down, ProbeResult{Err: fmt.Errorf("error %d", i)})
		s.Probed(Down, ProbeResult{Err: errors.New("again")})
		s.Probed(Up, ProbeResult{})
	}
	breakIt(s, time.Now())
	events := s.Events()
	if len(events) != maxEvents || events[0].What != "breaker open" || events[1].What != "up" || events[2] != (Event{events[2].At, "down", "error 4"}) {
		t.Errorf("kept %+v", events)
	}
}

// judgedByAll is a record with all that can be asked for.
func judgedByAll() *State {
	s := New(key, breaker.Options{FailureThreshold: 5, FailureRate: 0.5}, nil)
	s.SetOutlier(true)
	s.SetLimit(breaker.LimitOptions{Max: 100})
	return s
}

// BenchmarkJudged is what all judges together cost an exchange.
func BenchmarkJudged(b *testing.B) {
	s := judgedByAll()
	o := breaker.OutlierOptions{ConsecutiveErrors: 5, ConsecutiveGateway: 3, SuccessRateStdev: 1.9, MaxEjectionPercent: 50}
	opts := breaker.Options{}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if !s.Serves() || s.Avoided(now) || s.Limited() {
			b.Fatal("not available")
		}
		p, _ := s.Breaker.Allow(now)
		s.Outlier().Observe(&o, 0, time.Millisecond)
		s.Limit().Observe(now, time.Millisecond, 1, 0)
		s.Breaker.Done(p, now, opts.Outcome(0))
	}
}

// BenchmarkRecord is what a backend takes in memory: as it is, and with all judges.
func BenchmarkRecord(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			New(key, breaker.Options{}, nil)
		}
	})
	b.Run("judged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			judgedByAll()
		}
	})
}
