package main

import (
	"strings"
	"testing"
	"time"
)

func TestAQueueServesInOrderByTheFirstThatIsFree(t *testing.T) {
	q := newQueue(2)
	for i, want := range []time.Duration{10, 10, 20, 20, 30} {
		if got := q.serve(0, 10); got != want {
			t.Errorf("piece %d is done at %d, want %d", i, got, want)
		}
	}
	if got := q.serve(100, 5); got != 105 {
		t.Errorf("what arrives at a server at rest at 100 and takes 5 is done at %d", got)
	}
	if q.busy != 55 {
		t.Errorf("the workers were busy for %d, want 55", q.busy)
	}
}

func small() fleet {
	return fleet{
		balancers: 12, backends: 20_000, perService: 100, members: 3, cores: 2, gbit: 1, told: 50 * time.Microsecond,
		listed: 4 * time.Microsecond, keyBytes: 100, proxies: 3, taken: 5 * time.Millisecond, perBackend: 1000, subset: 10,
	}
}

func TestAStoreThatIsAskedForTooMuchFallsEverFurtherBehind(t *testing.T) {
	f := small()
	f.balancers = 3000
	// A member has 1,000 watchers: 50 ms of CPU time for each change, on 2 CPUs.
	if c := f.churn(10, 0); c.grows || c.share < 0.24 || c.share > 0.26 {
		t.Errorf("10 changes a second take %.2f of the CPUs and fall behind: %v", c.share, c.grows)
	}
	if c := f.churn(100, 0); !c.grows {
		t.Errorf("100 changes a second, which need %.2f of the CPUs, do not fall behind", c.share)
	}
}

func TestSpreadingAStartMakesItNotShorter(t *testing.T) {
	f := small()
	at, spread := f.restart(0, 0), f.restart(time.Minute, 0)
	if at.busy != spread.busy || spread.last < at.last {
		t.Errorf("at once: %+v, spread: %+v", at, spread)
	}
	// 4 balancers of a member list 20,000 keys of 4 µs on 2 CPUs.
	if want := 160 * time.Millisecond; at.busy != want {
		t.Errorf("the store is busy for %v, want %v", at.busy, want)
	}
}

func TestSubsetsCoverBackendsEvenly(t *testing.T) {
	f := small()
	f.balancers = 30 // three whole lots of ten
	if s := f.spread(f.subset); s.least != 3 || s.most != 3 {
		t.Errorf("backends are used by %+v balancers, want 3", s)
	}
}

func TestTheReportHasAllItsTables(t *testing.T) {
	var b strings.Builder
	small().report(&b)
	for _, want := range []string{"| changes |", "| all restart at once |", "| each backend |", "memory of a balancer"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}
