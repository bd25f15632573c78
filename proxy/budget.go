package proxy

import (
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/internal/steady"
)

const (
	// budgetSeconds is the window over which a service's exchanges and retries are counted, the current second included.
	budgetSeconds = 10
	// budgetFloor is how many retries a second are allowed however few exchanges there are.
	budgetFloor = 10
)

// budget bounds the retries of a service to a share of its exchanges, over the last ten seconds. Counts are kept by
// second in a ring; each cell is one word, so that a second that begins resets it and counts in one step, without a
// lock. Callers in the same moment may together exceed the bound by their number.
//
//	with a share of 0.2, after 1,000 exchanges in the last ten seconds: 10*10 + 0.2*1,000 = 300 retries in those seconds
type budget struct {
	cells [16]atomic.Uint64
}

// A cell is second (20 bits) | exchanges (24 bits) | retries (20 bits). Counts stop at their greatest value.
const (
	retryBits    = 20
	exchangeBits = 24
	maxRetries   = 1<<retryBits - 1
	maxExchanges = 1<<exchangeBits - 1
	secondMask   = 1<<20 - 1
)

func unpack(w uint64) (second, exchanges, retries uint64) {
	return w >> (retryBits + exchangeBits), w >> retryBits & maxExchanges, w & maxRetries
}

// exchange counts an exchange.
func (b *budget) exchange(now time.Time) { b.add(now, 1, 0) }

// retry asks for a retry, and counts it if it is allowed.
func (b *budget) retry(now time.Time, share float64) bool {
	current := uint64(steady.Seconds(now))
	var exchanges, retries uint64
	for i := range uint64(budgetSeconds) {
		s, e, r := unpack(b.cells[(current-i)%16].Load())
		if s == (current-i)&secondMask {
			exchanges, retries = exchanges+e, retries+r
		}
	}
	if float64(retries) >= budgetFloor*budgetSeconds+share*float64(exchanges) {
		return false
	}
	b.add(now, 0, 1)
	return true
}

func (b *budget) add(now time.Time, exchanges, retries uint64) {
	second := uint64(steady.Seconds(now))
	cell := &b.cells[second%16]
	second &= secondMask
	for {
		w := cell.Load()
		s, e, r := unpack(w)
		if s != second {
			e, r = 0, 0
		}
		e, r = min(e+exchanges, maxExchanges), min(r+retries, maxRetries)
		if cell.CompareAndSwap(w, second<<(retryBits+exchangeBits)|e<<retryBits|r) {
			return
		}
	}
}
