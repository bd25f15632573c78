//go:build linux

package load

import (
	"math/bits"
	"time"
)

// steps is how many buckets there are between a power of two and the next: a value is told to within 1/steps of it.
const (
	stepBits = 6
	steps    = 1 << stepBits
)

// Histogram counts durations from 1 ns on in buckets that grow with them. The zero value is empty.
type Histogram struct {
	counts [(64 - stepBits) * steps]uint64
	total  uint64
}

// Add counts a duration; a negative one as 0.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// Quantile returns the duration that a share q of those counted does not exceed, 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.total))
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(value(i))
		}
	}
	return 0
}

// bucket returns where a value is counted. The first steps values have buckets of their own. From there on the bits below
// the highest seven are dropped: 1000 = 0b1111101000 loses three, which leaves 125, so it is 125-64 into the fourth row.
func bucket(v uint64) int {
	drop := max(bits.Len64(v)-stepBits-1, 0)
	return drop*steps + int(v>>drop)
}

// value returns the middle of a bucket.
func value(i int) uint64 {
	drop := max(i/steps-1, 0)
	low := uint64(i-drop*steps) << drop
	return low + (1<<drop)/2
}
