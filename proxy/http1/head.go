package http1

// Framing is how the end of a message's content is told.
type Framing uint8

const (
	// None is a message without content, and without a field that speaks of it.
	None Framing = iota
	// Sized is content of a length given before.
	Sized
	// Chunked is content in chunks (RFC 9112, 7.1).
	Chunked
	// UntilClose is content, of a response only, that ends with the connection.
	UntilClose
)

// Field is the place of one field in a head.
type Field struct {
	// Name is the field's name if it is known.
	Name                      Name
	dropped                   bool
	spaced                    bool // there is whitespace before the colon
	start, colon, value, last uint32
	end                       uint32 // behind the line's end
}

// Head is what requests and responses have in common. What its methods return are places in the buffer it was read
// from: they are valid, as is the head itself, until the Reader reads another head or gives up its buffer.
type Head struct {
	// Minor is the version's second number: 0, or 1 for all above too.
	Minor uint8
	// Framing is how the content ends.
	Framing Framing
	// Length is how long Sized content is. For a response without content that tells of a Content-Length all the same
	// (to HEAD, and 304) it is that; -1 else.
	Length int64

	raw    []byte
	fields []Field
	first  [nameCount]uint16 // of each known name: the index of its first field, plus one
	twice  set               // the names that more fields than one have

	closes, keeps, upgrades bool // what Connection says

	line int // where the fields begin
	pos  int // the line that is being read begins here
	seen int // what was looked at of it and need not be again ends here; 0 if nothing was
}

func (h *Head) reset() {
	h.Minor, h.Framing, h.Length = 0, None, -1
	h.raw, h.fields, h.twice = nil, h.fields[:0], 0
	clear(h.first[:])
	h.closes, h.keeps, h.upgrades = false, false, false
	h.line, h.pos, h.seen = 0, 0, 0
}

// Fields are the head's fields in their order. They must not be changed.
func (h *Head) Fields() []Field { return h.fields }

// Label is a field's name as it came.
func (h *Head) Label(f *Field) []byte {
	end := f.colon
	for f.spaced && end > f.start && blank(h.raw[end-1]) {
		end--
	}
	return h.raw[f.start:end]
}

// Value is a field's value without the whitespace around it.
func (h *Head) Value(f *Field) []byte { return h.raw[f.value:f.last] }

// Has reports whether any field has a known name, those that were dropped included; for Other it is always true.
func (h *Head) Has(n Name) bool { return n == Other || h.first[n] != 0 }

// Find returns the first field of a known name, nil if there is none or it was dropped.
func (h *Head) Find(n Name) *Field {
	i := h.first[n]
	if i == 0 {
		return nil
	}
	for j := int(i) - 1; j < len(h.fields); j++ {
		if f := &h.fields[j]; f.Name == n && !f.dropped {
			return f
		}
	}
	return nil
}

// Get returns the value of the first field of a known name, nil if there is none.
func (h *Head) Get(n Name) []byte {
	if f := h.Find(n); f != nil {
		return h.Value(f)
	}
	return nil
}

// Lookup returns the value of the first field of any name, and whether there is one.
func (h *Head) Lookup(name []byte) ([]byte, bool) {
	known := NameOf(name)
	for i := range h.fields {
		f := &h.fields[i]
		if f.Name == known && !f.dropped && (known != Other || sameName(h.Label(f), name)) {
			return h.Value(f), true
		}
	}
	return nil, false
}

// Repeated reports whether more fields than one have a known name.
func (h *Head) Repeated(n Name) bool { return h.twice.has(n) }

// Drop makes AppendFields leave a field out.
func (f *Field) Drop() { f.dropped = true }

// Dropped reports whether AppendFields leaves the field out because of Drop or because Connection names it.
func (f *Field) Dropped() bool { return f.dropped }

// DropAll drops all fields of a known name.
func (h *Head) DropAll(n Name) {
	if h.first[n] == 0 {
		return
	}
	for i := int(h.first[n]) - 1; i < len(h.fields); i++ {
		if h.fields[i].Name == n {
			h.fields[i].dropped = true
		}
	}
}

// add appends a field and classifies it.
func (h *Head) add(f Field, name []byte) {
	f.Name = NameOf(name)
	if f.Name != Other {
		if h.first[f.Name] == 0 {
			h.first[f.Name] = uint16(len(h.fields) + 1)
		} else {
			h.twice |= 1 << f.Name
		}
	}
	h.fields = append(h.fields, f)
}

// parseFields reads field lines from h.pos on, in data, which begins where the message does. It reports whether the
// empty line was reached; h.pos is behind it then. Else the line that is not complete is read again when there is more.
func (h *Head) parseFields(data []byte, maxFields int, response bool) (bool, error) {
	pos, inValue := h.pos, false
	if h.seen > 0 {
		if more, err := h.resume(data, errValue); !more || err != nil {
			return false, err
		}
	}
	for pos < len(data) {
		if data[pos] == '\r' {
			if pos+1 == len(data) {
				break
			}
			if data[pos+1] != '\n' {
				return false, errBareCR
			}
			h.pos = pos + 2
			return true, nil
		}
		f := Field{start: uint32(pos)}
		i := span(data, pos, token)
		if i == len(data) {
			break
		}
		nameEnd := i
		if data[i] != ':' {
			if !response || i == pos || !blank(data[i]) {
				return false, h.nameError(data, pos, i)
			}
			if i = skipBlank(data, i); i == len(data) {
				break
			}
			if f.spaced = true; data[i] != ':' {
				return false, errName
			}
		} else if i == pos {
			return false, errName
		}
		f.colon = uint32(i)
		v := skipBlank(data, i+1)
		inValue = true
		if i = text(data, v); i == len(data) {
			break
		}
		if data[i] != '\r' {
			return false, lineError(data[i], errValue)
		}
		if i+1 == len(data) {
			break
		}
		if data[i+1] != '\n' {
			return false, errBareCR
		}
		last := i
		for last > v && blank(data[last-1]) {
			last--
		}
		f.value, f.last, f.end = uint32(v), uint32(last), uint32(i+2)
		if len(h.fields) >= maxFields {
			return false, errManyFields
		}
		h.add(f, data[pos:nameEnd])
		pos, inValue = i+2, false
	}
	h.pos, h.seen = pos, 0
	if inValue || len(data)-pos > longName {
		h.seen = len(data)
	}
	return false, nil
}

// longName is how long a name is looked at anew with every piece of it that comes.
const longName = 256

// resume looks at what has come of a line that was not complete before. It reports whether the line is to be read again.
// A control character in it is the error otherwise.
func (h *Head) resume(data []byte, otherwise *Error) (bool, error) {
	i := h.seen
	if i > h.pos && data[i-1] == '\r' {
		i--
	}
	i = text(data, i)
	switch {
	case i == len(data), i+1 == len(data) && data[i] == '\r':
	case data[i] != '\r':
		return false, lineError(data[i], otherwise)
	case data[i+1] != '\n':
		return false, errBareCR
	default:
		return true, nil
	}
	h.seen = len(data)
	return false, nil
}

// nameError says what is wrong with a line whose name, from pos to i, no colon follows.
func (h *Head) nameError(data []byte, pos, i int) error {
	switch c := data[i]; {
	case i == pos && blank(c) && pos == h.line:
		return errFirstSpace
	case i == pos && blank(c):
		return errFold
	case blank(c):
		return errColon
	case c == '\n':
		return errBareLF
	case c == '\r' && i+1 < len(data) && data[i+1] != '\n':
		return errBareCR
	}
	return errName
}

// lineError says what is wrong with a line that holds c.
func lineError(c byte, otherwise *Error) error {
	switch c {
	case '\n':
		return errBareLF
	case '\r':
		return errBareCR
	}
	return otherwise
}
