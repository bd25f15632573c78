package balance

import "math/bits"

// pairs draws two different candidates, each with the probability of its weight's share.
type pairs struct {
	shares shares
	rand   func() uint64
	n      uint64
}

func newPairs(cs []Candidate, o *Options) pairs {
	return pairs{shares: newShares(cs), rand: o.Rand, n: uint64(len(cs))}
}

func (p *pairs) draw() (a, b int) {
	u := p.rand()
	if p.shares.width == 0 { // one number is enough for two that are equally likely
		hi, lo := bits.Mul64(u, p.n)
		other, _ := bits.Mul64(lo, p.n-1)
		if other >= hi {
			other++
		}
		return int(hi), int(other)
	}
	a, b = p.shares.at(u), p.shares.at(scatter(u))
	if a == b { // whichever follows: light ones get a little more than their share of second places
		other, _ := bits.Mul64(scatter(^u), p.n-1)
		if b = int(other); b >= a {
			b++
		}
	}
	return a, b
}

// lessOfTwo draws two candidates and picks the one with less in flight for its weight; of equals the first drawn, so
// that an idle service is served by weight. Two draws leave the fullest of n candidates ln(ln n)/ln 2 attempts above the
// mean, and need no look at the others (Azar, Broder, Karlin, Upfal: Balanced Allocations, 1994; Mitzenmacher: The Power
// of Two Choices in Randomized Load Balancing, 2001).
//
// What is in flight tells a slow backend only once it has filled up, and even then it gets as many attempts as wait at
// the others: of ten backends of which one is ten times slower, one request in 91, more than the hundredth that a 99th
// percentile forgives. So where one of the two answers in less than half the time of the other, in the mean, attempts count
// as often as they take time, the one that is to be made included. Smaller differences count for nothing, which keeps
// the even case even.
//
// With a=2 and b=1 in flight, weights equal: b, unless a answers in 5 ms and b in more than 10; with 5 and 11 ms a has
// 5·(2+1) = 15 before it and b 11·(1+1) = 22, so a.
type lessOfTwo struct {
	pairs
	cs []Candidate
}

func newLessOfTwo(cs []Candidate, o *Options) Picker { return &lessOfTwo{newPairs(cs, o), cs} }

func (p *lessOfTwo) Pick(q Query) int {
	i, j := p.draw()
	a, b := &p.cs[i], &p.cs[j]
	// By the other's weight instead of divided by its own: whole numbers, and exact.
	wa, wb := int64(a.Weight), int64(b.Weight)
	na, nb := a.InFlight.Load(), b.InFlight.Load()
	if a.Latency != nil && b.Latency != nil {
		la, lb := at(a.Latency.mean.Load(), uint32(q.Now)), at(b.Latency.mean.Load(), uint32(q.Now))
		if la > 0 && lb > 0 && (la > 2*lb || lb > 2*la) {
			if lb*float32((nb+1)*wa) < la*float32((na+1)*wb) {
				return j
			}
			return i
		}
	}
	if nb*wa < na*wb {
		return j
	}
	return i
}

// fasterOfTwo draws two candidates and picks the one at which an attempt is expected to take less time: its peak latency
// times one more than is in flight there for its weight, with weights taken relative to their mean.
//
// With a: 5 ms, 3 in flight and b: 10 ms, none, weights equal: 5·4 = 20 against 10·1 = 10, b. With twice the weight of b, a
// counts 3·¾ instead: 5·(1+2.25) = 16, still b. The weight divides what is in flight only: that heavier ones are asked more
// often, they are drawn more often.
//
// A candidate of which nothing is known is as good as can be while nothing is in flight there, and as bad as can be until
// its first answer: it gets one attempt at a time.
type fasterOfTwo struct {
	pairs
	lanes []timed
}

func newFasterOfTwo(cs []Candidate, o *Options) Picker {
	return &fasterOfTwo{newPairs(cs, o), newTimed(cs)}
}

func (p *fasterOfTwo) Pick(q Query) int {
	i, j := p.draw()
	a, b := &p.lanes[i], &p.lanes[j]
	now := uint32(q.Now)
	if b.cost(at(b.latency.peak.Load(), now), 1) < a.cost(at(a.latency.peak.Load(), now), 1) {
		return j
	}
	return i
}
