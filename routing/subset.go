package routing

import (
	"math"
	"slices"

	"github.com/vietddude/load-balancer/balance"
)

// subset returns the backends of a service of which this balancer uses any: about size of them, or all if size is 0 or
// not less than there are. Many balancers together cover all backends evenly, and little changes when backends or
// balancers come and go. Like the backends it is in order of ID.
//
// The balancers form lots of g = ⌈backends/size⌉, by their index: 0 to g-1 the first, and so on. Within a lot each backend
// falls to exactly one balancer, found by hashing its ID with the number of the lot, so that each lot covers every backend
// once. With 6 backends and a size of 2, g is 3:
//
//	balancer  0: a d     1: b e f  2: c        lot 0
//	          3: c f     4: a d    5: b e      lot 1
//	          6: a b e                         lot 2, of one balancer as yet
//
// Each backend has one balancer in each whole lot: a number that differs by at most 1. A backend that comes or goes is
// nobody's matter but that of its one balancer in each lot, apart from those that are displaced; a balancer that joins at
// the end changes nobody's subset. When there are so many more backends that g grows by one, jump hashing (Lamping and Veach:
// A Fast, Minimal Memory, Consistent Hash Algorithm, 2014) moves one in g+1.
//
// By chance alone the sizes of subsets would vary by √size, and with them the load of a backend in a small one. So
// backends are taken in the order of their hash; the one whose balancer has its share already tries the next of its own
// sequence, and the last ones go where there is most room. Google's deterministic subsetting cuts a shuffled list into pieces instead, which are all equal, but a backend
// that goes moves the borders of all the pieces after it (Site Reliability Engineering, 2016, chapter 20; Ward and others:
// Reinventing Backend Subsetting at Google, 2022, on what that costs).
//
// A balancer that does not know its index takes a hash of its ID for one: even in the mean only, each being a lot of its
// own.
func subset(all []*Backend, size int, here Here) []*Backend {
	if size <= 0 || len(all) <= size {
		return all
	}
	count := (len(all) + size - 1) / size
	index := uint64(here.Index)
	if here.Of <= 0 {
		index = balance.Hash(here.ID)
	}
	lot, own := index/uint64(count), int(index%uint64(count))
	owners := deal(all, count, lot)
	out := make([]*Backend, 0, size+size/4+1)
	for i, b := range all {
		if owners[i] == own {
			out = append(out, b)
		}
	}
	return out
}

const (
	// crowded is how many times its even share a balancer of a lot takes, and fullTries how many balancers are asked for
	// a backend before it goes to the one with most room.
	crowded   = 1.1
	fullTries = 16
	// The last fifth of the backends goes to the one with most room of lastTries, which fills those that got few. Each of
	// these choices depends on others, so that more of them would be evener and move more: of 1,000 backends dealt to 50
	// balancers, which get 18 to 22 each, one that goes moves about 4 others.
	lastFifth = 5
	lastTries = 6
)

// deal gives each backend to one of count balancers of a lot.
func deal(all []*Backend, count int, lot uint64) []int {
	type dealt struct {
		hash uint64
		i    int
	}
	order := make([]dealt, len(all))
	for i, b := range all {
		order[i] = dealt{balance.HashNumber(balance.Hash(b.ID) ^ balance.HashNumber(lot)), i}
	}
	slices.SortFunc(order, func(a, b dealt) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return a.i - b.i
	})
	room := int(math.Ceil(crowded * float64(len(all)) / float64(count)))
	has, owners := make([]int, count), make([]int, len(all))
	for n, d := range order {
		tries, last := fullTries, n >= len(order)-len(order)/lastFifth
		if last {
			tries = lastTries
		}
		h, best := d.hash, -1
		for range tries {
			h = balance.HashNumber(h)
			k := jump(h, count)
			if best < 0 || has[k] < has[best] {
				best = k
			}
			if !last && has[k] < room {
				break
			}
		}
		owners[d.i] = best
		has[best]++
	}
	return owners
}

// jump is the jump consistent hash of a key among n: where n grows by one, one key in n+1 moves, to the new one.
func jump(key uint64, n int) int {
	b, j := int64(-1), int64(0)
	for j < int64(n) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return int(b)
}
