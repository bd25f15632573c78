package balance

import (
	"fmt"
	"math/bits"
)

// Member is a backend as a table of consistent hashing knows it.
type Member struct {
	// ID is what its keys depend on.
	ID string
	// Weight is its share; one of 0 has no keys.
	Weight int
}

// Table leads keys to the members of a service, for [Maglev] or [Ring]. It depends on the members' IDs and weights alone,
// so that all balancers have the same. It is immutable.
//
// It is made over all members, ready or not, and whoever picks passes over those that are not: when one fails, its keys
// go to others and all the others' stay, and nothing is made anew. Only where members come, leave or change their weights is
// another table made.
type Table struct {
	algorithm Algorithm
	ids       []uint64 // the members' hashes
	slots     slots    // of Maglev
	ring      ring     // of Ring
}

// Bounds of a [Table].
const (
	// MaxSize is the greatest number of places: slots of Maglev, points of Ring.
	MaxSize = 4194319
	// MaxMembers is how many members a table may have.
	MaxMembers = 1 << 20
)

// NewTable makes a table of the members, for an algorithm that is consistent. Size is about the number of its places; 0
// takes one that goes by the number of members. It must not be negative or greater than [MaxSize].
func NewTable(a Algorithm, members []Member, size int) (*Table, error) {
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("a table of %d places; want 0 to %d", size, MaxSize)
	}
	if len(members) > MaxMembers {
		return nil, fmt.Errorf("%d members; want at most %d", len(members), MaxMembers)
	}
	t := &Table{algorithm: a, ids: make([]uint64, len(members))}
	for i, m := range members {
		t.ids[i] = Hash(m.ID)
	}
	switch a {
	case Maglev:
		t.slots = newSlots(t.ids, members, size)
	case Ring:
		t.ring = newRing(t.ids, members, size)
	default:
		return nil, fmt.Errorf("%q needs no table", a)
	}
	return t, nil
}

// Bytes is about what the table takes of memory.
func (t *Table) Bytes() int {
	return 8*(len(t.ids)+len(t.ring.points)) + 2*len(t.slots.small) + 4*len(t.slots.large) + 4*len(t.ring.guide)
}

// Owner is the index of the member that a key belongs to when all are ready, -1 if there is none.
func (t *Table) Owner(key uint64) int {
	w := t.walk(key)
	return w.next()
}

// walk goes along the members of a key in the order in which they are preferred; they may repeat.
type walk struct {
	t   *Table
	at  uint64
	pos int
}

func (t *Table) walk(key uint64) walk {
	w := walk{t: t, at: scatter(key)}
	if t.algorithm == Ring {
		w.pos = t.ring.find(w.at)
	}
	return w
}

// next is the index of the next member, -1 if the table is empty.
func (w *walk) next() int {
	if w.t.algorithm == Ring {
		if len(w.t.ring.points) == 0 {
			return -1
		}
		m := int(w.t.ring.points[w.pos] & memberMask)
		if w.pos++; w.pos == len(w.t.ring.points) {
			w.pos = 0
		}
		return m
	}
	if w.t.slots.n == 0 {
		return -1
	}
	slot, _ := bits.Mul64(w.at, w.t.slots.n)
	w.at = scatter(w.at)
	return w.t.slots.at(slot)
}
