package etcd

import (
	"bytes"

	"github.com/vietddude/load-balancer/discovery"
)

// quickObject reads an object as it is usually written: our fields, each once, in any order, with strings of plain ASCII
// and a weight of digits. It reports false for any other, good or bad, which is for [decodeBackend] to judge; what it
// takes, that would take alike. A listing of many thousand backends is read several times as fast for it.
func quickObject(id string, text []byte) (discovery.Backend, bool) {
	b := discovery.Backend{ID: id, Weight: 1}
	q := quick{rest: text}
	var seen [5]bool
	var url []byte
	for q.list('{', '}') {
		key := q.text()
		q.byte(':')
		field := -1
		switch string(key) {
		case "url":
			field, url = 0, q.text()
		case "weight":
			field, b.Weight = 1, q.number()
		case "zone":
			field, b.Zone = 2, string(q.text())
		case "state":
			field = 3
			state := q.text()
			b.Draining = string(state) == "drain"
			q.bad = q.bad || !b.Draining && string(state) != "up"
		case "meta":
			field, b.Meta = 4, q.texts()
		}
		if field < 0 || seen[field] || q.bad {
			return b, false
		}
		seen[field] = true
	}
	if q.bad || len(q.rest) > 0 || !seen[0] {
		return b, false
	}
	return b, setURL(&b, string(url)) == nil
}

// quick reads JSON of the simplest kind from the front of a text; bad says that there was something else.
type quick struct {
	rest  []byte
	bad   bool
	depth int
	began [2]bool // whether the object at that depth has had a field
}

// space passes over white space.
func (q *quick) space() {
	for len(q.rest) > 0 && (q.rest[0] == ' ' || q.rest[0] == '\n' || q.rest[0] == '\t' || q.rest[0] == '\r') {
		q.rest = q.rest[1:]
	}
}

// next is the next byte after white space, 0 at the end.
func (q *quick) next() byte {
	if q.space(); len(q.rest) == 0 {
		return 0
	}
	return q.rest[0]
}

// byte takes just this byte.
func (q *quick) byte(c byte) {
	if q.next() != c {
		q.bad = true
		return
	}
	q.rest = q.rest[1:]
}

// list takes what stands before the next field of an object, and reports whether there is one.
func (q *quick) list(open, end byte) bool {
	if q.bad {
		return false
	}
	if !q.began[q.depth] {
		q.began[q.depth] = true
		q.byte(open)
		if q.bad || q.next() != end {
			return !q.bad
		}
	} else if q.next() != end {
		q.byte(',')
		return !q.bad
	}
	q.began[q.depth] = false
	q.byte(end)
	q.space()
	return false
}

// text takes a string.
func (q *quick) text() []byte {
	if q.byte('"'); q.bad {
		return nil
	}
	end := bytes.IndexByte(q.rest, '"')
	if end < 0 {
		q.bad = true
		return nil
	}
	text := q.rest[:end]
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			q.bad = true
			return nil
		}
	}
	q.rest = q.rest[end+1:]
	return text
}

// number takes a whole number from 0 to [discovery.MaxWeight].
func (q *quick) number() int {
	n, digits := 0, 0
	for q.space(); len(q.rest) > digits && '0' <= q.rest[digits] && q.rest[digits] <= '9' && digits < 5; digits++ {
		n = 10*n + int(q.rest[digits]-'0')
	}
	if digits == 0 || n > discovery.MaxWeight || digits > 1 && q.rest[0] == '0' {
		q.bad = true
	}
	q.rest = q.rest[digits:]
	return n
}

// texts takes an object of strings; one without any is nil.
func (q *quick) texts() map[string]string {
	var m map[string]string
	q.depth++
	for q.list('{', '}') {
		key := q.text()
		q.byte(':')
		value := q.text()
		if _, twice := m[string(key)]; twice || q.bad {
			q.bad = true
			break
		}
		if m == nil {
			m = map[string]string{}
		}
		m[string(key)] = string(value)
	}
	q.depth--
	return m
}
