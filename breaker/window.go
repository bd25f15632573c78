package breaker

import (
	"sync/atomic"
	"time"
)

// window counts outcomes over the last time, in cells of a tenth of it: what it sums up is of the last nine tenths and
// the part of the current one that has passed. It is lock-free: each cell is one word that says which tenth it is of.
type window struct {
	generation uint64 // of the closed state that it counts for
	origin     time.Time
	width      time.Duration // of a cell
	cells      [windowCells]atomic.Uint64
}

const windowCells = 10

// A cell is tick (24 bits) | outcomes (20 bits) | failures (20 bits). A cell that is full counts no more, so that the
// share of failures stays what it was.
const (
	outcomeBits = 20
	maxOutcomes = 1<<outcomeBits - 1
	tickMask    = 1<<24 - 1
)

func newWindow(generation uint64, length time.Duration, now time.Time) *window {
	return &window{generation: generation, origin: now, width: max(length/windowCells, 1)}
}

// add counts an outcome, and returns what the window holds if it was a failure.
func (w *window) add(now time.Time, failed bool) (outcomes, failures int) {
	tick := uint64(max(now.Sub(w.origin), 0) / w.width)
	cell := &w.cells[tick%windowCells]
	for {
		was := cell.Load()
		next := was
		if was>>(2*outcomeBits) != tick&tickMask {
			next = (tick & tickMask) << (2 * outcomeBits)
		}
		if next>>outcomeBits&maxOutcomes < maxOutcomes {
			next += 1 << outcomeBits
			if failed {
				next++
			}
		}
		if cell.CompareAndSwap(was, next) {
			break
		}
	}
	if !failed {
		return 0, 0
	}
	for i := range min(uint64(windowCells), tick+1) {
		c := w.cells[(tick-i)%windowCells].Load()
		if c>>(2*outcomeBits) == (tick-i)&tickMask {
			outcomes += int(c >> outcomeBits & maxOutcomes)
			failures += int(c & maxOutcomes)
		}
	}
	return outcomes, failures
}
