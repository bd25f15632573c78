package breaker

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	opts  = Options{FailureThreshold: 3, ResetTimeout: 10 * time.Second, HalfOpenLimit: 2}
)

// pass lets one exchange through and ends it.
func pass(t *testing.T, b *Breaker, now time.Time, o Outcome) {
	t.Helper()
	p, ok := b.Allow(now)
	if !ok {
		t.Fatalf("refused while %v", b.State(now))
	}
	b.Done(p, now, o)
}

func trip(t *testing.T, b *Breaker, now time.Time) {
	t.Helper()
	for range opts.FailureThreshold {
		pass(t, b, now, Failure)
	}
	wantState(t, b, now, Open)
}

func wantState(t *testing.T, b *Breaker, now time.Time, want State) {
	t.Helper()
	if s := b.State(now); s != want {
		t.Fatalf("the breaker is %v, want %v", s, want)
	}
}

func newBreaker(t *testing.T, o Options, changed func()) *Breaker {
	b := New(o, changed)
	t.Cleanup(b.Close)
	return b
}

func TestOpensAtTheThresholdOfFailuresInARow(t *testing.T) {
	b := newBreaker(t, opts, nil)
	for _, o := range []Outcome{Failure, Failure, Success, Failure, Ignored, Failure} {
		pass(t, b, start, o)
		wantState(t, b, start, Closed)
	}
	pass(t, b, start, Failure)
	wantState(t, b, start, Open)
	if _, ok := b.Allow(start.Add(opts.ResetTimeout - 1)); ok {
		t.Error("an open breaker let an exchange through")
	}
}

func TestTheZeroOptionsNeverOpen(t *testing.T) {
	b := newBreaker(t, Options{}, func() { t.Error("a disabled breaker changed") })
	for range 200_000 {
		pass(t, b, start, Failure)
	}
	wantState(t, b, start, Closed)
}

func TestThresholdsBeyondTheCountersRangeStillOpen(t *testing.T) {
	b := newBreaker(t, Options{FailureThreshold: 1 << 30}, nil)
	for range maxCount - 1 {
		pass(t, b, start, Failure)
	}
	wantState(t, b, start, Closed)
	pass(t, b, start, Failure)
	wantState(t, b, start, Open)
}

func TestHalfOpenLetsExactlyItsLimitThroughAndClosesAfterAsManySuccesses(t *testing.T) {
	b := newBreaker(t, opts, nil)
	trip(t, b, start)
	now := start.Add(opts.ResetTimeout)
	wantState(t, b, now, HalfOpen)
	first, _ := b.Allow(now)
	second, ok := b.Allow(now)
	if !ok {
		t.Fatal("the second trial of two was refused")
	}
	if _, ok := b.Allow(now); ok {
		t.Fatal("a third trial was let through")
	}
	b.Done(first, now, Success)
	wantState(t, b, now, HalfOpen)
	third, ok := b.Allow(now)
	if !ok {
		t.Fatal("the slot of a trial that ended was not given out again")
	}
	b.Done(second, now, Success)
	wantState(t, b, now, Closed)
	b.Done(third, now, Failure)
	pass(t, b, now, Failure)
	pass(t, b, now, Failure)
	wantState(t, b, now, Closed) // the late trial's failure was of an earlier generation
}

func TestOneFailedTrialOpensAgainForTheWholeResetTimeout(t *testing.T) {
	b := newBreaker(t, opts, nil)
	trip(t, b, start)
	now := start.Add(opts.ResetTimeout)
	pass(t, b, now, Success)
	pass(t, b, now, Failure)
	wantState(t, b, now.Add(opts.ResetTimeout-1), Open)
	wantState(t, b, now.Add(opts.ResetTimeout), HalfOpen)
}

func TestAnIgnoredTrialGivesItsSlotBackAndCountsNothing(t *testing.T) {
	b := newBreaker(t, opts, nil)
	trip(t, b, start)
	now := start.Add(opts.ResetTimeout)
	for range 10 {
		pass(t, b, now, Ignored)
		wantState(t, b, now, HalfOpen)
	}
	pass(t, b, now, Success)
	wantState(t, b, now, HalfOpen)
	pass(t, b, now, Success)
	wantState(t, b, now, Closed)
}

func TestOutcomesOfAnEarlierGenerationAreDropped(t *testing.T) {
	b := newBreaker(t, opts, nil)
	var before []Permit
	for range 5 {
		p, _ := b.Allow(start)
		before = append(before, p)
	}
	trip(t, b, start)
	b.Done(before[0], start, Success)
	wantState(t, b, start, Open)
	now := start.Add(opts.ResetTimeout)
	pass(t, b, now, Success)
	b.Done(before[1], now, Success)
	wantState(t, b, now, HalfOpen) // one success of two, the other was of the closed time
	b.Done(before[2], now, Failure)
	wantState(t, b, now, HalfOpen)
	pass(t, b, now, Success)
	for _, p := range before[3:] {
		b.Done(p, now, Failure)
	}
	pass(t, b, now, Failure)
	wantState(t, b, now, Closed)
}

func TestTrialsOfAnEarlierHalfOpenTimeHoldTheirSlotsUntilTheyEnd(t *testing.T) {
	b := newBreaker(t, opts, nil)
	trip(t, b, start)
	now := start.Add(opts.ResetTimeout)
	slow, _ := b.Allow(now)
	pass(t, b, now, Failure)
	now = now.Add(opts.ResetTimeout)
	p, ok := b.Allow(now)
	if !ok {
		t.Fatal("refused with one of two slots free")
	}
	if _, ok := b.Allow(now); ok {
		t.Fatal("three trials are under way, want two")
	}
	b.Done(slow, now, Failure)
	wantState(t, b, now, HalfOpen)
	if _, ok := b.Allow(now); !ok {
		t.Fatal("the slot of the dropped outcome was not given back")
	}
	b.Done(p, now, Success)
}

func TestSetOptionsAppliesNewThresholdsToTheCountsThatStand(t *testing.T) {
	b := newBreaker(t, opts, nil)
	pass(t, b, start, Failure)
	pass(t, b, start, Failure)
	b.SetOptions(Options{FailureThreshold: 5})
	pass(t, b, start, Failure)
	wantState(t, b, start, Closed)
	b.SetOptions(Options{FailureThreshold: 2})
	wantState(t, b, start, Closed)
	pass(t, b, start, Failure)
	wantState(t, b, start, Open)
}

func TestSetOptionsMovesTheEndOfAnOpenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b := newBreaker(t, opts, nil)
		trip(t, b, start)
		o := opts
		o.ResetTimeout = time.Minute
		b.SetOptions(o)
		wantState(t, b, start.Add(time.Minute-1), Open)
		wantState(t, b, start.Add(time.Minute), HalfOpen)
	})
}

func TestDisablingClosesAnOpenBreaker(t *testing.T) {
	var changes int
	b := newBreaker(t, opts, func() { changes++ })
	trip(t, b, start)
	b.SetOptions(Options{})
	wantState(t, b, start, Closed)
	if changes != 2 {
		t.Errorf("told of %d changes, want 2: opened, closed", changes)
	}
}

func TestTheEndOfTheResetTimeoutIsToldWhenItHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var told []time.Duration
		var b *Breaker
		b = New(opts, func() {
			told = append(told, time.Since(began))
			b.State(time.Now()) // no lock is held
			b.SetOptions(opts)
		})
		defer b.Close()
		time.Sleep(time.Second)
		trip(t, b, time.Now())
		time.Sleep(opts.ResetTimeout)
		synctest.Wait()
		wantState(t, b, time.Now(), HalfOpen)
		pass(t, b, time.Now(), Success)
		pass(t, b, time.Now(), Success)
		want := []time.Duration{time.Second, time.Second + opts.ResetTimeout, time.Second + opts.ResetTimeout}
		if len(told) != 3 || told[0] != want[0] || told[1] != want[1] || told[2] != want[2] {
			t.Errorf("changes told at %v, want %v", told, want)
		}
	})
}

func TestAMovedResetTimeoutMovesTheTimer(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 3 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var told atomic.Int32
			b := New(opts, func() { told.Add(1) })
			defer b.Close()
			trip(t, b, time.Now())
			time.Sleep(2 * time.Second)
			o := opts
			o.ResetTimeout = timeout
			b.SetOptions(o)
			time.Sleep(timeout - 2*time.Second - time.Nanosecond)
			synctest.Wait()
			if n := told.Load(); timeout > 2*time.Second && n != 1 {
				t.Errorf("told %d changes before the new timeout of %v, want 1", n, timeout)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if n := told.Load(); n != 2 {
				t.Errorf("told %d changes at the new timeout of %v, want 2", n, timeout)
			}
			wantState(t, b, time.Now(), HalfOpen)
		})
	}
}

func TestCloseStopsTheTimerAndTheCallsButNotTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		b := New(opts, func() { told.Add(1) })
		trip(t, b, time.Now())
		b.Close()
		time.Sleep(2 * opts.ResetTimeout)
		synctest.Wait()
		wantState(t, b, time.Now(), HalfOpen)
		pass(t, b, time.Now(), Failure)
		wantState(t, b, time.Now(), Open)
		if n := told.Load(); n != 1 {
			t.Errorf("told of %d changes, want only the one before Close", n)
		}
		b.Close()
	})
}

func TestTrialsThatDoNotEndLetOneThroughForEachResetTimeout(t *testing.T) {
	b := newBreaker(t, opts, nil)
	trip(t, b, start)
	now := start.Add(opts.ResetTimeout)
	// admitted is how many of many that ask in the same moment are let through.
	admitted := func() int {
		var n atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if _, ok := b.Allow(now); ok {
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return int(n.Load())
	}
	if n := admitted(); n != opts.HalfOpenLimit {
		t.Fatalf("%d trials at first, want the limit of %d", n, opts.HalfOpenLimit)
	}
	now = now.Add(opts.ResetTimeout - 1)
	if n := admitted(); n != 0 {
		t.Errorf("%d more trials before the reset timeout", n)
	}
	for range opts.HalfOpenLimit {
		now = now.Add(opts.ResetTimeout)
		p, ok := b.Allow(now)
		if n := admitted(); !ok || n != 0 {
			t.Fatalf("after the reset timeout let through: %v, and %d more; want one", ok, n)
		}
		b.Done(p, now, Success)
	}
	wantState(t, b, now, Closed)
}

// TestConcurrentUseLosesNoSlot is for the race detector, and for what must hold under any interleaving.
func TestConcurrentUseLosesNoSlot(t *testing.T) {
	o := Options{FailureThreshold: 2, ResetTimeout: time.Nanosecond, HalfOpenLimit: 3}
	var changes atomic.Int64
	b := newBreaker(t, o, func() { changes.Add(1) })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 5_000 {
				now := time.Now()
				p, ok := b.Allow(now)
				b.State(now)
				if i%500 == 0 {
					b.SetOptions(Options{FailureThreshold: 1 + i%3, ResetTimeout: time.Duration(1 + g), HalfOpenLimit: 3})
				}
				if !ok {
					continue
				}
				b.Done(p, now, Outcome((i+g)%3))
			}
		})
	}
	wg.Wait()
	if n := word(b.word.Load()).trials(); n != 0 {
		t.Errorf("%d slots are still taken when all trials have ended", n)
	}
	if changes.Load() == 0 {
		t.Error("the breaker never changed, so the test showed nothing")
	}
}

func TestTheWayOfAnExchangeDoesNotAllocate(t *testing.T) {
	closed, half := newBreaker(t, opts, nil), newBreaker(t, opts, nil)
	trip(t, half, start)
	now := start.Add(opts.ResetTimeout)
	for name, f := range map[string]func(){
		"closed":    func() { pass(t, closed, now, Success); closed.State(now) },
		"half-open": func() { pass(t, half, now, Ignored); half.State(now) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkClosed(b *testing.B) {
	br := New(opts, nil)
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := br.Allow(now)
			br.Done(p, now, Success)
		}
	})
}

func BenchmarkState(b *testing.B) {
	br := New(opts, nil)
	now := time.Now()
	for b.Loop() {
		br.State(now)
	}
}
