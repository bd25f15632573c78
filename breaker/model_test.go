package breaker

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is a breaker as one would write it down without regard to cost.
type model struct {
	opts       Options
	state      State
	generation int
	failures   int
	successes  int
	trials     int
	since      time.Time
	trialAt    time.Time
	open       time.Duration // how long it is open now
	failed     int           // half-open times in a row that came to nothing
	changes    int
	random     float64
	// window holds the outcomes of this closed state with the tenth of the window that each fell into, since origin.
	window []modelOutcome
	origin time.Time
}

type modelOutcome struct {
	tenth  int
	failed bool
}

type modelPermit struct {
	real       Permit
	generation int
	trial      bool
}

func (m *model) to(s State, now time.Time) {
	m.state, m.failures, m.successes = s, 0, 0
	if s == Closed {
		m.window, m.origin, m.failed = nil, now, 0
	}
	m.generation++
	m.changes++
}

// seen is the state as State tells it.
func (m *model) seen(now time.Time) State {
	if m.state == Open && !now.Before(m.since.Add(m.open)) {
		return HalfOpen
	}
	return m.state
}

func (m *model) allow(now time.Time) (modelPermit, bool) {
	if m.state == Open && m.seen(now) == HalfOpen {
		m.to(HalfOpen, now)
	}
	switch {
	case m.state == Closed:
		return modelPermit{generation: m.generation}, true
	case m.state == HalfOpen && (m.trials < m.opts.HalfOpenLimit || !now.Before(m.trialAt.Add(m.opts.ResetTimeout))):
		m.trials++
		m.trialAt = now
		return modelPermit{generation: m.generation, trial: true}, true
	}
	return modelPermit{}, false
}

func (m *model) done(p modelPermit, now time.Time, o Outcome) {
	if p.trial {
		m.trials--
	}
	if p.generation != m.generation || o == Ignored {
		return
	}
	switch {
	case m.state == Closed:
		if o == Success {
			m.failures = 0
		} else if m.opts.FailureThreshold > 0 {
			m.failures++
		}
		if m.opts.FailureRate > 0 {
			m.window = append(m.window, modelOutcome{int(now.Sub(m.origin) / (m.opts.Window / 10)), o == Failure})
		}
		if o == Failure && (m.opts.FailureThreshold > 0 && m.failures >= m.opts.FailureThreshold || m.tooMany(now)) {
			m.trip(now)
		}
	case o == Success:
		if m.successes++; m.successes >= m.opts.HalfOpenLimit {
			m.to(Closed, now)
		}
	default:
		m.failed++
		m.trip(now)
	}
}

func (m *model) tooMany(now time.Time) bool {
	all, failures := 0, 0
	for _, o := range m.window {
		if int(now.Sub(m.origin)/(m.opts.Window/10))-o.tenth < 10 {
			if all++; o.failed {
				failures++
			}
		}
	}
	return m.opts.FailureRate > 0 && all >= m.opts.MinVolume && float64(failures) >= m.opts.FailureRate*float64(all)
}

func (m *model) trip(now time.Time) {
	m.since, m.trialAt = now, now
	m.open = m.length()
	m.to(Open, now)
}

func (m *model) length() time.Duration {
	d := float64(m.opts.ResetTimeout) * math.Pow(m.opts.ResetMultiplier, float64(m.failed))
	return time.Duration(min(d, float64(m.opts.MaxResetTimeout)) * (1 + m.opts.ResetJitter*(2*m.random-1)))
}

// setOptions follows a change of options; origin is when the breaker begins to count anew if it does.
func (m *model) setOptions(o Options, origin time.Time) {
	old := m.opts
	m.opts = o
	if o.FailureRate == 0 || old.FailureRate == 0 || o.Window != old.Window {
		m.window, m.origin = nil, origin
	}
	if o.FailureThreshold == 0 && o.FailureRate == 0 && m.state != Closed {
		m.to(Closed, origin)
	} else if m.state == Open && (o.ResetTimeout != old.ResetTimeout || o.ResetMultiplier != old.ResetMultiplier ||
		o.MaxResetTimeout != old.MaxResetTimeout || o.ResetJitter != old.ResetJitter) {
		m.open = m.length()
	}
}

func TestBehavesAsItsModel(t *testing.T) {
	// Times are in hours and never pass, so that the breaker's timer has no part in this.
	options := rapid.Custom(func(t *rapid.T) Options {
		return Options{
			FailureThreshold: rapid.IntRange(0, 4).Draw(t, "threshold"),
			FailureRate:      rapid.SampledFrom([]float64{0, 0.3, 0.5, 1}).Draw(t, "rate"),
			Window:           time.Duration(rapid.IntRange(1, 3).Draw(t, "window")) * time.Hour,
			MinVolume:        rapid.IntRange(1, 6).Draw(t, "volume"),
			ResetTimeout:     time.Duration(rapid.IntRange(1, 3).Draw(t, "timeout")) * time.Hour,
			ResetMultiplier:  rapid.SampledFrom([]float64{1, 2}).Draw(t, "multiplier"),
			MaxResetTimeout:  time.Duration(rapid.IntRange(3, 9).Draw(t, "longest")) * time.Hour,
			ResetJitter:      rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "jitter"),
			HalfOpenLimit:    rapid.IntRange(1, 3).Draw(t, "limit"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		changes := 0
		now := time.Now()
		m := &model{opts: options.Draw(t, "options")}
		b := New(m.opts, func() { changes++ })
		defer b.Close()
		m.random = rapid.Float64Range(0, 1).Draw(t, "random")
		b.rules.Load().random = func() float64 { return m.random }
		// origin is when the breaker began to count anew on its own, which it reads from the clock.
		origin := func() time.Time {
			if w := b.window.Load(); w != nil {
				return w.origin
			}
			return now
		}
		m.origin = origin()
		var held []modelPermit
		t.Repeat(map[string]func(*rapid.T){
			"allow": func(t *rapid.T) {
				want, ok := m.allow(now)
				p, got := b.Allow(now)
				if got != ok {
					t.Fatalf("Allow is %v, want %v", got, ok)
				}
				if ok {
					want.real = p
					held = append(held, want)
				}
			},
			"done": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("nothing under way")
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "exchange")
				// Failures are what drives the machine: most outcomes are one.
				o := rapid.SampledFrom([]Outcome{Failure, Success, Failure, Ignored, Failure}).Draw(t, "outcome")
				p := held[i]
				held = append(held[:i], held[i+1:]...)
				m.done(p, now, o)
				b.Done(p.real, now, o)
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "minutes")) * time.Minute)
			},
			"options": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "rarely") > 0 {
					t.Skip()
				}
				o := options.Draw(t, "options")
				b.SetOptions(o)
				m.setOptions(o, origin())
			},
			"": func(t *rapid.T) {
				if got, want := b.State(now), m.seen(now); got != want {
					t.Fatalf("the state is %v, want %v", got, want)
				}
				if got := word(b.word.Load()).trials(); got != m.trials {
					t.Fatalf("%d trials under way, want %d", got, m.trials)
				}
				if changes != m.changes {
					t.Fatalf("told of %d changes, want %d", changes, m.changes)
				}
			},
		})
	})
}
