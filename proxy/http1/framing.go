package http1

import "math"

// maxOptions is how many fields a Connection field may name; each is looked for among all fields.
const maxOptions = 64

// readConnection reads what Connection says, and drops the fields that it names.
func (h *Head) readConnection() error {
	i := int(h.first[Connection])
	if i == 0 {
		return nil
	}
	named := 0
	for i--; i < len(h.fields); i++ {
		f := &h.fields[i]
		if f.Name != Connection {
			continue
		}
		for rest := h.Value(f); len(rest) > 0; {
			var option []byte
			option, rest = nextElement(rest)
			switch {
			case len(option) == 0:
			case fold(option, "close"):
				h.closes = true
			case fold(option, "keep-alive"):
				h.keeps = true
			case fold(option, "upgrade"):
				h.upgrades = true
			default:
				if named++; named > maxOptions {
					return errManyOptions
				}
				h.dropNamed(option)
			}
		}
	}
	return nil
}

// nextElement cuts the first element, trimmed, off a comma-separated list.
func nextElement(list []byte) (element, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trimmed(list[:i]), list[i+1:]
		}
	}
	return trimmed(list), nil
}

// dropNamed drops the fields that a connection option names.
func (h *Head) dropNamed(option []byte) {
	known := NameOf(option)
	if endToEnd.has(known) {
		return
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.Name == known && (known != Other || sameName(h.Label(f), option)) {
			f.dropped = true
		}
	}
}

// contentLength is the value of the only Content-Length, -1 if there is none.
func (h *Head) contentLength() (int64, error) {
	i := h.first[ContentLength]
	if i == 0 {
		return -1, nil
	}
	f := &h.fields[i-1]
	switch {
	case h.twice.has(ContentLength):
		return 0, errLengths
	case f.spaced:
		return 0, errColon
	}
	n, ok := decimal(h.Value(f))
	if !ok {
		return 0, errLength
	}
	return n, nil
}

// decimal is the value of one or more digits, if it fits.
func decimal(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if !is(c, digit) {
			return 0, false
		}
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(b) > 0
}

// transferEncoding reports whether there is one, which is chunked and nothing else.
func (h *Head) transferEncoding() (bool, error) {
	i := h.first[TransferEncoding]
	if i == 0 {
		return false, nil
	}
	if h.Minor == 0 {
		return false, errOldChunked
	}
	if h.first[ContentLength] != 0 {
		return false, errBothFramings
	}
	f := &h.fields[i-1]
	if f.spaced {
		return false, errColon
	}
	if !h.twice.has(TransferEncoding) && fold(h.Value(f), "chunked") {
		return true, nil
	}
	return false, h.codingError(int(i - 1))
}

// codingError says what is wrong with the transfer codings, of which the first field is at i: chunked is missing at the
// end or stands there twice, or there are others before it.
func (h *Head) codingError(i int) error {
	chunked, last, empty := 0, false, false
	for ; i < len(h.fields); i++ {
		f := &h.fields[i]
		if f.Name != TransferEncoding {
			continue
		}
		rest := h.Value(f)
		empty = empty || len(rest) == 0 || rest[len(rest)-1] == ','
		for len(rest) > 0 {
			var coding []byte
			coding, rest = nextElement(rest)
			empty = empty || len(coding) == 0
			if last = fold(coding, "chunked"); last {
				chunked++
			}
		}
	}
	if !last || chunked != 1 || empty {
		return errNotChunked
	}
	return errCoding
}

// lists reports whether one of the lists in a known field holds a word, given in lower case. What follows a semicolon
// in an element is not looked at.
func (h *Head) lists(n Name, word string) bool {
	i := int(h.first[n])
	if i == 0 {
		return false
	}
	for i--; i < len(h.fields); i++ {
		f := &h.fields[i]
		if f.Name != n {
			continue
		}
		for rest := h.Value(f); len(rest) > 0; {
			var element []byte
			element, rest = nextElement(rest)
			for j, c := range element {
				if c == ';' {
					element = trimmed(element[:j])
					break
				}
			}
			if fold(element, word) {
				return true
			}
		}
	}
	return false
}

// Upgrades reports whether the message asks, or agrees, to switch protocols: Connection names Upgrade, which is there.
func (h *Head) Upgrades() bool { return h.upgrades && h.Minor == 1 && h.first[Upgrade] != 0 }

// persists reports whether the connection can carry another message after this one (RFC 9112, 9.3).
func (h *Head) persists() bool {
	return !h.closes && (h.Minor == 1 || h.keeps)
}
