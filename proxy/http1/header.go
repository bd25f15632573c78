package http1

import "unsafe"

// Header is a head's fields as they are to go on: those that came, and changes. It has the methods of
// [net/http.Header], without a map. Names are compared whatever their case. Its zero value is ready for Reset.
type Header struct {
	head   *Head
	own    []ownField
	values []string
}

type ownField struct{ name, value string }

// Reset makes h the fields of a head, unchanged. What was got from it before is no longer valid.
func (h *Header) Reset(head *Head) {
	clear(h.own)
	clear(h.values)
	h.head, h.own, h.values = head, h.own[:0], h.values[:0]
}

// Values returns all values of a name, those that came first. The slice stays as it is until Reset, and so do the
// strings, which are places in the Reader's buffer, for as long as the head is in use.
func (h *Header) Values(name string) []string {
	start := len(h.values)
	h.each(name, func(f *Field) { h.values = append(h.values, Text(h.head.Value(f))) })
	for i := range h.own {
		if sameName(bytesOf(h.own[i].name), bytesOf(name)) {
			h.values = append(h.values, h.own[i].value)
		}
	}
	if len(h.values) == start {
		return nil
	}
	return h.values[start:len(h.values):len(h.values)]
}

// Get returns the first value of a name, empty if there is none.
func (h *Header) Get(name string) string {
	if v, ok := h.head.Lookup(bytesOf(name)); ok {
		return Text(v)
	}
	for i := range h.own {
		if sameName(bytesOf(h.own[i].name), bytesOf(name)) {
			return h.own[i].value
		}
	}
	return ""
}

// Add adds a field behind all others. The name must be a token; control characters in the value will be spaces.
func (h *Header) Add(name, value string) { h.own = append(h.own, ownField{name, value}) }

// Set puts one field in the place of all of a name.
func (h *Header) Set(name, value string) {
	h.Del(name)
	h.Add(name, value)
}

// Del drops all fields of a name. Those that frame the message end here in any case; see [Head.AppendFields].
func (h *Header) Del(name string) {
	h.each(name, (*Field).Drop)
	kept := h.own[:0]
	for _, f := range h.own {
		if !sameName(bytesOf(f.name), bytesOf(name)) {
			kept = append(kept, f)
		}
	}
	clear(h.own[len(kept):])
	h.own = kept
}

// each calls do with the fields of a name that came and were not dropped.
func (h *Header) each(name string, do func(*Field)) {
	known := NameOf(bytesOf(name))
	first := 0
	if known != Other {
		if h.head.first[known] == 0 {
			return
		}
		first = int(h.head.first[known]) - 1
	}
	for i := first; i < len(h.head.fields); i++ {
		f := &h.head.fields[i]
		if f.Name == known && !f.dropped && (known != Other || sameName(h.head.Label(f), bytesOf(name))) {
			do(f)
		}
	}
}

// Append appends the fields that go on: those that came as [Head.AppendFields] does, then those that were added, of
// which none ends here.
func (h *Header) Append(dst []byte) []byte {
	dst = h.head.AppendFields(dst)
	for i := range h.own {
		dst = AppendField(dst, h.own[i].name, h.own[i].value)
	}
	return dst
}

// bytesOf is s as bytes, which must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
