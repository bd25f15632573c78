package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// Breaker is a circuit breaker. Its methods may be called concurrently.
type Breaker struct {
	word    atomic.Uint64           // a word; changes of state are made under mu, everything else by compare and swap
	rules   atomic.Pointer[Rules]   // written under mu
	opening atomic.Pointer[opening] // how long the breaker is open; written under mu, before the word says open
	window  atomic.Pointer[window]  // nil without a rate; written under mu, before the word says closed
	changed func()                  // called without locks; nil for none

	mu     sync.Mutex  // makes changes of state and of options one after another
	timer  *time.Timer // guarded by mu; runs while the breaker is open
	closed bool        // guarded by mu; set by Close
}

// opening is one time of being open.
type opening struct {
	generation   uint64
	since, until time.Time
	failed       int // half-open times in a row that came to nothing before it
	// trialAt is when the last trial after it began, counted from since.
	trialAt atomic.Int64
}

// New returns a closed breaker. The function changed, which may be nil, is called after each change of state, outside
// all locks, and possibly concurrently; it reads what the state is now. That an open breaker's reset timeout has passed
// is such a change, and it is told when it happens, not only when the next exchange asks.
func New(o Options, changed func()) *Breaker {
	b := new(Breaker)
	b.Init(NewRules(o), changed)
	return b
}

// Init makes a breaker of a zero value as [New] does.
func (b *Breaker) Init(r *Rules, changed func()) {
	b.changed = changed
	b.rules.Store(r)
	if r.opts.FailureRate > 0 {
		b.renewWindowLocked(0, time.Now())
	}
}

// Allow asks to let an exchange through at the given time. Every permit goes back by exactly one Done; a refusal has
// none to give back.
func (b *Breaker) Allow(now time.Time) (Permit, bool) {
	for {
		w := word(b.word.Load())
		switch w.state() {
		case Closed:
			return w.permit(false), true
		case HalfOpen:
			opts, o := b.options(), b.opening.Load()
			last, at := o.trialAt.Load(), int64(now.Sub(o.since))
			if w.trials() >= opts.HalfOpenLimit && (at-last < int64(opts.ResetTimeout) || w.trials() == maxCount) {
				return 0, false
			}
			if !o.trialAt.CompareAndSwap(last, max(last, at)) {
				continue // somebody else began one
			}
			if b.word.CompareAndSwap(uint64(w), uint64(w+1)) {
				return w.permit(true), true
			}
			o.trialAt.CompareAndSwap(max(last, at), last)
		default:
			o := b.opening.Load()
			if o.generation == w.generation() {
				if now.Before(o.until) {
					return 0, false
				}
				b.change(w, w.next(HalfOpen), now)
			}
		}
	}
}

// Done gives a permit back with the outcome of its exchange, at the time that it became known.
func (b *Breaker) Done(p Permit, now time.Time, o Outcome) {
	opts := b.options()
	tooMany := o != Ignored && !p.trial() && b.rate(p.generation(), now, o, opts)
	for {
		w := word(b.word.Load())
		next := w
		if p.trial() {
			next--
		}
		if p.generation() == w.generation() {
			if next = next.after(o, opts); tooMany && next.state() == Closed {
				next = next.next(Open)
			}
		}
		switch {
		case next == w:
			return
		case next.state() != w.state():
			if b.change(w, next, now) {
				return
			}
		case b.word.CompareAndSwap(uint64(w), uint64(next)):
			return
		}
	}
}

// rate counts an outcome of the closed state of that generation in its window, and reports whether there are too many
// failures among those that it holds.
func (b *Breaker) rate(generation uint64, now time.Time, o Outcome, opts *Options) bool {
	w := b.window.Load()
	if w == nil || w.generation != generation {
		return false
	}
	outcomes, failures := w.add(now, o == Failure)
	return outcomes >= opts.MinVolume && opts.FailureRate > 0 && float64(failures) >= opts.FailureRate*float64(outcomes)
}

// after is the word after an outcome of its own generation, as far as failures in a row go.
func (w word) after(o Outcome, opts *Options) word {
	switch {
	case o == Ignored:
		return w
	case w.state() == Closed && o == Success:
		return w.withCount(0)
	case w.state() == Closed && opts.FailureThreshold == 0:
		return w
	case w.state() == Closed:
		if n := w.count() + 1; n < opts.FailureThreshold {
			return w.withCount(n)
		}
		return w.next(Open)
	case w.state() == HalfOpen && o == Success:
		if n := w.count() + 1; n < opts.HalfOpenLimit {
			return w.withCount(n)
		}
		return w.next(Closed)
	case w.state() == HalfOpen:
		return w.next(Open)
	}
	return w
}

// State is the state at the given time: an open breaker whose reset timeout has passed is half-open.
func (b *Breaker) State(now time.Time) State {
	for {
		w := word(b.word.Load())
		if w.state() != Open {
			return w.state()
		}
		if o := b.opening.Load(); o.generation == w.generation() {
			if now.Before(o.until) {
				return Open
			}
			return HalfOpen
		}
	}
}

// SetOptions replaces the options. A state stays with its counts, which the new thresholds apply to from the next
// outcome on, but for those of a window of another length; an open breaker's time counts from when it opened. A breaker
// that is disabled closes.
func (b *Breaker) SetOptions(o Options) {
	b.SetRules(&Rules{o.filled(), b.rules.Load().random})
}

// SetRules is SetOptions with rules that are shared.
func (b *Breaker) SetRules(r *Rules) {
	b.mu.Lock()
	old, o := *b.options(), &r.opts
	b.rules.Store(r)
	if old == *o {
		b.mu.Unlock()
		return
	}
	if o.FailureRate == 0 || o.Window != old.Window || old.FailureRate == 0 {
		b.renewWindowLocked(word(b.word.Load()).generation(), time.Now())
	}
	moved := false
	if o.disabled() {
		moved = b.closeLocked()
	} else if word(b.word.Load()).state() == Open && !o.sameReset(&old) {
		was := b.opening.Load()
		b.openLocked(was.generation, was.since, was.failed)
	}
	b.mu.Unlock()
	if moved {
		b.notify()
	}
}

// Close ends the breaker's timer and its calls of changed, for good. It goes on to answer exchanges under way.
func (b *Breaker) Close() {
	b.mu.Lock()
	b.closed = true
	b.stopLocked()
	b.mu.Unlock()
}

func (b *Breaker) options() *Options { return &b.rules.Load().opts }

func (b *Breaker) notify() {
	if b.changed != nil {
		b.changed()
	}
}
