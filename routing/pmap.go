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
// only what exists, keys with their values and nodes for the next six bits apart (Steindorfer and Vinju: Optimizing
// Hash-Array Mapped Tries, 2015), each with a bitmap that says which: what is copied for a change is pointers but for the
// last node. Where the bits of a hash are used up, keys that share it lie in a node as a plain list.
type pmap[V any] struct {
	root *pnode[V]
	n    int
}

type pnode[V any] struct {
	leafmap, nodemap uint64
	leaves           []pleaf[V]
	nodes            []*pnode[V]
}

type pleaf[V any] struct {
	hash  uint64
	key   string
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
	for i := range m.root.leaves {
		if l := &m.root.leaves[i]; l.key == key {
			return l.value, true
		}
	}
	if len(m.root.nodes) > 0 {
		return m.root.get(phash(key), key)
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
	root, added := m.root.set(0, pleaf[V]{phash(key), key, value})
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

// pbit is the bit for a hash at a depth.
func pbit(hash uint64, shift uint) uint64 { return 1 << (hash >> shift & (1<<pbits - 1)) }

// pat is the place of what a bit stands for among those of its bitmap.
func pat(bitmap, bit uint64) int { return bits.OnesCount64(bitmap & (bit - 1)) }

func (n *pnode[V]) get(hash uint64, key string) (V, bool) {
	var none V
	for shift := uint(0); shift < pdepth; shift += pbits {
		bit := pbit(hash, shift)
		if n.nodemap&bit != 0 {
			n = n.nodes[pat(n.nodemap, bit)]
			continue
		}
		if n.leafmap&bit != 0 {
			if l := &n.leaves[pat(n.leafmap, bit)]; l.hash == hash && l.key == key {
				return l.value, true
			}
		}
		return none, false
	}
	if i := n.find(key); i >= 0 {
		return n.leaves[i].value, true
	}
	return none, false
}

// find returns the place of a key in a node that is a plain list, -1 if it is not there.
func (n *pnode[V]) find(key string) int {
	return slices.IndexFunc(n.leaves, func(l pleaf[V]) bool { return l.key == key })
}

// set returns the node with a leaf put in or exchanged. The node may be nil.
func (n *pnode[V]) set(shift uint, l pleaf[V]) (next *pnode[V], added bool) {
	if n == nil {
		n = &pnode[V]{}
	}
	if shift >= pdepth {
		if i := n.find(l.key); i >= 0 {
			return n.withLeaf(i, l), false
		}
		return n.insert(len(n.leaves), 0, l), true
	}
	bit := pbit(l.hash, shift)
	if n.nodemap&bit != 0 {
		at := pat(n.nodemap, bit)
		child, added := n.nodes[at].set(shift+pbits, l)
		return n.withNode(at, child), added
	}
	at := pat(n.leafmap, bit)
	if n.leafmap&bit == 0 {
		return n.insert(at, bit, l), true
	}
	old := n.leaves[at]
	if old.hash == l.hash && old.key == l.key {
		return n.withLeaf(at, l), false
	}
	child, _ := (*pnode[V])(nil).set(shift+pbits, old)
	child, _ = child.set(shift+pbits, l)
	return &pnode[V]{leafmap: n.leafmap &^ bit, nodemap: n.nodemap | bit, leaves: without(n.leaves, at),
		nodes: inserted(n.nodes, pat(n.nodemap, bit), child)}, true
}

// delete returns nil for a node that is left empty.
func (n *pnode[V]) delete(shift uint, hash uint64, key string) (next *pnode[V], removed bool) {
	if shift >= pdepth {
		if i := n.find(key); i >= 0 {
			return n.remove(i, 0), true
		}
		return n, false
	}
	bit := pbit(hash, shift)
	if n.nodemap&bit == 0 {
		at := pat(n.leafmap, bit)
		if n.leafmap&bit == 0 || n.leaves[at].hash != hash || n.leaves[at].key != key {
			return n, false
		}
		return n.remove(at, bit), true
	}
	at := pat(n.nodemap, bit)
	child, removed := n.nodes[at].delete(shift+pbits, hash, key)
	switch {
	case !removed:
		return n, false
	case child == nil:
		return orNone(&pnode[V]{leafmap: n.leafmap, nodemap: n.nodemap &^ bit, leaves: n.leaves, nodes: without(n.nodes, at)}), true
	case len(child.leaves) == 1 && len(child.nodes) == 0:
		return &pnode[V]{leafmap: n.leafmap | bit, nodemap: n.nodemap &^ bit,
			leaves: inserted(n.leaves, pat(n.leafmap, bit), child.leaves[0]), nodes: without(n.nodes, at)}, true
	}
	return n.withNode(at, child), true
}

// withLeaf returns the node with one leaf exchanged, withNode with one node.
func (n *pnode[V]) withLeaf(i int, l pleaf[V]) *pnode[V] {
	next := *n
	next.leaves = slices.Clone(n.leaves)
	next.leaves[i] = l
	return &next
}

func (n *pnode[V]) withNode(i int, child *pnode[V]) *pnode[V] {
	next := *n
	next.nodes = slices.Clone(n.nodes)
	next.nodes[i] = child
	return &next
}

// insert returns the node with a leaf more, remove with one less, nil if that is left empty.
func (n *pnode[V]) insert(i int, bit uint64, l pleaf[V]) *pnode[V] {
	return &pnode[V]{leafmap: n.leafmap | bit, nodemap: n.nodemap, leaves: inserted(n.leaves, i, l), nodes: n.nodes}
}

func (n *pnode[V]) remove(i int, bit uint64) *pnode[V] {
	return orNone(&pnode[V]{leafmap: n.leafmap &^ bit, nodemap: n.nodemap, leaves: without(n.leaves, i), nodes: n.nodes})
}

// orNone is nil for a node that holds nothing.
func orNone[V any](n *pnode[V]) *pnode[V] {
	if len(n.leaves)+len(n.nodes) == 0 {
		return nil
	}
	return n
}

// inserted is a copy of a list with one more, without with one less; they have no room to spare.
func inserted[T any](list []T, i int, v T) []T {
	out := make([]T, len(list)+1)
	copy(out, list[:i])
	out[i] = v
	copy(out[i+1:], list[i:])
	return out
}

func without[T any](list []T, i int) []T {
	if len(list) == 1 {
		return nil
	}
	out := make([]T, len(list)-1)
	copy(out, list[:i])
	copy(out[i:], list[i+1:])
	return out
}

func (n *pnode[V]) each(yield func(string, V) bool) bool {
	for i := range n.leaves {
		if !yield(n.leaves[i].key, n.leaves[i].value) {
			return false
		}
	}
	for _, child := range n.nodes {
		if !child.each(yield) {
			return false
		}
	}
	return true
}
