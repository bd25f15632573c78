package breaker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// LimitOptions say how many exchanges a backend is given at a time, found out from its latency. The zero value sets no
// limit. Options are comparable.
type LimitOptions struct {
	// Max is the greatest limit, and 0 or less means that there is none; Min is the least, 1 if less.
	Max, Min int
	// Initial is the limit before anything is known; 0 or less means 20, within Min and Max.
	Initial int
	// Tolerance is how many times its latency without load a backend may take before its limit goes down; less than 1
	// means 1.5.
	Tolerance float64
}

// Enabled reports whether there is a limit.
func (o *LimitOptions) Enabled() bool { return o.Max > 0 }

func (o LimitOptions) filled() LimitOptions {
	o.Min = max(o.Min, 1)
	o.Max = max(o.Max, o.Min)
	o.Initial = min(max(orElse(o.Initial, 20), o.Min), o.Max)
	if o.Tolerance < 1 {
		o.Tolerance = 1.5
	}
	return o
}

const (
	limitWindow  = 250 * time.Millisecond // over which latencies are averaged
	limitSamples = 10                     // in a window, without which it goes on
	limitSmooth  = 0.2                    // of a window's weight in the limit
	// baselineEvery is how many windows lie between two looks at the latency without load, for each of which the limit is
	// lowered to a quarter for two windows.
	baselineEvery = 120
)

// Limit finds out how many exchanges a backend can have at a time, as adaptive concurrency does in Envoy and in Netflix's
// concurrency-limits: each window, the limit is multiplied by tolerance × the latency without load / the latency now (a
// half to one), and the square root of it is added, so that there is always something to try for.
//
//	limit 16, baseline 10 ms, tolerance 1.5:
//	now 12 ms: gradient 1,    16 × 1    + 4 = 20; smoothed by a fifth: 16.8
//	now 60 ms: gradient 0.5,  16 × 0.5  + 4 = 12; smoothed by a fifth: 15.2
//
// The latency without load is that of a window in which the limit was lowered, measured every half minute; the least seen
// since counts where it is less. Methods may be called concurrently. [Limit.Observe] takes a lock once a window.
type Limit struct {
	now     atomic.Int64 // the limit in force
	samples atomic.Uint64
	nanos   atomic.Int64
	peak    atomic.Int64  // the most exchanges under way in the window
	failed  atomic.Uint32 // timeouts in the window
	ends    atomic.Int64  // when the window may end, in nanoseconds since origin
	origin  time.Time

	mu       sync.Mutex
	opts     LimitOptions // guarded by mu; filled
	limit    float64      // guarded by mu; what now is when nothing is measured
	baseline float64      // guarded by mu: nanoseconds; 0 if not known
	window   int          // guarded by mu: since the last measurement
}

// NewLimit returns a limit that begins to learn at the given time.
func NewLimit(o LimitOptions, now time.Time) *Limit {
	l := &Limit{origin: now, opts: o.filled()}
	l.limit = float64(l.opts.Initial)
	l.now.Store(int64(l.opts.Initial))
	l.ends.Store(int64(limitWindow))
	return l
}

// SetOptions replaces the options; what was learned stays.
func (l *Limit) SetOptions(o LimitOptions) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opts = o.filled()
	l.limit = min(max(l.limit, float64(l.opts.Min)), float64(l.opts.Max))
	l.now.Store(int64(l.limit))
}

// Now is how many exchanges there may be at a time.
func (l *Limit) Now() int64 { return l.now.Load() }

// Observe takes an exchange that has been answered: after how long, with how many under way, and why it failed, 0 for a
// success. What says nothing of the backend is left out.
func (l *Limit) Observe(now time.Time, latency time.Duration, underWay int64, c Cause) {
	switch {
	case c&(NotTheBackend|ConnectFailed|Reset) != 0: // fast, whatever the load
		return
	case c&Timeout != 0:
		l.failed.Add(1)
	}
	l.nanos.Add(int64(latency))
	n := l.samples.Add(1)
	if underWay > l.peak.Load() {
		l.peak.Store(underWay) // one that is lost now is seen again soon
	}
	at := int64(now.Sub(l.origin))
	if ends := l.ends.Load(); at < ends || n < limitSamples || !l.ends.CompareAndSwap(ends, at+int64(limitWindow)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n = l.samples.Swap(0)
	mean := float64(l.nanos.Swap(0)) / float64(max(n, 1))
	l.closeLocked(mean, l.peak.Swap(0), l.failed.Swap(0))
}

// closeLocked ends a window of that mean latency.
func (l *Limit) closeLocked(mean float64, peak int64, failed uint32) {
	l.window++
	switch {
	case l.window == baselineEvery: // what is under way ends first
		l.now.Store(int64(max(l.limit/4, float64(l.opts.Min))))
		return
	case l.window == baselineEvery+1:
		return
	case l.window > baselineEvery+1:
		l.baseline, l.window = mean, 0
		l.now.Store(int64(l.limit))
		return
	}
	if l.baseline == 0 || mean < l.baseline {
		l.baseline = mean
	}
	gradient := min(max(l.opts.Tolerance*l.baseline/max(mean, 1), 0.5), 1)
	if failed > 0 {
		gradient = 0.5
	}
	if gradient == 1 && float64(peak) < l.limit/2 {
		return // it was not made use of, so that nothing is known of more
	}
	next := l.limit*gradient + math.Sqrt(l.limit)
	l.limit = min(max(l.limit*(1-limitSmooth)+next*limitSmooth, float64(l.opts.Min)), float64(l.opts.Max))
	l.now.Store(int64(l.limit))
}
