package routing

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// pmap is an immutable map from strings: changing it makes another map that shares all but a few small nodes with the
// one before. It is what lets a table of thousands of services be made from the last one in microseconds. The zero
// value is empty.
//
// It is a hash array mapped trie (Bagwell: Ideal Hash Trees, 2001): each node stands for six bits of the hash and holds
// only the entries that exist, with a bitmap that says which; an entry is a key with its value or a node for the next
// six bits. Where the bits of a hash are used up, keys that share it lie in a node as a plain list.
type pmap[V any] struct {
	root *pnode[V]
	n    int
}

type pnode[V any] struct {
	bitmap  uint64
	entries []pentry[V]
}

type pentry[V any] struct {
	hash  uint64
	key   string
	child *pnode[V] // when not nil, the rest is unused
	value V
}

const (
	pbits  = 6
	pdepth = 66 // shifts from here on have no bits left
	pfew   = 6  // so few keys are sooner compared than hashed
)

var pseed = maphash.MakeSeed()

func phash(key string) uint64 { return maphash.String(pseed, key) }

// len is the number of keys.
func (m pmap[V]) len() int { return m.n }

// get returns the value for a key, and whether there is one. It does not keep the key.
func (m pmap[V]) get(key string) (V, bool) {
	var none V
	if m.root == nil {
		return none, false
	}
	if m.n > pfew {
		return m.root.get(phash(key), key)
	}
	for i := range m.root.entries {
		switch e := &m.root.entries[i]; {
		case e.child != nil:
			return m.root.get(phash(key), key)
		case e.key == key:
			return e.value, true
		}
	}
	return none, false
}

// at is get for values whose zero says that there is none.
func (m pmap[V]) at(key string) V {
	v, _ := m.get(key)
	return v
}

// set returns the map with the key's value replaced.
func (m pmap[V]) set(key string, value V) pmap[V] {
	root, added := m.root.set(0, pentry[V]{hash: phash(key), key: key, value: value})
	m.root = root
	if added {
		m.n++
	}
	return m
}

// delete returns the map without the key.
func (m pmap[V]) delete(key string) pmap[V] {
	if m.root == nil {
		return m
	}
	root, removed := m.root.delete(0, phash(key), key)
	if removed {
		m.root, m.n = root, m.n-1
	}
	return m
}

// all yields keys and values in no particular order.
func (m pmap[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if m.root != nil {
			m.root.each(yield)
		}
	}
}

// slot returns the bit for a hash at a depth and the place of its entry.
func (n *pnode[V]) slot(hash uint64, shift uint) (bit uint64, at int) {
	bit = 1 << (hash >> shift & (1<<pbits - 1))
	return bit, bits.OnesCount64(n.bitmap & (bit - 1))
}

func (n *pnode[V]) get(hash uint64, key string) (V, bool) {
	for shift := uint(0); shift < pdepth; shift += pbits {
		bit, at := n.slot(hash, shift)
		if n.bitmap&bit == 0 {
			var none V
			return none, false
		}
		e := &n.entries[at]
		if e.child == nil {
			if e.hash == hash && e.key == key {
				return e.value, true
			}
			var none V
			return none, false
		}
		n = e.child
	}
	if i := n.find(key); i >= 0 {
		return n.entries[i].value, true
	}
	var none V
	return none, false
}

// find returns the place of a key in a node that is a plain list, -1 if it is not there.
func (n *pnode[V]) find(key string) int {
	return slices.IndexFunc(n.entries, func(e pentry[V]) bool { return e.key == key })
}

func (n *pnode[V]) set(shift uint, e pentry[V]) (next *pnode[V], added bool) {
	if n == nil {
		n = &pnode[V]{}
	}
	if shift >= pdepth {
		if i := n.find(e.key); i >= 0 {
			return n.replace(i, e), false
		}
		return &pnode[V]{entries: append(slices.Clip(n.entries), e)}, true
	}
	bit, at := n.slot(e.hash, shift)
	if n.bitmap&bit == 0 {
		next = &pnode[V]{bitmap: n.bitmap | bit, entries: make([]pentry[V], 0, len(n.entries)+1)}
		next.entries = append(append(append(next.entries, n.entries[:at]...), e), n.entries[at:]...)
		return next, true
	}
	old := n.entries[at]
	if old.child == nil {
		if old.hash == e.hash && old.key == e.key {
			return n.replace(at, e), false
		}
		old.child, _ = (*pnode[V])(nil).set(shift+pbits, old)
	}
	child, added := old.child.set(shift+pbits, e)
	return n.replace(at, pentry[V]{child: child}), added
}

// replace returns the node with one entry exchanged.
func (n *pnode[V]) replace(at int, e pentry[V]) *pnode[V] {
	next := &pnode[V]{bitmap: n.bitmap, entries: slices.Clone(n.entries)}
	next.entries[at] = e
	return next
}

// delete returns nil for a node that is left empty.
func (n *pnode[V]) delete(shift uint, hash uint64, key string) (next *pnode[V], removed bool) {
	if shift >= pdepth {
		if i := n.find(key); i >= 0 {
			return n.without(i, 0), true
		}
		return n, false
	}
	bit, at := n.slot(hash, shift)
	if n.bitmap&bit == 0 {
		return n, false
	}
	e := n.entries[at]
	if e.child == nil {
		if e.hash != hash || e.key != key {
			return n, false
		}
		return n.without(at, bit), true
	}
	child, removed := e.child.delete(shift+pbits, hash, key)
	switch {
	case !removed:
		return n, false
	case child == nil:
		return n.without(at, bit), true
	case len(child.entries) == 1 && child.entries[0].child == nil:
		return n.replace(at, child.entries[0]), true
	}
	return n.replace(at, pentry[V]{child: child}), true
}

func (n *pnode[V]) without(at int, bit uint64) *pnode[V] {
	if len(n.entries) == 1 {
		return nil
	}
	next := &pnode[V]{bitmap: n.bitmap &^ bit, entries: make([]pentry[V], 0, len(n.entries)-1)}
	next.entries = append(append(next.entries, n.entries[:at]...), n.entries[at+1:]...)
	return next
}

func (n *pnode[V]) each(yield func(string, V) bool) bool {
	for i := range n.entries {
		e := &n.entries[i]
		if e.child != nil {
			if !e.child.each(yield) {
				return false
			}
		} else if !yield(e.key, e.value) {
			return false
		}
	}
	return true
}
