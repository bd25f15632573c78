package http1

import (
	"encoding/binary"
	"unsafe"
)

// The classes that a byte can be of.
const (
	token      = 1 << iota // RFC 9110, 5.6.2
	target                 // of a request line: all but controls, space, '#' and DEL
	hexDigit               // RFC 5234
	regName                // RFC 3986, 3.2.2: unreserved and sub-delims
	alphaDigit             // and '+', '-', '.': RFC 3986, 3.1
	digit
)

// classes is the set of classes of each byte.
var classes = classify()

func classify() (t [256]uint8) {
	for i := range 256 {
		c := byte(i)
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		number := '0' <= c && c <= '9'
		if letter || number || within("!#$%&'*+-.^_`|~", c) {
			t[c] |= token
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[c] |= target
		}
		if number || c < 0x80 && 'a' <= c|0x20 && c|0x20 <= 'f' {
			t[c] |= hexDigit
		}
		if letter || number || within("-._~!$&'()*+,;=", c) {
			t[c] |= regName
		}
		if letter || number || within("+-.", c) {
			t[c] |= alphaDigit
		}
		if number {
			t[c] |= digit
		}
	}
	return t
}

func within(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

func is(c byte, class uint8) bool { return classes[c]&class != 0 }

// span returns where the run of bytes of a class that begins at i ends.
func span(data []byte, i int, class uint8) int {
	for i < len(data) && classes[data[i]]&class != 0 {
		i++
	}
	return i
}

// blank reports whether a byte is optional whitespace.
func blank(c byte) bool { return c == ' ' || c == '\t' }

func skipBlank(data []byte, i int) int {
	for i < len(data) && blank(data[i]) {
		i++
	}
	return i
}

// text returns where the run of bytes that a field's value may hold (tab, space, visible and obs-text) ends that begins
// at i. It looks at eight bytes at a time: one below 0x20 makes the highest bit of its place in the first term, a 0x7f
// in the second; places above a found one may be wrong, so that whoever finds anything looks closer.
func text(data []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for {
		for len(data)-i >= 8 {
			x := binary.LittleEndian.Uint64(data[i:])
			del := x ^ 0x7f*ones
			if ((x-0x20*ones)&^x|(del-ones)&^del)&highs != 0 {
				break
			}
			i += 8
		}
		end := min(i+8, len(data))
		for ; i < end; i++ {
			if c := data[i]; c < 0x20 && c != '\t' || c == 0x7f {
				return i
			}
		}
		if i == len(data) {
			return i
		}
	}
}

// trimmed is b without blanks around it.
func trimmed(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// fold reports whether b is the lower-case word, whatever b's case. The word holds letters, digits and '-' only.
func fold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i := range len(word) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// sameName reports whether two field names are the same.
func sameName(a []byte, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// Text is b as a string without copying it: valid for as long as the bytes are left alone, which for what a [Head]
// returns is until its Reader reads the next one.
func Text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
