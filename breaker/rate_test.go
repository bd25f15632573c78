package breaker

import (
	"testing"
	"time"
)

var rated = Options{FailureRate: 0.5, Window: 10 * time.Second, MinVolume: 10, ResetTimeout: time.Minute}

func TestARateOpensOnceThereIsVolume(t *testing.T) {
	b := newBreaker(t, rated, nil)
	now := time.Now()
	for i := range 9 {
		pass(t, b, now, Failure)
		wantState(t, b, now, Closed)
		_ = i
	}
	pass(t, b, now, Failure)
	wantState(t, b, now, Open)
}

func TestARateBelowTheThresholdStaysClosed(t *testing.T) {
	b := newBreaker(t, rated, nil)
	now := time.Now()
	for range 1000 {
		pass(t, b, now, Success)
		pass(t, b, now, Success)
		pass(t, b, now, Failure)
		now = now.Add(10 * time.Millisecond)
	}
	wantState(t, b, now, Closed)
}

func TestWhatIsOlderThanTheWindowDoesNotCount(t *testing.T) {
	b := newBreaker(t, rated, nil)
	now := time.Now()
	for range 9 {
		pass(t, b, now, Failure)
	}
	now = now.Add(10*time.Second + time.Second)
	pass(t, b, now, Failure)
	wantState(t, b, now, Closed)
}

func TestAWindowBeginsAnewWhenTheBreakerHasClosed(t *testing.T) {
	b := newBreaker(t, rated, nil)
	now := time.Now()
	for range 10 {
		pass(t, b, now, Failure)
	}
	now = now.Add(time.Minute)
	pass(t, b, now, Success)
	wantState(t, b, now, Closed)
	for range 9 {
		pass(t, b, now, Failure)
	}
	wantState(t, b, now, Closed)
}

func TestOpenTimesGrowAndStartOverOnceClosed(t *testing.T) {
	b := newBreaker(t, Options{FailureThreshold: 1, ResetTimeout: time.Second, ResetMultiplier: 2, MaxResetTimeout: 5 * time.Second}, nil)
	now := time.Now()
	pass(t, b, now, Failure)
	for _, want := range []time.Duration{1, 2, 4, 5, 5} {
		want *= time.Second
		wantState(t, b, now.Add(want-1), Open)
		now = now.Add(want)
		wantState(t, b, now, HalfOpen)
		pass(t, b, now, Failure)
	}
	now = now.Add(5 * time.Second)
	pass(t, b, now, Success)
	pass(t, b, now, Failure)
	wantState(t, b, now.Add(time.Second), HalfOpen)
}

func TestJitterVariesOpenTimesByItsShare(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 8 * time.Second, 0.5: 10 * time.Second, 1: 12 * time.Second} {
		b := newBreaker(t, Options{FailureThreshold: 1, ResetTimeout: 10 * time.Second, ResetJitter: 0.2}, nil)
		b.rules.Load().random = func() float64 { return random }
		now := time.Now()
		pass(t, b, now, Failure)
		wantState(t, b, now.Add(want-1), Open)
		wantState(t, b, now.Add(want), HalfOpen)
	}
}

func TestCausesThatDoNotCountAreSuccessesAndTheClientsAreIgnored(t *testing.T) {
	all, some := Options{}, Options{Counts: Timeout | Reset}
	for _, c := range []struct {
		cause     Cause
		all, some Outcome
	}{
		{0, Success, Success}, {ServerError, Failure, Success}, {GatewayError, Failure, Success}, {ConnectFailed, Failure, Success},
		{Timeout, Failure, Failure}, {Reset, Failure, Failure}, {NotTheBackend, Ignored, Ignored},
	} {
		if got := all.Outcome(c.cause); got != c.all {
			t.Errorf("cause %b: %v, want %v", c.cause, got, c.all)
		}
		if got := some.Outcome(c.cause); got != c.some {
			t.Errorf("cause %b with two that count: %v, want %v", c.cause, got, c.some)
		}
	}
}

func BenchmarkRate(b *testing.B) {
	br := New(rated, nil)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		p, _ := br.Allow(now)
		br.Done(p, now, Success)
	}
}
