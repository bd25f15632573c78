// Package backoff spaces the retries of loops that never give up.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff gives growing, jittered waits. It is not safe for concurrent use; the zero value waits from 100 ms to 10 s.
type Backoff struct {
	// Min and Max bound the waits; 0 means 100 ms and 10 s.
	Min, Max time.Duration

	next time.Duration
}

// Next returns how long to wait before the next try: between half and the whole of a time that doubles from Min to Max
// ("equal jitter": a fleet that failed together does not come back together, and no wait is too short to help).
func (b *Backoff) Next() time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = 100 * time.Millisecond
	}
	if hi <= 0 {
		hi = 10 * time.Second
	}
	d := min(max(b.next, lo), hi)
	b.next = min(2*d, hi)
	return d/2 + rand.N(d/2+1)
}

// Reset starts over with Min, after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits for the next time or the end of the context, and reports whether the time passed.
func (b *Backoff) Wait(ctx context.Context) bool {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
