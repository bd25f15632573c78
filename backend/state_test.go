package backend

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/breaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = Key{Service: "web", ID: "a", URL: "http://10.0.0.1:80"}

func breakIt(s *State, now time.Time) {
	p, _ := s.Breaker.Allow(now)
	s.Breaker.Done(p, now, breaker.Failure)
}

func TestANewBackendIsUpIdleAndAvailable(t *testing.T) {
	s := New(key, breaker.Options{}, nil)
	if s.Key() != key || s.Health() != Up || s.Draining() || s.Retired() || s.InFlight() != 0 || s.LastProbe() != nil {
		t.Errorf("a new record is not idle: %+v", s)
	}
	if !s.Available(time.Now()) {
		t.Error("a new backend is not available")
	}
}

func TestAvailableOnlyWhileUpUndrainedAndUnbroken(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct{ spoil, mend func(*State) }{
		"down":     {func(s *State) { s.SetHealth(Down) }, func(s *State) { s.SetHealth(Up) }},
		"draining": {func(s *State) { s.SetDraining(true) }, func(s *State) { s.SetDraining(false) }},
		"broken":   {func(s *State) { breakIt(s, now) }, func(s *State) { s.Breaker.SetOptions(breaker.Options{}) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(key, breaker.Options{FailureThreshold: 1}, nil)
			defer s.Retire()
			if c.spoil(s); s.Available(now) {
				t.Error("available")
			}
			if c.mend(s); !s.Available(now) {
				t.Error("not available after it was mended")
			}
		})
	}
}

func TestAHalfOpenBreakerIsAvailable(t *testing.T) {
	s := New(key, breaker.Options{FailureThreshold: 1, ResetTimeout: time.Minute}, nil)
	defer s.Retire()
	now := time.Now()
	breakIt(s, now)
	if s.Available(now.Add(time.Minute - 1)) {
		t.Error("available before the reset timeout")
	}
	if !s.Available(now.Add(time.Minute)) {
		t.Error("not available after the reset timeout")
	}
}

func TestChangesAreToldOnceEachAndRepetitionsNotAtAll(t *testing.T) {
	var told []*State
	s := New(key, breaker.Options{FailureThreshold: 1}, func(s *State) { told = append(told, s) })
	defer s.Retire()
	steps := []struct {
		name string
		do   func()
		want int
	}{
		{"up again", func() { s.SetHealth(Up) }, 0},
		{"down", func() { s.SetHealth(Down) }, 1},
		{"down again", func() { s.SetHealth(Down) }, 1},
		{"up", func() { s.SetHealth(Up) }, 2},
		{"draining", func() { s.SetDraining(true) }, 3},
		{"draining again", func() { s.SetDraining(true) }, 3},
		{"drain ended", func() { s.SetDraining(false) }, 4},
		{"breaker opened", func() { breakIt(s, time.Now()) }, 5},
		{"a probe's result", func() { s.SetLastProbe(ProbeResult{Err: errors.New("refused")}) }, 5},
	}
	for _, step := range steps {
		if step.do(); len(told) != step.want {
			t.Errorf("%s: told %d times so far, want %d", step.name, len(told), step.want)
		}
	}
	for _, got := range told {
		if got != s {
			t.Error("told of another record")
		}
	}
}

func TestTheBreakersTimeoutIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		s := New(key, breaker.Options{FailureThreshold: 1, ResetTimeout: time.Minute}, func(*State) { told.Add(1) })
		defer s.Retire()
		breakIt(s, time.Now())
		time.Sleep(time.Minute)
		synctest.Wait()
		if told.Load() != 2 || !s.Available(time.Now()) {
			t.Errorf("told %d times, want 2: opened, half-open", told.Load())
		}
	})
}

func TestRetireStopsTheBreakersTimerAndAllTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		s := New(key, breaker.Options{FailureThreshold: 1, ResetTimeout: time.Minute}, func(*State) { told.Add(1) })
		breakIt(s, time.Now())
		s.Retire()
		s.SetHealth(Down)
		s.SetDraining(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if told.Load() != 1 {
			t.Errorf("told %d times, want only the one before it was retired", told.Load())
		}
		if s.Health() != Down || !s.Draining() {
			t.Error("a retired record no longer keeps what it is told")
		}
	})
}

func TestRetireCallsWhatWasAskedForOnceAndLateComersAtOnce(t *testing.T) {
	s := New(key, breaker.Options{}, nil)
	var calls []string
	s.OnRetire(func() { calls = append(calls, "first") })
	s.OnRetire(func() {
		calls = append(calls, "second")
		s.OnRetire(func() { calls = append(calls, "from within") })
	})
	s.Retire()
	s.Retire()
	s.OnRetire(func() { calls = append(calls, "late") })
	want := []string{"first", "second", "from within", "late"}
	if len(calls) != len(want) {
		t.Fatalf("called %v, want %v", calls, want)
	}
	for i := range want {
		if calls[i] != want[i] {
			t.Fatalf("called %v, want %v", calls, want)
		}
	}
	if !s.Retired() {
		t.Error("not retired")
	}
}

func TestWhatRaceWithRetireIsCalledExactlyOnce(t *testing.T) {
	for range 200 {
		s := New(key, breaker.Options{}, nil)
		var calls atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { s.OnRetire(func() { calls.Add(1) }) })
			wg.Go(s.Retire)
		}
		wg.Wait()
		if n := calls.Load(); n != 4 {
			t.Fatalf("%d calls, want 4", n)
		}
	}
}

func TestConcurrentExchangesProbesAndDrainsEndBalanced(t *testing.T) {
	var told atomic.Int64
	s := New(key, breaker.Options{FailureThreshold: 3, ResetTimeout: time.Microsecond}, func(s *State) {
		s.Available(time.Now())
		told.Add(1)
	})
	defer s.Retire()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2_000 {
				s.Begin()
				now := time.Now()
				if p, ok := s.Breaker.Allow(now); ok {
					s.Breaker.Done(p, now, breaker.Outcome((i/3+g)%3))
				}
				s.Stats.Observe(200+100*(i%4), time.Duration(i)*time.Microsecond)
				s.Available(now)
				s.End()
			}
		})
		wg.Go(func() {
			for i := range 500 {
				s.SetHealth(Health(i % 2))
				s.SetDraining(i%2 == 0)
				s.SetLastProbe(ProbeResult{At: time.Now()})
				_ = s.LastProbe().At
			}
		})
	}
	wg.Wait()
	if n := s.InFlight(); n != 0 {
		t.Errorf("%d attempts under way after all have ended", n)
	}
	if told.Load() == 0 {
		t.Error("no change was told")
	}
}

func TestInFlightCounterIsTheCounterOfBeginAndEnd(t *testing.T) {
	s := New(key, breaker.Options{}, nil)
	s.Begin()
	s.Begin()
	s.End()
	if s.InFlight() != 1 || s.InFlightCounter().Load() != 1 {
		t.Errorf("%d and %d under way, want 1", s.InFlight(), s.InFlightCounter().Load())
	}
}

func TestTheWayOfAnExchangeDoesNotAllocate(t *testing.T) {
	s := New(key, breaker.Options{FailureThreshold: 3}, nil)
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		s.Begin()
		s.Available(now)
		s.Stats.Observe(200, time.Millisecond)
		s.End()
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestHealthSpeaksForPeople(t *testing.T) {
	if Up.String() != "up" || Down.String() != "down" {
		t.Errorf("%v and %v, want up and down", Up, Down)
	}
}

func BenchmarkExchange(b *testing.B) {
	s := New(key, breaker.Options{FailureThreshold: 3}, nil)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		s.Begin()
		s.Available(now)
		s.Stats.Observe(200, 3*time.Millisecond)
		s.End()
	}
}
