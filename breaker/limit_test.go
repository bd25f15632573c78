package breaker

import (
	"testing"
	"time"
)

// simulated is a backend that serves so many exchanges at a time in its own time, and more of them slower.
type simulated struct {
	capacity int
	latency  time.Duration
}

func (s simulated) takes(underWay int64) time.Duration {
	return s.latency * time.Duration(max(underWay, int64(s.capacity))) / time.Duration(s.capacity)
}

// drive has a backend under as much load as the limit lets through, for so long; wanted bounds what clients ask for.
func drive(l *Limit, s simulated, now time.Time, d time.Duration, wanted int64) time.Time {
	for end := now.Add(d); now.Before(end); now = now.Add(5 * time.Millisecond) {
		n := min(l.Now(), wanted)
		for range 3 {
			l.Observe(now, s.takes(n), n, 0)
		}
	}
	return now
}

func TestTheLimitFindsWhatTheBackendCanTake(t *testing.T) {
	for _, capacity := range []int{5, 40, 200} {
		now := time.Now()
		l := NewLimit(LimitOptions{Max: 1000}, now)
		drive(l, simulated{capacity, 10 * time.Millisecond}, now, 5*time.Minute, 1<<30)
		if got := l.Now(); got < int64(capacity)/4 || got > 4*int64(capacity) {
			t.Errorf("the limit is %d, want about %d", got, capacity)
		}
	}
}

func TestTheLimitFollowsABackendThatSlowsDownAndRecovers(t *testing.T) {
	now := time.Now()
	l := NewLimit(LimitOptions{Max: 1000}, now)
	fast, slow := simulated{100, 10 * time.Millisecond}, simulated{10, 10 * time.Millisecond}
	now = drive(l, fast, now, 2*time.Minute, 1<<30)
	before := l.Now()
	now = drive(l, slow, now, 2*time.Minute, 1<<30)
	low := l.Now()
	drive(l, fast, now, 3*time.Minute, 1<<30)
	if after := l.Now(); low > before/2 || after < 2*low {
		t.Errorf("the limit went %d, %d, %d, want down and up again", before, low, after)
	}
}

func TestALimitThatIsNotMadeUseOfStays(t *testing.T) {
	now := time.Now()
	l := NewLimit(LimitOptions{Max: 1000}, now)
	drive(l, simulated{100, 10 * time.Millisecond}, now, 20*time.Second, 2)
	if got := l.Now(); got != 20 {
		t.Errorf("the limit is %d, want 20 as at first", got)
	}
}

func TestTimeoutsLowerTheLimitToItsLeast(t *testing.T) {
	now := time.Now()
	l := NewLimit(LimitOptions{Max: 1000, Min: 3}, now)
	for range 10_000 {
		l.Observe(now, time.Second, l.Now(), Timeout)
		now = now.Add(10 * time.Millisecond)
	}
	if got := l.Now(); got > 5 {
		t.Errorf("the limit is %d, want about 4, where half of it and its root are as much", got)
	}
}

func TestWhatSaysNothingOfTheLoadIsLeftOut(t *testing.T) {
	now := time.Now()
	l := NewLimit(LimitOptions{Max: 1000}, now)
	for range 1000 {
		l.Observe(now, time.Microsecond, 100, ConnectFailed)
		l.Observe(now, time.Hour, 100, NotTheBackend)
		now = now.Add(10 * time.Millisecond)
	}
	if l.Now() != 20 || l.samples.Load() != 0 {
		t.Errorf("the limit is %d after %d samples", l.Now(), l.samples.Load())
	}
}

func TestOptionsBoundTheLimitAtOnceAndKeepWhatWasLearned(t *testing.T) {
	now := time.Now()
	l := NewLimit(LimitOptions{Max: 1000}, now)
	drive(l, simulated{100, 10 * time.Millisecond}, now, time.Minute, 1<<30)
	learned := l.baseline
	l.SetOptions(LimitOptions{Max: 7})
	if l.Now() != 7 || l.baseline != learned {
		t.Errorf("the limit is %d", l.Now())
	}
}

func BenchmarkLimit(b *testing.B) {
	now := time.Now()
	l := NewLimit(LimitOptions{Max: 1000}, now)
	b.ReportAllocs()
	for b.Loop() {
		l.Observe(now, time.Millisecond, 5, 0)
	}
}
