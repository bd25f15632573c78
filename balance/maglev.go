package balance

import (
	"cmp"
	"container/heap"
	"math"
	"math/bits"
	"slices"
)

// slots is a table as Maglev has it (Eisenbud and others: Maglev, a Fast and Reliable Software Network Load Balancer,
// 2016): a key's hash falls on a slot, and the slot names its member. Each member has an order of its own in which it
// would like to have the slots, starting at one hash of its name and going on by steps of another:
//
//	slots 0 … 6, members a (from 3 in steps of 4), b (from 0 in steps of 2), c (from 3 in steps of 1)
//	a: 3 0 4 1 5 2 6   b: 0 2 4 6 1 3 5   c: 3 4 5 6 0 1 2
//
// Members take turns, and who comes first gets a slot. In the first turn a takes 3, b takes 0, and c finds 3 taken. Maglev
// has c go on to 4 in the same turn, so that all have equally many slots; but then a member that leaves moves far more
// than its own: whoever takes one of its slots does not take the one that it took before, which another takes instead,
// and so on, about ln(slots) times. Here c loses its turn:
//
//	turn 1: a 3, b 0, –    turn 2: –, b 2, c 4    turn 3: –, –, c 5    turn 4: a 1, b 6, –
//	b a b a c c b, written by slot: 0 b, 1 a, 2 b, 3 a, 4 c, 5 c, 6 b
//
// Now the owner of a slot is whoever ranks it highest, whoever else there is: without b its slots 0, 2 and 6 go to others
// and no other slot moves. That is rendezvous hashing, made at Maglev's cost. The price is that the numbers of slots vary as
// chance has them, by a share of √(members/slots); there are at least 200 slots for a member, and none takes more than
// slack times its share, which moves hardly anything.
//
// A member of weight w takes its turn i at the time i/w, so that heavier ones come first more often. After turns for
// maxClaims times the slots hardly any is free; the last ones go to the owner of another slot, found by a hash.
type slots struct {
	n     uint64
	small []uint16 // the members by slot, when 16 bits are enough for their numbers
	large []uint32 // else
}

const (
	slack     = 1.1
	maxClaims = 5
)

// sizes are primes, each the greatest there is a need for up to 1/200 of so many members.
var sizes = []int{65537, 262147, 1048583, 2097169, MaxSize}

// slotCount is the number of slots for so many members: a prime, since only in steps through a prime number of slots does
// every member come to each.
func slotCount(members, size int) int {
	if size > 0 {
		for !prime(size) && size < MaxSize {
			size++
		}
		return max(size, 2)
	}
	for _, n := range sizes {
		if n/200 >= members {
			return n
		}
	}
	return MaxSize
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func (s *slots) at(slot uint64) int {
	if s.large != nil {
		return int(s.large[slot])
	}
	return int(s.small[slot])
}

func newSlots(ids []uint64, members []Member, size int) slots {
	n := slotCount(len(members), size)
	if len(members) < math.MaxUint16 {
		owners := fill[uint16](ids, members, n)
		return slots{n: uint64(len(owners)), small: owners}
	}
	owners := fill[uint32](ids, members, n)
	return slots{n: uint64(len(owners)), large: owners}
}

// claimant is a member while slots are claimed.
type claimant struct {
	member     uint32
	slot, step uint32 // the slot that it claims next, and how far it is to the one after
	room       int32  // how many more it takes
}

// turns are the members of one weight, which take their turns at the same time.
type turns struct {
	weight    int
	count     int // turns taken
	claimants []claimant
}

// before orders by the time of the next turn, (count+1)/weight.
func (t *turns) before(u *turns) bool {
	a, b := (t.count+1)*u.weight, (u.count+1)*t.weight
	return a < b || a == b && t.weight > u.weight
}

// schedule is a heap of turns.
type schedule []*turns

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].before(s[j]) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)        { *s = append(*s, x.(*turns)) }
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// fill returns the members by slot, nil if none has a weight.
func fill[I uint16 | uint32](ids []uint64, members []Member, n int) []I {
	plan := newSchedule(ids, members, n)
	if len(plan) == 0 {
		return nil
	}
	free := ^I(0)
	owners := slices.Repeat([]I{free}, n)
	left := n
	for claims := 0; claims < maxClaims*n && left > 0; {
		t := plan[0]
		for i := range t.claimants {
			c := &t.claimants[i]
			if owners[c.slot] == free && c.room > 0 {
				owners[c.slot] = I(c.member)
				c.room--
				left--
			}
			if c.slot += c.step; c.slot >= uint32(n) {
				c.slot -= uint32(n)
			}
		}
		claims += len(t.claimants)
		if t.count++; len(plan) > 1 {
			heap.Fix(&plan, 0)
		}
	}
	if left > 0 {
		lend(owners, free, left)
	}
	return owners
}

// newSchedule has the members in their first turn. Those of one weight are in order of their hash, which does not depend on
// who else there is.
func newSchedule(ids []uint64, members []Member, n int) schedule {
	order := make([]int, 0, len(members))
	total := 0
	for i, m := range members {
		if m.Weight > 0 {
			order = append(order, i)
			total += m.Weight
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(members[i].Weight, members[j].Weight), cmp.Compare(ids[i], ids[j]))
	})
	var plan schedule
	for _, i := range order {
		w := members[i].Weight
		if len(plan) == 0 || plan[len(plan)-1].weight != w {
			plan = append(plan, &turns{weight: w})
		}
		t := plan[len(plan)-1]
		from, _ := bits.Mul64(scatter(ids[i]), uint64(n))
		step, _ := bits.Mul64(scatter(^ids[i]), uint64(n-1))
		room := math.Ceil(slack*float64(n)*float64(w)/float64(total)) + 1
		t.claimants = append(t.claimants, claimant{uint32(i), uint32(from), uint32(step) + 1, int32(min(room, float64(n)))})
	}
	heap.Init(&plan)
	return plan
}

// lend gives the free slots to the owners of others: of the first slot with one on a walk that is the slot's own.
func lend[I uint16 | uint32](owners []I, free I, left int) {
	lent := make([]I, 0, left)
	for s, o := range owners {
		for at := scatter(uint64(s)); o == free; at = scatter(at) {
			other, _ := bits.Mul64(at, uint64(len(owners)))
			o = owners[other]
		}
		if owners[s] == free {
			lent = append(lent, o)
		}
	}
	for s, k := 0, 0; k < len(lent); s++ {
		if owners[s] == free {
			owners[s] = lent[k]
			k++
		}
	}
}
