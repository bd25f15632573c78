package balance

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const t0 int64 = 1_700_000_000_000

func after(d time.Duration) int64 { return t0 + d.Milliseconds() }

func near(got, want time.Duration, share float64) bool {
	return math.Abs(float64(got-want)) <= share*float64(want)
}

func TestLatenciesOfTheComment(t *testing.T) {
	var l Latency
	l.Observe(t0, 100*time.Millisecond)
	l.Observe(after(HalfLife/2), 10*time.Millisecond)
	if got := l.Peak(after(HalfLife / 2)); !near(got, 74*time.Millisecond, 0.06) {
		t.Errorf("the peak is %v, want about 74 ms", got)
	}
	l.Observe(after(HalfLife/2), 200*time.Millisecond)
	if got := l.Peak(after(HalfLife / 2)); !near(got, 200*time.Millisecond, 0.001) {
		t.Errorf("the peak is %v, want 200 ms", got)
	}
}

func TestNothingIsKnownAtFirstAndInTheEnd(t *testing.T) {
	var l Latency
	if l.Peak(t0) != 0 || l.Mean(t0) != 0 {
		t.Error("something is known of what was never observed")
	}
	l.Observe(t0, time.Second)
	if got := l.Peak(after(24 * time.Hour)); got != 0 {
		t.Errorf("after a day the peak is %v", got)
	}
}

func TestDecayKeepsToTheCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := time.Duration(rapid.Int64Range(int64(10*time.Microsecond), int64(time.Hour)).Draw(t, "took"))
		age := time.Duration(rapid.Int64Range(0, 20*int64(HalfLife)).Draw(t, "age")).Truncate(time.Millisecond)
		var l Latency
		l.Observe(t0, took)
		want := time.Duration(float64(took) * math.Exp2(-float64(age)/float64(HalfLife)))
		got := l.Peak(after(age))
		if d := float64(got) - float64(want); d < -0.07*float64(want)-2 || d > 0.07*float64(want)+2 {
			t.Fatalf("%v are %v after %v, want %v", took, got, age, want)
		}
		if later := l.Peak(after(age + time.Millisecond)); later > got {
			t.Fatalf("a millisecond later %v are %v", got, later)
		}
	})
}

func TestTheMeanFollowsWhatIsObserved(t *testing.T) {
	var l Latency
	for i := range 60_000 { // a minute
		took := 10 * time.Millisecond
		if i%2 == 0 {
			took = 20 * time.Millisecond
		}
		l.Observe(after(time.Duration(i)*time.Millisecond), took)
	}
	if got := l.Mean(after(time.Minute)); !near(got, 15*time.Millisecond, 0.08) {
		t.Errorf("the mean of 10 and 20 ms is %v", got)
	}
}

func TestOneThatFailsFastDoesNotLookFast(t *testing.T) {
	var l Latency
	l.Observe(t0, 50*time.Millisecond)
	for i := range 1000 {
		l.Failed(after(time.Duration(i)*time.Millisecond), time.Millisecond)
	}
	if got := l.Mean(after(time.Second)); got < 40*time.Millisecond {
		t.Errorf("the mean fell to %v", got)
	}
	l.Failed(after(time.Second), time.Second)
	if got := l.Peak(after(time.Second)); !near(got, time.Second, 0.01) {
		t.Errorf("after a failure that took a second the peak is %v", got)
	}
}

func TestNoPeakIsLostAmongManyObservers(t *testing.T) {
	var l Latency
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				l.Observe(t0, time.Duration(g*1000+i))
			}
		})
	}
	wg.Wait()
	if got := l.Peak(t0); got != 7999 {
		t.Errorf("the peak of 0 to 7999 ns is %d", got)
	}
}

func TestObservingDoesNotAllocate(t *testing.T) {
	var l Latency
	if got := testing.AllocsPerRun(100, func() { l.Observe(t0, time.Millisecond); l.Failed(t0, time.Second) }); got != 0 {
		t.Errorf("%.1f allocations", got)
	}
}

func TestTwoChoicesAvoidTheSlow(t *testing.T) {
	for _, a := range []Algorithm{P2C, EWMA, LeastTime} {
		for _, n := range []int{2, 10, 100} {
			cs := equal(n)
			for i := range cs {
				took := 10 * time.Millisecond
				if i == 1 {
					took = 100 * time.Millisecond
				}
				cs[i].Latency.Observe(t0, took)
			}
			p := mustNew(t, a, cs, new(Cursor))
			slow := 0
			for range 10_000 {
				if p.Pick(Query{Now: t0}) == 1 {
					slow++
				}
			}
			if slow > 20 { // least-time may draw the same one four times
				t.Errorf("%s of %d picked the slow one %d times though all are idle", a, n, slow)
			}
			// Left alone for long enough it is tried again.
			for i := range cs {
				if i != 1 {
					cs[i].Latency.Observe(after(5*HalfLife), 10*time.Millisecond)
				}
			}
			for range 10_000 {
				if p.Pick(Query{Now: after(5 * HalfLife)}) == 1 {
					slow++
				}
			}
			if slow <= 20 {
				t.Errorf("%s of %d never tries the slow one again", a, n)
			}
		}
	}
}

func TestAnUnknownCandidateGetsOneAttemptAtATime(t *testing.T) {
	for _, a := range []Algorithm{EWMA, LeastTime} {
		cs := equal(3)
		cs[0].Latency.Observe(t0, 10*time.Millisecond)
		cs[1].Latency.Observe(t0, 10*time.Millisecond)
		p := mustNew(t, a, cs, new(Cursor))
		for range 100 {
			i := p.Pick(Query{Now: t0})
			cs[i].InFlight.Add(1)
		}
		if got := cs[2].InFlight.Load(); got != 1 {
			t.Errorf("%s gave %d attempts to a candidate that has not answered yet, want 1", a, got)
		}
	}
}

func TestP2CComparesOfTheComment(t *testing.T) {
	pick := func(na, nb int64, la, lb time.Duration) int {
		cs := equal(2)
		cs[0].InFlight.Store(na)
		cs[1].InFlight.Store(nb)
		cs[0].Latency.Observe(t0, la)
		cs[1].Latency.Observe(t0, lb)
		return mustNew(t, P2C, cs, nil).Pick(Query{Now: t0})
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		na, nb int64
		la, lb time.Duration
		want   int
	}{{2, 1, 5 * ms, 9 * ms, 1}, {2, 1, 5 * ms, 11 * ms, 0}, {3, 1, 9 * ms, 9 * ms, 1}, {9, 1, 5 * ms, 11 * ms, 1}} {
		if got := pick(c.na, c.nb, c.la, c.lb); got != c.want {
			t.Errorf("a: %d in flight, %v; b: %d, %v: picked %d", c.na, c.la, c.nb, c.lb, got)
		}
	}
}

func TestWeightsAreHeeded(t *testing.T) {
	for _, a := range []Algorithm{P2C, EWMA} {
		cs := candidates(3, 1, 1, 1)
		for i := range cs {
			cs[i].Latency.Observe(t0, 10*time.Millisecond)
		}
		got := make([]int, 4)
		p := mustNew(t, a, cs, nil)
		for range 60_000 { // idle
			got[p.Pick(Query{Now: t0})]++
		}
		if got[0] < 26_000 || got[0] > 34_000 {
			t.Errorf("%s with weights 3, 1, 1, 1 picked %v when idle", a, got)
		}
	}
	for _, a := range []Algorithm{P2C, EWMA, LeastTime} {
		for _, copies := range []int{1, 5} {
			var ws []int
			for range copies {
				ws = append(ws, 4, 2, 1, 1)
			}
			cs := candidates(ws...)
			for i := range cs {
				cs[i].Latency.Observe(t0, 10*time.Millisecond)
			}
			p := mustNew(t, a, cs, nil)
			for range 800 * copies {
				cs[p.Pick(Query{Now: t0})].InFlight.Add(1)
			}
			for i, c := range cs {
				want := float64(100 * ws[i])
				if got := float64(c.InFlight.Load()); got < want*0.85-5 || got > want*1.15+5 {
					t.Errorf("%s: candidate %d of weight %d has %.0f under way, want about %.0f", a, i, ws[i], got, want)
				}
			}
		}
	}
}

func TestPairsAreTwo(t *testing.T) {
	for _, ws := range [][]int{{1, 1}, {1000, 1}, {1, 1, 1}, {5, 1, 7}} {
		cs := candidates(ws...)
		p := mustNew(t, P2C, cs, nil).(*lessOfTwo)
		for range 10_000 {
			if a, b := p.draw(); a == b || a < 0 || b < 0 || a >= len(ws) || b >= len(ws) {
				t.Fatalf("drew %d and %d of %v", a, b, ws)
			}
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var l Latency
	b.ReportAllocs()
	for i := range b.N {
		l.Observe(t0+int64(i/20), time.Duration(1+i%7)*time.Millisecond)
	}
}
