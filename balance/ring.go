package balance

import (
	"math/bits"
	"slices"
)

// ring is a circle of points, of which each member has about as many as its weight says; a key belongs to the member of
// the first point from its own hash on (Karger and others: Consistent Hashing and Random Trees, 1997; libketama, 2007). A
// member that leaves gives its stretches to whoever follows each, and no other key moves.
//
//	points 10 b, 25 a, 40 b, 70 c; the keys 26 to 40 are b's, those above 70 go round to b at 10.
//	Without b those up to 10 and above 70 belong to a, and 26 to 40 to c.
//
// With 160 points each, the shares of members vary by 1/√160 = 8 %; the largest of many has about 1.3 times the mean.
//
// How many points a weight stands for changes only by factors of two, as the mean weight or the number of members does:
// a member's points are the first of an endless sequence of its own, so that other members' weights move none of them.
type ring struct {
	// points are hashes in their upper 40 bits, in order, and the member below.
	points []uint64
	// guide holds for each 2^-n of the circle the first point from its beginning on; there are half to as many stretches
	// as points, so that few lie within one.
	guide []uint32
	shift uint
}

const (
	pointsEach = 160 // of a member of mean weight, up to twice as many
	maxPoints  = 1 << 20
	memberBits = 24
	memberMask = 1<<memberBits - 1
)

func newRing(ids []uint64, members []Member, size int) ring {
	total, weighted := 0, 0
	for _, m := range members {
		if m.Weight > 0 {
			total += m.Weight
			weighted++
		}
	}
	if total == 0 {
		return ring{}
	}
	// per is how many points a weight of unit stands for.
	unit, per := 1<<(bits.Len(uint(total/weighted))-1), pointsEach
	most := maxPoints
	if size > 0 {
		most, per = size, MaxSize
	}
	for per > 1 && total/unit*per > most {
		per /= 2
	}
	r := ring{points: make([]uint64, 0, total/unit*per+weighted)}
	for i, m := range members {
		at := ids[i]
		for range (m.Weight*per + unit - 1) / unit {
			at = scatter(at)
			r.points = append(r.points, at&^memberMask|uint64(i))
		}
	}
	slices.Sort(r.points)
	r.shift = 65 - uint(bits.Len(uint(len(r.points))))
	r.guide = make([]uint32, 0, 1<<(64-r.shift))
	for i, p := range r.points {
		for uint64(len(r.guide)) <= p>>r.shift {
			r.guide = append(r.guide, uint32(i))
		}
	}
	for len(r.guide) < 1<<(64-r.shift) {
		r.guide = append(r.guide, uint32(len(r.points)))
	}
	return r
}

// find is the index of the first point from there on.
func (r *ring) find(at uint64) int {
	if len(r.points) == 0 {
		return 0
	}
	i := int(r.guide[at>>r.shift])
	for at &^= memberMask; i < len(r.points) && r.points[i] < at; {
		i++
	}
	if i == len(r.points) {
		return 0
	}
	return i
}
