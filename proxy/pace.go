package proxy

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/internal/steady"
	"github.com/vietddude/load-balancer/routing"
)

// pace is how long a service takes to begin its answers: a histogram that forgets, of which the percentile that hedges
// wait for is read now and then. Its cells are a sixteenth of a power of two wide, so that the percentile is at most 6 %
// too high. Methods may be called concurrently and take no lock.
type pace struct {
	cells [paceCells]atomic.Uint32
	// percentile is as it was last read, in nanoseconds; 0 while too little is known.
	percentile atomic.Int64
	// readAt is when it is read again, halveAt when the cells may be halved again, as [steady.Nanos] has it.
	readAt, halveAt atomic.Int64
}

const (
	paceUnit  = 14  // bits of the unit, 2¹⁴ ns = 16 µs
	paceCells = 304 // up to 64 s

	paceEvery = 250 * time.Millisecond // between two readings
	// paceLeast is how many answers must be known; paceMost how many are, half of which are forgotten at times that are
	// paceHalf apart or more.
	paceLeast = 100
	paceMost  = 2000
	paceHalf  = 5 * time.Second
)

// paceCell is the cell of a time. The first 16 are of a unit each, the next 16 too, the next 16 of two units, then of four.
func paceCell(d time.Duration) int {
	u := uint64(max(d, 0)) >> paceUnit
	if u < 16 {
		return int(u)
	}
	e := bits.Len64(u) - 5
	return min(16*e+int(u>>e), paceCells-1)
}

// paceBound is the time that a cell ends before.
func paceBound(cell int) time.Duration {
	if cell < 16 {
		return time.Duration(cell+1) << paceUnit
	}
	e := cell/16 - 1
	return time.Duration(cell-16*e+1) << (e + paceUnit)
}

// delay is how long a hedge waits.
func (p *pace) delay(h *routing.Hedge) time.Duration {
	d := time.Duration(p.percentile.Load())
	if d == 0 {
		return h.MaxDelay
	}
	return min(max(d, h.MinDelay), h.MaxDelay)
}

// observe takes an answer, which came at that time after that long.
func (p *pace) observe(now time.Time, took time.Duration, h *routing.Hedge) {
	p.cells[paceCell(took)].Add(1)
	at := steady.Nanos(now)
	if due := p.readAt.Load(); at >= due && p.readAt.CompareAndSwap(due, at+int64(paceEvery)) {
		p.read(at, h.Percentile)
	}
}

// read works the percentile out, and halves the cells when it is time.
func (p *pace) read(now int64, percentile float64) {
	var counts [paceCells]uint32
	total := uint64(0)
	for i := range p.cells {
		counts[i] = p.cells[i].Load()
		total += uint64(counts[i])
	}
	if total < paceLeast {
		p.percentile.Store(0)
		return
	}
	rank, below := uint64(math.Ceil(float64(total)*percentile/100)), uint64(0)
	for i, n := range counts {
		if below += uint64(n); below >= rank {
			p.percentile.Store(int64(paceBound(i)))
			break
		}
	}
	if due := p.halveAt.Load(); total > paceMost && now >= due && p.halveAt.CompareAndSwap(due, now+int64(paceHalf)) {
		for i, n := range counts {
			p.cells[i].Add(-(n / 2))
		}
	}
}
