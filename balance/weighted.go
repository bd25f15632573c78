package balance

import (
	"cmp"
	"slices"
)

// maxSlots bounds a precomputed sequence: 64 KiB, built in about a millisecond. Candidates whose reduced weights sum to
// more are picked by [stride], which is as exact but less smooth.
const maxSlots = 16384

// sequence picks by a precomputed smooth order of as many slots as the weights sum to after division by their greatest
// common divisor, so that any that many picks in a row give each candidate exactly its share.
//
// The order is made as Huffman makes a code: each candidate starts with a stream of its own slots, and the two shortest
// streams are merged until one is left. To merge, the k-th slot (from 0) of a stream of length W wants to stand at the
// point (k+½)/W, and slots are taken in the order of those points, the longer stream's first where they coincide. With
// weights a=5, b=1, c=1, first b and c are merged, then a with both:
//
//	b c:  .25           .75
//	a:  .1    .3  .5  .7      .9
//	      a b  a   a   a  c    a
//
// Each merge keeps either stream within one slot of its share at every point, and since streams that are short wait
// least for their turn, those errors hardly add up: no candidate is ever two slots off its share. Ordering all
// candidates' slots by their points at once would bunch what is alike: b and c would stand side by side in the middle,
// and a five times in a row around the cycle's end.
type sequence struct {
	cursor *Cursor
	slots  []uint32
}

func newWeighted(cs []Candidate, o *Options) Picker {
	if equalWeights(cs) {
		return newRoundRobin(cs, o)
	}
	weights, total := reduce(cs)
	if total > maxSlots {
		return newStride(weights, total, o.Cursor)
	}
	return &sequence{cursor: o.Cursor, slots: smooth(weights)}
}

func (s *sequence) Pick(Query) int { return int(s.slots[s.cursor.next()%uint64(len(s.slots))]) }

// reduce divides the weights by their greatest common divisor and returns them with their sum.
func reduce(cs []Candidate) (weights []uint64, total uint64) {
	var d uint64
	for _, c := range cs {
		d = gcd(d, uint64(c.Weight))
	}
	weights = make([]uint64, len(cs))
	for i, c := range cs {
		weights[i] = uint64(c.Weight) / d
		total += weights[i]
	}
	return weights, total
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// smooth returns the sequence for reduced weights.
func smooth(weights []uint64) []uint32 {
	order := make([]uint32, len(weights))
	for i := range order {
		order[i] = uint32(i)
	}
	// Of equal weights the later candidate comes first, since a merge takes the second stream's slot first.
	slices.SortFunc(order, func(i, j uint32) int {
		return cmp.Or(cmp.Compare(weights[i], weights[j]), cmp.Compare(j, i))
	})
	own := make([][]uint32, len(weights))
	for k, i := range order {
		own[k] = slices.Repeat([]uint32{i}, int(weights[i]))
	}
	// Streams come out of merging in ascending length, so that the shortest is always at the front of own or merged.
	var merged [][]uint32
	shortest := func() (s []uint32) {
		if len(merged) == 0 || len(own) > 0 && len(own[0]) <= len(merged[0]) {
			s, own = own[0], own[1:]
		} else {
			s, merged = merged[0], merged[1:]
		}
		return s
	}
	for len(own)+len(merged) > 1 {
		short := shortest()
		merged = append(merged, merge(shortest(), short))
	}
	return shortest()
}

// merge spreads the slots of both streams evenly; long is not the shorter one.
func merge(long, short []uint32) []uint32 {
	out := make([]uint32, 0, len(long)+len(short))
	i, j := 0, 0
	for i < len(long) || j < len(short) {
		if j == len(short) || i < len(long) && (2*i+1)*len(short) <= (2*j+1)*len(long) {
			out = append(out, long[i])
			i++
		} else {
			out = append(out, short[j])
			j++
		}
	}
	return out
}
