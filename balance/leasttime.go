package balance

import "sync/atomic"

// timed is a candidate as those see it that choose by latency.
type timed struct {
	inFlight *atomic.Int64
	latency  *Latency
	// each is what one attempt counts: the mean weight over the candidate's.
	each float32
}

func newTimed(cs []Candidate) []timed {
	var total float64
	for _, c := range cs {
		total += float64(c.Weight)
	}
	lanes := make([]timed, len(cs))
	for i, c := range cs {
		lanes[i] = timed{c.InFlight, c.Latency, float32(total / float64(len(cs)) / float64(c.Weight))}
	}
	return lanes
}

// never is the cost of a candidate that has not answered yet what it was asked.
const never = 1e30

// cost is the time that an attempt is expected to take, with own for what the attempt itself counts.
func (t *timed) cost(latency, own float32) float32 {
	n := float32(max(t.inFlight.Load(), 0))
	if latency == 0 && n > 0 {
		latency = never
	}
	return latency * (own + n*t.each)
}

// leastTime picks the candidate at which an attempt is expected to take the least time: its mean latency times what would
// be in flight there, over its weight. It looks at all of up to maxTimed candidates, from a start that rotates, and at
// timedDraws drawn by weight among more: each look costs two reads of memory that others write.
//
// With a: 5 ms, 3 in flight and b: 10 ms, 1 in flight, weights equal: 5·4 = 20 and 10·2 = 20, whichever the start prefers.
// With a of twice the weight, a.
//
// Of many that are drawn by weight the attempt itself counts the same at each (see [fasterOfTwo]), since the weight has had
// its say in the draw.
type leastTime struct {
	cursor *Cursor
	rand   func() uint64
	shares shares
	lanes  []timed
}

const (
	maxTimed   = 8
	timedDraws = 4
)

func newLeastTime(cs []Candidate, o *Options) Picker {
	l := &leastTime{cursor: o.Cursor, rand: o.Rand, lanes: newTimed(cs)}
	if len(cs) > maxTimed {
		l.shares = newShares(cs)
	}
	return l
}

func (l *leastTime) Pick(q Query) int {
	now, n := uint32(q.Now), len(l.lanes)
	best, least := 0, float32(2*never)
	if n <= maxTimed {
		i := int(l.cursor.next() % uint64(n))
		for range n {
			t := &l.lanes[i]
			if c := t.cost(at(t.latency.mean.Load(), now), t.each); c < least {
				best, least = i, c
			}
			if i++; i == n {
				i = 0
			}
		}
		return best
	}
	seed := l.rand()
	for k := range uint64(timedDraws) {
		i := l.shares.at(scatter(seed + k))
		t := &l.lanes[i]
		if c := t.cost(at(t.latency.mean.Load(), now), 1); c < least {
			best, least = i, c
		}
	}
	return best
}
