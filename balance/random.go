package balance

import "math/bits"

// random picks by chance, each candidate with the probability of its weight's share.
type random struct {
	shares shares
	rand   func() uint64
}

func newRandom(cs []Candidate, o *Options) Picker { return &random{newShares(cs), o.Rand} }

func (r *random) Pick(Query) int { return r.shares.at(r.rand()) }

// shares turns a uniform number into a candidate by Walker's alias method: two looks into a table, whatever the number
// of candidates and their weights.
//
// There are as many cells as candidates. Each is as wide as all weights together and holds at most two candidates: its
// own up to its mark, another from there on; every candidate has n times its weight in all cells together. With weights
// 1,2,3 (n=3, width 6, so that the candidates fill 3, 6 and 9):
//
//	cell 0: 0 0 0 2 2 2   mark 3, other 2
//	cell 1: 1 1 1 1 1 1   mark 6
//	cell 2: 2 2 2 2 2 2   mark 6
//
// The table is made by Vose's way: a candidate that does not fill its cell gets the rest filled by one that has too
// much, until none has. All numbers are integers, hence the shares exact.
type shares struct {
	n     uint64
	width uint64 // 0 when all weights are equal; there is no table then
	cells []cell
}

type cell struct {
	mark  uint64
	other uint32
}

func newShares(cs []Candidate) shares {
	s := shares{n: uint64(len(cs))}
	if equalWeights(cs) {
		return s
	}
	weights, width := reduce(cs)
	s.width = width
	s.cells = make([]cell, len(cs))
	var less, more []uint32
	for i, w := range weights {
		s.cells[i] = cell{mark: w * s.n, other: uint32(i)}
		if s.cells[i].mark < width {
			less = append(less, uint32(i))
		} else {
			more = append(more, uint32(i))
		}
	}
	for len(less) > 0 && len(more) > 0 {
		poor, rich := less[len(less)-1], more[len(more)-1]
		less = less[:len(less)-1]
		s.cells[poor].other = rich
		s.cells[rich].mark -= width - s.cells[poor].mark
		if s.cells[rich].mark < width {
			more = more[:len(more)-1]
			less = append(less, rich)
		}
	}
	return s
}

// at returns the candidate for a number drawn uniformly from all 64-bit numbers. Its high part chooses the cell, what
// remains the point within; candidates are favoured by less than n·width in 2⁶⁴.
func (s *shares) at(u uint64) int {
	i, rest := bits.Mul64(u, s.n)
	if s.width == 0 {
		return int(i)
	}
	c := &s.cells[i]
	chosen := uint64(c.other)
	if point, _ := bits.Mul64(rest, s.width); point < c.mark {
		chosen = i // without a branch, which could not be predicted
	}
	return int(chosen)
}
