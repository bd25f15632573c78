package balance

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// consistent picks by the key: the first of the members that the table prefers for it which is a candidate, takes its key
// while it starts slowly, and is not above its bound.
//
// With loads bounded (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2016) a candidate has at
// most ⌈c·(total+1)·share⌉ attempts in flight: of 10 equal candidates with 47 in flight together and c = 1.25 none gets a
// seventh, ⌈1.25·48/10⌉ = 6. What it would get goes to the next for the key, always the same for each.
type consistent struct {
	table *Table
	cs    []Candidate
	// places are the candidates by member, -1 for none.
	places []int32
	// bounds are c times the candidates' shares; nil for no bound.
	bounds []float32
	total  *atomic.Int64
}

// maxWalk is how many members are looked at for a key. Where nearly none is ready, or all are full, more is not worth it.
const maxWalk = 64

func newConsistent(cs []Candidate, o *Options) Picker {
	p := &consistent{table: o.Table, cs: cs, places: make([]int32, len(o.Table.ids)), total: o.Total}
	for i := range p.places {
		p.places[i] = -1
	}
	weights := 0.0
	for i, c := range cs {
		if c.Member >= 0 && c.Member < len(p.places) {
			p.places[c.Member] = int32(i)
		}
		weights += float64(c.Weight)
	}
	if o.MaxLoad > 0 {
		p.bounds = make([]float32, len(cs))
		for i, c := range cs {
			p.bounds[i] = float32(o.MaxLoad * float64(c.Weight) / weights)
		}
	}
	return p
}

func (p *consistent) Pick(q Query) int {
	var all float32
	if p.bounds != nil {
		all = float32(max(p.total.Load(), 0) + 1)
	}
	w := p.table.walk(q.Key)
	var passed [4]int
	skipped := 0
	spare, least := -1, float32(math.MaxFloat32)
	for range maxWalk {
		m := w.next()
		if m < 0 {
			break
		}
		i := int(p.places[m])
		if i < 0 {
			continue
		}
		c := &p.cs[i]
		if c.Part > 0 && uint32(scatter(q.Key^p.table.ids[m])>>48) >= c.Part {
			continue
		}
		if skipped < min(q.Skip, len(passed)) {
			if !isAmong(passed[:skipped], i) {
				passed[skipped] = i
				skipped++
			}
			continue
		}
		if isAmong(passed[:skipped], i) {
			continue
		}
		if p.bounds == nil {
			return i
		}
		n := float32(c.InFlight.Load())
		if float64(n+1) <= math.Ceil(float64(p.bounds[i]*all)) {
			return i
		}
		if load := n / p.bounds[i]; load < least {
			spare, least = i, load
		}
	}
	if spare >= 0 { // all that were seen are full: the least so
		return spare
	}
	i, _ := bits.Mul64(scatter(^q.Key)+uint64(q.Skip)<<48, uint64(len(p.cs)))
	return int(i)
}

func isAmong(list []int, i int) bool {
	for _, x := range list {
		if x == i {
			return true
		}
	}
	return false
}
