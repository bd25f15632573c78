package config

import (
	"bytes"
	"sort"
	"strings"
	"unicode/utf8"
)

// source is a text and its name.
type source struct {
	name  string
	text  []byte
	lines []int // offsets of the beginnings of lines
}

func newSource(name string, text []byte) *source {
	s := &source{name: name, text: text, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// line is the text of a line, counted from 1, without its end.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	text := s.text[s.lines[n-1]:]
	if n < len(s.lines) {
		text = s.text[s.lines[n-1] : s.lines[n]-1]
	}
	return string(bytes.TrimSuffix(text, []byte("\r")))
}

// at is the place of the byte at that offset.
func (s *source) at(offset int) pos {
	n := sort.SearchInts(s.lines, offset+1)
	start := s.lines[n-1]
	return pos{src: s, line: n, col: 1 + utf8.RuneCount(s.text[start:min(offset, len(s.text))])}
}

// pos is a place in a source; the zero value is none. The environment's have a line of 0 and name their variable.
type pos struct {
	src       *source
	line, col int
	variable  string
	// secret says that a secret stands here, perhaps alone in its line, where nothing tells it from other texts.
	secret bool
}

// problem is a problem at this place.
func (p pos) problem(key, message, hint string) Problem {
	out := Problem{Key: key, Message: message, Hint: hint}
	if p.src == nil {
		return out
	}
	out.File, out.Line, out.Column = p.src.name, p.line, p.col
	if p.variable != "" {
		out.Text = p.variable
		return out
	}
	line := p.src.line(p.line)
	offset := 0
	for i := 1; i < p.col && offset < len(line); i++ {
		_, n := utf8.DecodeRuneInString(line[offset:])
		offset += n
	}
	shown, offset := redact(line, offset)
	if p.secret && shown == line {
		shown, offset = hidden, 0
	}
	line = shown
	out.Text, out.caret = window(line, offset)
	return out
}

// window shortens a line to what lies around an offset, and tells where the offset is then.
func window(line string, offset int) (string, int) {
	const before, after = 80, 120
	from, to := 0, len(line)
	if offset > before {
		from = offset - before
	}
	if to-offset > after {
		to = offset + after
	}
	for from > 0 && !utf8.RuneStart(line[from]) {
		from--
	}
	for to < len(line) && !utf8.RuneStart(line[to]) {
		to++
	}
	head, tail := "", ""
	if from > 0 {
		head = "…"
	}
	if to < len(line) {
		tail = "…"
	}
	cut := strings.ToValidUTF8(head+line[from:to]+tail, "\uFFFD")
	return cut, min(len(strings.ToValidUTF8(head+line[from:offset], "\uFFFD")), len(cut))
}
