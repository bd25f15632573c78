// Package gcpace has the garbage collector leave the heap about the same room to grow whatever its size. The collector's
// own rule is a share: a small heap, which costs nothing to look through, is looked through again and again, and a great
// one may double, though a balancer that holds a great table makes little garbage. And what a start or another great change
// took beside what is left is given back to the system as soon as the heap has come to rest: the runtime by itself takes many
// minutes. With GOGC or GOMEMLIMIT in the environment whoever runs the program has decided otherwise, and nothing is done.
package gcpace

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

const (
	// Headroom is what the heap may grow by between two collections, in bytes, within the bounds of the share.
	Headroom = 32 << 20
	// least and most bound the share, in percent of what lives: below, collections would come too often where a great heap
	// changes; above, a start would leave more behind than it needs.
	least, most = 35, 800
	// quiet is how long there must have been no collection for the heap to be at rest.
	quiet = 3 * time.Second
)

// Start adjusts the collector's share after each collection until stop is called, which puts it back.
func Start() (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	p := &pacer{now: most}
	before := debug.SetGCPercent(most)
	p.rest = time.AfterFunc(quiet, p.trim)
	watch(p)
	return func() {
		p.stopped.Store(true)
		p.rest.Stop()
		debug.SetGCPercent(before)
	}
}

// pacer belongs to the goroutine of finalizers, but for what says otherwise.
type pacer struct {
	now     int
	stopped atomic.Bool
	trimmed atomic.Uint64 // what lived when memory was given back last
	rest    *time.Timer   // calls trim when there was no collection for a while
}

// watch has the pacer look at the heap once the next collection is over: the object that it makes is found dead then.
func watch(p *pacer) {
	runtime.SetFinalizer(&[16]byte{}, func(*[16]byte) {
		if p.stopped.Load() {
			return
		}
		p.adjust(live())
		p.rest.Reset(quiet)
		watch(p)
	})
}

// adjust sets the share for a heap of which so much lives. Small differences are left, since setting stops the world.
func (p *pacer) adjust(live uint64) {
	next := share(live)
	if d := next - p.now; d > p.now/8 || d < -p.now/8 {
		p.now = next
		debug.SetGCPercent(next)
	}
}

// share is the percentage of what lives that makes the headroom. With 4 MiB alive it is 800, with 32 MiB 100, with 100 MiB
// or more 35.
func share(live uint64) int {
	return int(min(max(Headroom*100/max(live, 1), least), most))
}

// trim gives memory back if what lives has become more or less by a headroom since it last did. Of the timer's goroutine.
func (p *pacer) trim() {
	if p.stopped.Load() {
		return
	}
	lives, last := live(), p.trimmed.Load()
	if max(lives, last)-min(lives, last) > Headroom && p.trimmed.CompareAndSwap(last, lives) {
		debug.FreeOSMemory() // which collects, so that this is looked at once more
	}
}

// live is what the last collection found alive.
func live() uint64 {
	if n := read("/gc/heap/live:bytes"); n > 0 {
		return n
	}
	return Headroom // the runtime does not say: its own rule
}

// read is a number that the runtime tells, 0 if it does not.
func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
