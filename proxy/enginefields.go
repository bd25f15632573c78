package proxy

import (
	"net/textproto"
	"strings"

	"github.com/vietddude/load-balancer/proxy/http1"
)

// wireFields is the header of a message as it came, and what the exchange changed of it. What it gives are copies.
type wireFields struct {
	head  *http1.Head
	added []wireField
	// without are the fields of the connection that were deleted. They are seen until then although Connection names them.
	without [3]bool
	// values is where Values puts its results, so that one call does not allocate for each.
	values []string
}

type wireField struct{ name, value string }

var (
	_ fields = (*wireFields)(nil)
	_ viewer = (*wireFields)(nil)
)

func (f *wireFields) reset(h *http1.Head) {
	clear(f.added)
	clear(f.values)
	f.head, f.added, f.values, f.without = h, f.added[:0], f.values[:0], [3]bool{}
}

// ofConnection is the index in without of a field that Connection itself names or that says what it names; -1 for others.
func ofConnection(n http1.Name) int {
	switch n {
	case http1.Connection:
		return 0
	case http1.Upgrade:
		return 1
	case http1.TE:
		return 2
	}
	return -1
}

// dropDisguised drops what only looks like one of our fields.
func (f *wireFields) dropDisguised() {
	all := f.head.Fields()
	for i := range all {
		if fd := &all[i]; fd.Name == http1.Other && disguised(http1.Text(f.head.Label(fd))) {
			fd.Drop()
		}
	}
}

// Values returns the values of all fields of a name. They stay valid until the exchange ends; those that came are places
// in the reader's buffer.
func (f *wireFields) Values(name string) []string {
	n := fieldName{name, nameOf(name)}
	return f.valuesOf(&n)
}

func (f *wireFields) valuesOf(n *fieldName) []string {
	start := len(f.values)
	conn := ofConnection(n.known)
	if f.head.Has(n.known) && (conn < 0 || !f.without[conn]) {
		all := f.head.Fields()
		for i := range all {
			fd := &all[i]
			if fd.Name != n.known || fd.Dropped() && conn < 0 || n.known == http1.Other && !strings.EqualFold(http1.Text(f.head.Label(fd)), n.text) {
				continue
			}
			f.values = append(f.values, http1.Text(f.head.Value(fd)))
		}
	}
	for i := range f.added {
		if strings.EqualFold(f.added[i].name, n.text) {
			f.values = append(f.values, f.added[i].value)
		}
	}
	return f.values[start:len(f.values):len(f.values)]
}

// view is as viewer has it. Added fields are not seen.
func (f *wireFields) view(name string, from int) (value string, next int) {
	known := nameOf(name)
	all := f.head.Fields()
	for i := from; i < len(all); i++ {
		fd := &all[i]
		if fd.Name == known && !fd.Dropped() && (known != http1.Other || strings.EqualFold(http1.Text(f.head.Label(fd)), name)) {
			return http1.Text(f.head.Value(fd)), i + 1
		}
	}
	return "", -1
}

// Del removes all fields of a name. Trailer stays where the content can have trailers.
func (f *wireFields) Del(name string) {
	n := fieldName{name, nameOf(name)}
	f.drop(&n)
}

func (f *wireFields) drop(n *fieldName) {
	switch {
	case !f.head.Has(n.known):
	case n.known == http1.Other:
		all := f.head.Fields()
		for i := range all {
			if fd := &all[i]; fd.Name == n.known && strings.EqualFold(http1.Text(f.head.Label(fd)), n.text) {
				fd.Drop()
			}
		}
	case n.known != http1.Trailer || f.head.Framing != http1.Chunked:
		f.head.DropAll(n.known)
		if i := ofConnection(n.known); i >= 0 {
			f.without[i] = true
		}
	}
	if len(f.added) == 0 {
		return
	}
	kept := f.added[:0]
	for _, a := range f.added {
		if !strings.EqualFold(a.name, n.text) {
			kept = append(kept, a)
		}
	}
	f.added = kept
}

// Set replaces all fields of a name.
func (f *wireFields) Set(name, value string) {
	f.Del(name)
	f.added = append(f.added, wireField{name, value})
}

// Add adds a field.
func (f *wireFields) Add(name, value string) { f.added = append(f.added, wireField{name, value}) }

// append writes the fields, those that were added last.
func (f *wireFields) append(dst []byte) []byte {
	dst = f.head.AppendFields(dst)
	for i := range f.added {
		dst = http1.AppendField(dst, f.added[i].name, f.added[i].value)
	}
	return dst
}

// wholly is the fields as a map, for handlers of net/http.
func (f *wireFields) wholly() map[string][]string {
	h := make(map[string][]string)
	all := f.head.Fields()
	for i := range all {
		name := textproto.CanonicalMIMEHeaderKey(string(f.head.Label(&all[i])))
		h[name] = append(h[name], string(f.head.Value(&all[i])))
	}
	return h
}

// nameOf finds a known name.
func nameOf(name string) http1.Name {
	var buf [32]byte
	if len(name) > len(buf) {
		return http1.Other
	}
	return http1.NameOf(buf[:copy(buf[:], name)])
}
