package breaker

import "time"

// change replaces the word w by one of another state, unless it has been replaced meanwhile or the breaker was
// disabled; it reports whether it did.
func (b *Breaker) change(w, next word, now time.Time) bool {
	b.mu.Lock()
	ok, tell := b.changeLocked(w, next, now), !b.closed
	b.mu.Unlock()
	if ok && tell {
		b.notify()
	}
	return ok
}

func (b *Breaker) changeLocked(w, next word, now time.Time) bool {
	if next.state() == Closed {
		b.renewWindowLocked(next.generation(), now)
	}
	if next.state() != Open {
		if !b.word.CompareAndSwap(uint64(w), uint64(next)) {
			return false
		}
		b.stopLocked()
		return true
	}
	if b.options().disabled() || word(b.word.Load()) != w {
		return false
	}
	// Readers that see the word open must find its opening, so it comes first. The state cannot change under mu: if the
	// swap fails, only a count did, the breaker is not open, and what is stored here is not read.
	o := &opening{generation: next.generation(), since: now}
	if w.state() == HalfOpen {
		o.failed = b.opening.Load().failed + 1
	}
	o.until = now.Add(b.openFor(o.failed))
	b.opening.Store(o)
	if !b.word.CompareAndSwap(uint64(w), uint64(next)) {
		return false
	}
	b.armLocked(o, now)
	return true
}

// openFor is how long the breaker is open after so many failed half-open times in a row.
func (b *Breaker) openFor(failed int) time.Duration {
	r := b.rules.Load()
	return r.opts.open(failed, r.random())
}

// openLocked sets until when an open breaker refuses, counted from the given time.
func (b *Breaker) openLocked(generation uint64, since time.Time, failed int) {
	o := &opening{generation: generation, since: since, until: since.Add(b.openFor(failed)), failed: failed}
	b.opening.Store(o)
	b.armLocked(o, time.Now())
}

// closeLocked closes a breaker whatever its state and reports whether it was anything else.
func (b *Breaker) closeLocked() bool {
	for {
		w := word(b.word.Load())
		if w.state() == Closed {
			return false
		}
		if b.changeLocked(w, w.next(Closed), time.Now()) {
			return !b.closed
		}
	}
}

// renewWindowLocked begins to count anew for the closed state of that generation; without a rate nothing is counted.
func (b *Breaker) renewWindowLocked(generation uint64, now time.Time) {
	if o := b.options(); o.FailureRate > 0 {
		b.window.Store(newWindow(generation, o.Window, now))
	} else {
		b.window.Store(nil)
	}
}

func (b *Breaker) armLocked(o *opening, now time.Time) {
	b.stopLocked()
	if !b.closed {
		b.timer = time.AfterFunc(max(o.until.Sub(now), 0), func() { b.expire(o) })
	}
}

func (b *Breaker) stopLocked() {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// expire makes a breaker half-open whose reset timeout has passed, unless that opening was ended or replaced before.
func (b *Breaker) expire(o *opening) {
	b.mu.Lock()
	moved := false
	for b.opening.Load() == o && !b.closed {
		w := word(b.word.Load())
		if w.state() != Open || w.generation() != o.generation {
			break
		}
		if b.changeLocked(w, w.next(HalfOpen), o.until) {
			moved = true
			break
		}
	}
	b.mu.Unlock()
	if moved {
		b.notify()
	}
}
