package balance

import (
	"math"
	"sync/atomic"
)

const (
	// maxScan is the greatest number of candidates among which the least loaded is found by looking at all of them.
	maxScan = 256
	// draws is how many of more than maxScan candidates are looked at.
	draws = 8
)

// leastLoaded picks the candidate with the least (in flight + 1)/weight: where the next attempt would weigh least.
// Among equals the first from a start that rotates from pick to pick is taken, so that an idle service is served in
// turn.
//
// With weights a=2, b=1 and attempts that do not end: the loads 1/2 and 1/1 lead to a, then 2/2 and 1/1 are equal, and
// whichever the start prefers is followed by the other (2/2, 2/1: a; or 3/2, 1/1: b). The counts keep at 2:1.
//
// All candidates are looked at, without a branch that could be predicted wrongly: each load is made a whole number,
// (in flight + 1)·unit with unit = unity/weight, and the candidate's position is put beneath it, so that the least of
// these numbers names the candidate; those from the start on and those before it are searched apart. Where the weights'
// least common multiple is at most maxUnity, unity is that multiple and loads are exact; for odder weights it is
// maxUnity, and of loads that differ by less than one in 2¹⁷ either may be taken.
type leastLoaded struct {
	cursor *Cursor
	lanes  []lane
	counts []*atomic.Int64 // the lanes' counters when all weights are equal, which is quicker; else nil
	unit   uint64          // the least of all units: that of the heaviest
}

type lane struct {
	inFlight *atomic.Int64
	unit     uint64 // shifted over the position
	base     uint64 // unit and the lane's own position
}

const (
	maxUnity = 1 << 28
	posBits  = 8 // maxScan positions
)

// fewestOfSome is leastLoaded among a few candidates drawn by weight. An exact answer over thousands would cost
// thousands of cache misses for each request, or a shared index that every attempt's begin and end would have to write.
// The best of d draws leaves the fullest of n candidates only about ln(ln n)/ln(d) attempts above the mean (Azar,
// Broder, Karlin, Upfal: Balanced Allocations, 1994; 1.1 for 10,000 and 8), where random picking leaves ln n/ln ln n,
// and it does not send everybody to the same one, as several balancers with exact answers do.
type fewestOfSome struct {
	cursor *Cursor
	shares shares
	cs     []Candidate
	heavy  int64
}

func newLeastConnections(cs []Candidate, o *Options) Picker {
	if len(cs) > maxScan {
		var heavy int
		for _, c := range cs {
			heavy = max(heavy, c.Weight)
		}
		return &fewestOfSome{cursor: o.Cursor, shares: newShares(cs), cs: cs, heavy: int64(heavy)}
	}
	l := &leastLoaded{cursor: o.Cursor, lanes: make([]lane, len(cs)), unit: math.MaxUint64}
	weights, _ := reduce(cs)
	unity := unity(weights)
	for i, w := range weights {
		unit := max(unity/w, 1) << posBits
		l.lanes[i] = lane{inFlight: cs[i].InFlight, unit: unit, base: unit + uint64(i)}
		l.unit = min(l.unit, l.lanes[i].unit)
	}
	if equalWeights(cs) {
		for _, c := range cs {
			l.counts = append(l.counts, c.InFlight)
		}
	}
	return l
}

// unity is the least common multiple of the weights, maxUnity if that is less.
func unity(weights []uint64) uint64 {
	m := uint64(1)
	for _, w := range weights {
		if m = m / gcd(m, w) * w; m > maxUnity {
			return maxUnity
		}
	}
	return m
}

func (l *leastLoaded) Pick(Query) int {
	start := int(l.cursor.next() % uint64(len(l.lanes)))
	// Nothing is below an idle candidate of the greatest weight.
	if first := &l.lanes[start]; first.unit == l.unit && first.inFlight.Load() <= 0 {
		return start
	}
	var ahead, behind uint64
	if l.counts != nil {
		ahead, behind = fewest(l.counts[start:], uint64(start)), fewest(l.counts[:start], 0)
	} else {
		ahead, behind = least(l.lanes[start:]), least(l.lanes[:start])
	}
	if behind>>posBits < ahead>>posBits {
		ahead = behind
	}
	return int(ahead & (1<<posBits - 1))
}

// least returns the least of the lanes' loads, with the position beneath. Minima are kept apart so that one need not
// wait for the other.
func least(lanes []lane) uint64 {
	a, b := ^uint64(0), ^uint64(0)
	for ; len(lanes) >= 4; lanes = lanes[4:] {
		four := (*[4]lane)(lanes)
		a = min(a, four[0].load(), four[2].load())
		b = min(b, four[1].load(), four[3].load())
	}
	for i := range lanes {
		a = min(a, lanes[i].load())
	}
	return min(a, b)
}

// fewest is least for lanes of one weight, of which the first is at pos.
func fewest(counts []*atomic.Int64, pos uint64) uint64 {
	a, b := ^uint64(0), ^uint64(0)
	for ; len(counts) >= 4; counts, pos = counts[4:], pos+4 {
		four := (*[4]*atomic.Int64)(counts)
		a = min(a, uint64(four[0].Load())<<posBits+pos, uint64(four[2].Load())<<posBits+pos+2)
		b = min(b, uint64(four[1].Load())<<posBits+pos+1, uint64(four[3].Load())<<posBits+pos+3)
	}
	for i, c := range counts {
		a = min(a, uint64(c.Load())<<posBits+pos+uint64(i))
	}
	return min(a, b)
}

// load is right up to 2²⁸ attempts under way.
func (l *lane) load() uint64 { return uint64(l.inFlight.Load())*l.unit + l.base }

func (f *fewestOfSome) Pick(Query) int {
	seed := f.cursor.next() * draws
	best := f.shares.at(scatter(seed))
	count, weight := f.cs[best].InFlight.Load()+1, int64(f.cs[best].Weight)
	for k := range uint64(draws - 1) {
		if count <= 1 && weight == f.heavy {
			return best
		}
		i := f.shares.at(scatter(seed + k + 1))
		c := &f.cs[i]
		if n, w := c.InFlight.Load()+1, int64(c.Weight); n*weight < count*w {
			best, count, weight = i, n, w
		}
	}
	return best
}

// scatter turns 0, 1, 2, … into numbers that look drawn by chance: SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014). Unlike math/rand/v2's it can be worked out for several draws at a time.
func scatter(n uint64) uint64 {
	n = (n + 1) * 0x9E3779B97F4A7C15
	n = (n ^ n>>30) * 0xBF58476D1CE4E5B9
	n = (n ^ n>>27) * 0x94D049BB133111EB
	return n ^ n>>31
}
