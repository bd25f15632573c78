package balance

import (
	"math/bits"
	"sort"
)

// stride picks by weight without a sequence, for weights whose sum is too large for one. The candidates lie side by
// side on a line of the length of that sum, each as long as its weight, and pick number n falls on the point
//
//	n·step mod total
//
// where step is the first number from ⌊total/φ⌋ up (φ is the golden ratio) that shares no divisor with total. It
// therefore falls once on each point in any total picks in a row, which makes the shares exact, and points that follow one another
// are far apart and spread evenly (the three-distance theorem), which keeps it fairly smooth. With total=7 the step
// would be 4, the walk 0 4 1 5 2 6 3, and weights a=5, b=1, c=1 would give a a a b a c a.
//
// Memory is proportional to the candidates, whatever their weights.
type stride struct {
	cursor      *Cursor
	total, step uint64
	// ends holds where each candidate ends on the line.
	ends []uint64
	// guide holds for each stretch of 1<<shift points the candidate at its first point; there are about as many
	// stretches as candidates, so that few lie within one.
	guide []uint32
	shift uint
}

func newStride(weights []uint64, total uint64, cursor *Cursor) *stride {
	s := &stride{cursor: cursor, total: total, step: coprime(total)}
	s.shift = uint(bits.Len64(total/uint64(len(weights)))) - 1
	s.guide = make([]uint32, 0, total>>s.shift+2)
	s.ends = make([]uint64, len(weights))
	var end uint64
	for i, w := range weights {
		end += w
		s.ends[i] = end
		for uint64(len(s.guide))<<s.shift < end {
			s.guide = append(s.guide, uint32(i))
		}
	}
	s.guide = append(s.guide, uint32(len(weights)-1)) // for the end of the last stretch
	return s
}

func (s *stride) Pick(Query) int {
	hi, lo := bits.Mul64(s.cursor.next()%s.total, s.step)
	return s.at(bits.Rem64(hi, lo, s.total))
}

// at returns the candidate at a point of the line: the first that ends after it.
func (s *stride) at(point uint64) int {
	stretch := point >> s.shift
	from, to := int(s.guide[stretch]), int(s.guide[stretch+1])
	if to-from < 8 {
		for s.ends[from] <= point {
			from++
		}
		return from
	}
	return from + sort.Search(to-from, func(i int) bool { return s.ends[from+i] > point })
}

// coprime returns the first number from n/φ up that shares no divisor with n, for n of 2 and more.
func coprime(n uint64) uint64 {
	hi, _ := bits.Mul64(n, 0x9E3779B97F4A7C15) // 2⁶⁴/φ
	for step := max(hi, 1); ; step++ {
		if gcd(step, n) == 1 {
			return step
		}
	}
}
