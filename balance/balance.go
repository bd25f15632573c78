// Package balance holds the algorithms that choose among a service's ready backends. Pickers are pure: no clock, no
// I/O, no lock; whatever they remember lives in a [Cursor], a [Latency] or a [Table] that outlives them. What the time is
// they are told by whoever asks.
package balance

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Algorithm names a way to choose.
type Algorithm string

// The algorithms. The zero value is RoundRobin.
const (
	RoundRobin         Algorithm = "round-robin"
	WeightedRoundRobin Algorithm = "weighted-round-robin"
	LeastConnections   Algorithm = "least-connections"
	Random             Algorithm = "random"
	P2C                Algorithm = "p2c"
	EWMA               Algorithm = "ewma"
	LeastTime          Algorithm = "least-time"
	Maglev             Algorithm = "maglev"
	Ring               Algorithm = "ring"
)

// Algorithms lists all there are, in the order of the documentation.
var Algorithms = []Algorithm{RoundRobin, WeightedRoundRobin, LeastConnections, Random, P2C, EWMA, LeastTime, Maglev, Ring}

// Consistent reports whether the algorithm chooses by a key, so that it needs a [Table].
func (a Algorithm) Consistent() bool { return a == Maglev || a == Ring }

// Candidate is a backend as pickers see it.
type Candidate struct {
	// Weight is the backend's share, 1 to [MaxWeight]: a backend of weight 0 is no candidate. RoundRobin does not look at
	// it.
	Weight int
	// InFlight counts the attempts under way at the backend. Pickers only read it. LeastConnections, P2C, EWMA and
	// LeastTime need it, and Maglev and Ring do where loads are bounded; the others take nil.
	InFlight *atomic.Int64
	// Latency is how the backend answered so far. EWMA and LeastTime need it; P2C heeds it if it is there.
	Latency *Latency
	// Member is the backend's index in the [Table] of Maglev and Ring, -1 if that does not have it. Others do not look.
	Member int
	// Part is the part of its keys that the backend takes, in 1/[Whole]: less than all while it starts slowly. 0 stands
	// for all. Only Maglev and Ring look at it, whose tables know the weights.
	Part uint32
}

// MaxWeight bounds a candidate's weight: 1000 as people give it, and room for what is derived from it.
const MaxWeight = 1 << 24

// Whole is the [Candidate.Part] of a backend that takes all its keys.
const Whole = 1 << 16

// Query is what a pick is asked by.
type Query struct {
	// Key is what Maglev and Ring choose by: a [Hash] of what requests that belong together have in common.
	Key uint64
	// Now is the time in milliseconds by a clock that nobody sets, which P2C, EWMA and LeastTime read latencies at.
	Now int64
	// Skip passes over so many of the candidates that Maglev and Ring would choose for the key, so that another attempt
	// of the same exchange comes to the next.
	Skip int
}

// Cursor is the position of a service's pickers. It is shared by all pickers of one service, one after another, so that
// a new set of candidates does not start over. The zero value is ready. It fills its cache lines: every pick writes it,
// and what lies beside it is read by every pick.
type Cursor struct {
	_ [64]byte
	n atomic.Uint64
	_ [56]byte
}

// next returns 0, 1, 2, … from pick to pick.
func (c *Cursor) next() uint64 { return c.n.Add(1) - 1 }

// Picker chooses among the candidates that it was made for. It may be used concurrently and does not allocate.
type Picker interface {
	// Pick returns the index of a candidate, -1 if there are none.
	Pick(Query) int
}

// Options are what pickers of one service share, one after another. The zero value works for all algorithms but those
// that need a table.
type Options struct {
	// Cursor is the position; nil stands for one of the picker's own.
	Cursor *Cursor
	// Table holds the members of a service whose algorithm is consistent; it must be of the same algorithm.
	Table *Table
	// MaxLoad bounds what Maglev and Ring give a candidate: so many times its share of all that is under way. 0 is no
	// bound.
	MaxLoad float64
	// Total counts the attempts under way at all the candidates; MaxLoad needs it.
	Total *atomic.Int64
	// Rand returns uniform 64-bit numbers; nil stands for math/rand/v2's.
	Rand func() uint64
}

// New returns a picker over the candidates, which it keeps and which must not change any more. An unknown algorithm is
// an error, and so are a weight that is not 1 to [MaxWeight] and what is missing of counters, latencies and table; no
// candidates are none.
func New(a Algorithm, candidates []Candidate, o Options) (Picker, error) {
	if a == "" {
		a = RoundRobin
	}
	build, ok := builders[a]
	if !ok {
		return nil, fmt.Errorf("unknown algorithm %q; want one of %v", a, Algorithms)
	}
	counts := a == LeastConnections || a == P2C || a == EWMA || a == LeastTime || a.Consistent() && o.MaxLoad > 0
	for i, c := range candidates {
		switch {
		case c.Weight < 1 || c.Weight > MaxWeight:
			return nil, fmt.Errorf("candidate %d has weight %d; want 1 to %d", i, c.Weight, MaxWeight)
		case counts && c.InFlight == nil:
			return nil, fmt.Errorf("candidate %d has no counter of attempts under way; %s needs one", i, a)
		case (a == EWMA || a == LeastTime) && c.Latency == nil:
			return nil, fmt.Errorf("candidate %d has no latency; %s needs one", i, a)
		}
	}
	if len(candidates) < 2 {
		return fixed(len(candidates) - 1), nil
	}
	if a.Consistent() {
		if o.Table == nil || o.Table.algorithm != a {
			return nil, fmt.Errorf("%s needs a table of its own", a)
		}
		if o.MaxLoad > 0 && (o.Total == nil || o.MaxLoad < 1) {
			return nil, fmt.Errorf("loads bounded by %g need a bound of 1 or more and a counter of all that is under way", o.MaxLoad)
		}
	}
	if o.Cursor == nil {
		o.Cursor = new(Cursor)
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	return build(candidates, &o), nil
}

// builders make pickers of two candidates and more.
var builders = map[Algorithm]func([]Candidate, *Options) Picker{
	RoundRobin:         newRoundRobin,
	WeightedRoundRobin: newWeighted,
	LeastConnections:   newLeastConnections,
	Random:             newRandom,
	P2C:                newLessOfTwo,
	EWMA:               newFasterOfTwo,
	LeastTime:          newLeastTime,
	Maglev:             newConsistent,
	Ring:               newConsistent,
}

// Check reports what is wrong with an algorithm's name.
func Check(a Algorithm) error {
	_, err := New(a, nil, Options{})
	return err
}

// fixed always picks itself: the only candidate, or -1 for none.
type fixed int

func (f fixed) Pick(Query) int { return int(f) }

// equalWeights reports whether all candidates have the same weight.
func equalWeights(cs []Candidate) bool {
	for _, c := range cs[1:] {
		if c.Weight != cs[0].Weight {
			return false
		}
	}
	return true
}
