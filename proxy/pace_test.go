package proxy

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

func TestCellsOfAPace(t *testing.T) {
	last := 0
	for d := time.Duration(0); d < 80*time.Second; d += 1 + d/1000 {
		i := paceCell(d)
		if i < last || i > last+1 {
			t.Fatalf("%v is in cell %d, what is less in %d", d, i, last)
		}
		last = i
		if i == paceCells-1 {
			break
		}
		if bound := paceBound(i); bound <= d || bound > d+d/16+1<<paceUnit {
			t.Fatalf("%v is in cell %d, which ends at %v", d, i, bound)
		}
	}
	if last != paceCells-1 || paceCell(-1) != 0 || paceCell(time.Hour) != last {
		t.Errorf("the last cell is %d, that of -1 %d, that of an hour %d", last, paceCell(-1), paceCell(time.Hour))
	}
}

func TestADelayIsThePercentile(t *testing.T) {
	h := &routing.Hedge{Percentile: 95, MinDelay: 5 * time.Millisecond, MaxDelay: time.Second}
	p, now := new(pace), time.Now()
	if d := p.delay(h); d != time.Second {
		t.Errorf("%v before anything is known", d)
	}
	for range paceLeast - 1 {
		p.observe(now, 20*time.Millisecond, h)
		now = now.Add(paceEvery)
	}
	if d := p.delay(h); d != time.Second {
		t.Errorf("%v while little is known", d)
	}
	feed := func(n int, most time.Duration) {
		for range n {
			p.observe(now, time.Duration(rand.Float64()*float64(most)), h)
			now = now.Add(time.Millisecond)
		}
	}
	feed(20_000, 100*time.Millisecond)
	if d := p.delay(h); d < 90*time.Millisecond || d > 105*time.Millisecond {
		t.Errorf("%v, want about 95 ms", d)
	}
	feed(40_000, 40*time.Millisecond)
	if d := p.delay(h); d < 35*time.Millisecond || d > 42*time.Millisecond {
		t.Errorf("%v later, want about 38 ms", d)
	}
	feed(40_000, time.Millisecond)
	if d := p.delay(h); d != h.MinDelay {
		t.Errorf("%v, want the least", d)
	}
	feed(40_000, time.Minute)
	if d := p.delay(h); d != h.MaxDelay {
		t.Errorf("%v, want the most", d)
	}
}

// What is hedged is known only to have taken longer than the percentile. That must not move it.
func TestAPercentileStandsThoughWhatIsAboveIsCutOff(t *testing.T) {
	h := &routing.Hedge{Percentile: 90, MinDelay: time.Millisecond, MaxDelay: time.Second}
	p, now := new(pace), time.Now()
	for i := range 100_000 {
		took := time.Duration(rand.Float64() * float64(100*time.Millisecond))
		if i > 1000 {
			took = min(took, p.delay(h)+time.Millisecond)
		}
		p.observe(now, took, h)
		now = now.Add(time.Millisecond)
	}
	if d := p.delay(h); d < 84*time.Millisecond || d > 97*time.Millisecond {
		t.Errorf("%v, want about 90 ms", d)
	}
}

func TestAPaceIsKeptByMany(t *testing.T) {
	h := &routing.Hedge{Percentile: 50, MinDelay: time.Millisecond, MaxDelay: time.Second}
	p, start := new(pace), time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				p.observe(start.Add(time.Duration(i)*time.Millisecond), 10*time.Millisecond, h)
			}
		})
	}
	wg.Wait()
	if d := p.delay(h); d < 10*time.Millisecond || d > 11*time.Millisecond {
		t.Errorf("%v, want 10 ms", d)
	}
	for i := range p.cells {
		if n := p.cells[i].Load(); n > 80_000 {
			t.Errorf("cell %d has counted %d", i, n)
		}
	}
}

func TestAPaceAllocatesNothing(t *testing.T) {
	h := &routing.Hedge{Percentile: 95, MinDelay: time.Millisecond, MaxDelay: time.Second}
	p, now := new(pace), time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(paceEvery)
		p.observe(now, 10*time.Millisecond, h)
		p.delay(h)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPace(b *testing.B) {
	h := &routing.Hedge{Percentile: 95, MinDelay: time.Millisecond, MaxDelay: time.Second}
	p, start := new(pace), time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := time.Duration(0); pb.Next(); i++ {
			p.observe(start.Add(i*10*time.Microsecond), p.delay(h)/2, h)
		}
	})
}
