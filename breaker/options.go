package breaker

import (
	"math/rand/v2"
	"time"
)

// Options say when a breaker opens and how it closes again. The zero value never opens. Options are comparable.
type Options struct {
	// FailureThreshold is how many failures in a row open the breaker; 0 or less means that no number does. More than
	// 65,535 count as 65,535.
	FailureThreshold int
	// FailureRate is the share of failures (0 to 1) among the outcomes of the last Window that opens the breaker, once
	// there were MinVolume; 0 or less means that no share does. It is looked at when an exchange fails.
	FailureRate float64
	// Window is the time that FailureRate is of, counted in tenths; 0 or less means 10 s.
	Window time.Duration
	// MinVolume is the least number of outcomes in Window that a rate is taken of; 0 or less means 20.
	MinVolume int
	// Counts are the causes that count as failures; 0 means all. Failures of another cause count as successes: the
	// backend did answer, or gave no reason to spare it.
	Counts Cause

	// ResetTimeout is how long an open breaker refuses before it lets trial exchanges through; 0 or less means 30 s.
	ResetTimeout time.Duration
	// ResetMultiplier is how many times longer the breaker is open each time that a trial has failed, up to
	// MaxResetTimeout; less than 1 means 1. Having closed, it starts over at ResetTimeout.
	ResetMultiplier float64
	// MaxResetTimeout bounds what ResetMultiplier leads to; less than ResetTimeout means no bound but a day.
	MaxResetTimeout time.Duration
	// ResetJitter is the share (0 to 1) by which each time of being open is varied at random, so that the breakers of
	// many balancers do not try a backend in the same moment.
	ResetJitter float64
	// HalfOpenLimit is how many trial exchanges may be under way at a time while half-open (one more for each ResetTimeout
	// in which none could begin), and how many must succeed for the breaker to close; 0 or less means 1. More than 65,535 count as 65,535.
	HalfOpenLimit int
}

const longestReset = 24 * time.Hour

// filled is o with its defaults and bounds applied.
func (o Options) filled() Options {
	o.FailureThreshold = min(max(o.FailureThreshold, 0), maxCount)
	o.FailureRate = min(max(o.FailureRate, 0), 1)
	if o.Window <= 0 {
		o.Window = 10 * time.Second
	}
	if o.MinVolume <= 0 {
		o.MinVolume = 20
	}
	if o.ResetTimeout <= 0 {
		o.ResetTimeout = 30 * time.Second
	}
	o.ResetMultiplier = max(o.ResetMultiplier, 1)
	if o.MaxResetTimeout < o.ResetTimeout {
		o.MaxResetTimeout = max(longestReset, o.ResetTimeout)
	}
	o.ResetJitter = min(max(o.ResetJitter, 0), 1)
	o.HalfOpenLimit = min(max(o.HalfOpenLimit, 1), maxCount)
	return o
}

// Rules are options made ready for breakers, which share them.
type Rules struct {
	opts   Options        // filled
	random func() float64 // from 0 to 1
}

// NewRules makes rules of options.
func NewRules(o Options) *Rules { return &Rules{o.filled(), rand.Float64} }

// Are reports whether the rules were made of options like these.
func (r *Rules) Are(o Options) bool { return r.opts == o.filled() }

func (o *Options) disabled() bool { return o.FailureThreshold == 0 && o.FailureRate == 0 }

// sameReset reports whether two breakers are open for the same times.
func (o *Options) sameReset(p *Options) bool {
	return o.ResetTimeout == p.ResetTimeout && o.ResetMultiplier == p.ResetMultiplier &&
		o.MaxResetTimeout == p.MaxResetTimeout && o.ResetJitter == p.ResetJitter
}

// open is how long the breaker is open after so many failed half-open times in a row; random is from 0 to 1.
func (o *Options) open(failed int, random float64) time.Duration {
	d := float64(o.ResetTimeout)
	for range failed {
		if d *= o.ResetMultiplier; d >= float64(o.MaxResetTimeout) {
			break
		}
	}
	d = min(d, float64(o.MaxResetTimeout))
	return time.Duration(d * (1 + o.ResetJitter*(2*random-1)))
}

// Outcome is what an exchange that failed for the cause says of its backend, and one that did not for 0.
func (o *Options) Outcome(c Cause) Outcome {
	switch {
	case c&NotTheBackend != 0:
		return Ignored
	case c == 0 || o.Counts != 0 && o.Counts&c == 0:
		return Success
	}
	return Failure
}

// Cause is why an exchange failed: one bit, or a set of them.
type Cause uint8

// The causes.
const (
	// ServerError is an answer with a status of 500 to 599, but for those of GatewayError.
	ServerError Cause = 1 << iota
	// GatewayError is an answer with status 502, 503 or 504: the backend is there, and what it needs is not.
	GatewayError
	// ConnectFailed says that no connection was made, TLS included.
	ConnectFailed
	// Timeout says that the answer did not come in time.
	Timeout
	// Reset says that the connection broke, or that what came was no HTTP.
	Reset
	// NotTheBackend says nothing of the backend: the client left, or sent what cannot be sent on. It never counts.
	NotTheBackend
)

// State is what a breaker does with exchanges.
type State int

// The states of a breaker.
const (
	Closed   State = iota // lets everything through
	Open                  // refuses everything
	HalfOpen              // lets HalfOpenLimit trials through
)

// String is "closed", "open" or "half-open".
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	}
	return "unknown"
}

// Outcome is what became of an exchange that was let through.
type Outcome int

// The outcomes.
const (
	Success Outcome = iota
	Failure
	Ignored // says nothing of the backend: the client left, the attempt was never sent
)
