package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// limits of a text. The YAML parser's time grows with the square of depth and of the keys in one map, so that texts
// which strangers may write are bounded more tightly.
type limits struct{ bytes, tokens, depth int }

var (
	fileLimits = limits{bytes: 32 << 20, tokens: 4 << 20, depth: 64}
	textLimits = limits{bytes: 64 << 10, tokens: 4 << 10, depth: 16}
)

// document is a text as far as it could be read.
type document struct {
	root *node // nil if there is nothing
	// broken reports that parts were left out for their syntax, or all of it.
	broken bool
}

// read parses a text as JSON or YAML and reports what is wrong with its syntax. With recovery, top-level blocks that
// cannot be parsed are left out.
func read(src *source, lim limits, recovery bool, r *report) document {
	doc := readAny(src, lim, recovery, r)
	if doc.root != nil && doc.root.kind == nullNode {
		doc.root = nil // null, or ~, says as little as no text
	}
	return doc
}

func readAny(src *source, lim limits, recovery bool, r *report) (doc document) {
	src.text = bytes.TrimPrefix(src.text, []byte("\uFEFF"))
	*src = *newSource(src.name, src.text)
	if len(src.text) > lim.bytes {
		r.add(pos{src: src}, "", fmt.Sprintf("the text has %d bytes, at most %d are read", len(src.text), lim.bytes), "")
		return document{broken: true}
	}
	text := src.text
	if first := bytes.TrimLeft(text, " \t\r\n"); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		if jsonDepth(text) <= lim.depth && json.Valid(text) {
			return document{root: readJSON(src, r)}
		}
		text = blankTabs(text)
	}
	for range 20 {
		f, bad := parseYAML(text, lim)
		if bad == nil {
			y := reader{src: src, r: r}
			var ok bool
			if doc.root, ok = y.read(f); !ok {
				doc.broken = true
			}
			return doc
		}
		doc.broken = true
		at := pos{src: src, line: 1, col: 1}
		if bad.token != nil && bad.token.Position != nil {
			at.line, at.col = max(bad.token.Position.Line, 1), max(bad.token.Position.Column, 1)
		}
		message, hint := explain(bad.message, src.line(at.line))
		r.add(at, "", message, hint)
		var ok bool
		if text, ok = blankBlock(text, at.line); !recovery || !ok {
			return doc
		}
	}
	return doc
}

// syntaxError is what the parser says.
type syntaxError struct {
	message string
	token   *token.Token
}

// parseYAML parses a text. A panic of the parser is told as an error, since it reads what strangers write.
func parseYAML(text []byte, lim limits) (f *ast.File, bad *syntaxError) {
	defer func() {
		if p := recover(); p != nil {
			f, bad = nil, &syntaxError{message: "this YAML cannot be read"}
		}
	}()
	tokens := lexer.Tokenize(string(text))
	if len(tokens) > lim.tokens {
		return nil, &syntaxError{fmt.Sprintf("the text has more than %d parts", lim.tokens), tokens[lim.tokens]}
	}
	if t := tooDeep(tokens, lim.depth); t != nil {
		return nil, &syntaxError{fmt.Sprintf("values are nested more than %d deep", lim.depth), t}
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return f, nil
	}
	var e yaml.Error
	if errors.As(err, &e) {
		bad := &syntaxError{e.GetMessage(), e.GetToken()}
		if open := unclosed(tokens, bad); open != nil {
			bad = &syntaxError{open.Value + " has no end", open}
		}
		return nil, bad
	}
	return nil, &syntaxError{message: "this YAML cannot be read"}
}

// unclosed is the bracket to blame when the parser missed its end on a later line, where the next block begins.
func unclosed(tokens token.Tokens, bad *syntaxError) *token.Token {
	if bad.token == nil || bad.token.Position == nil || !strings.HasSuffix(bad.message, "must be specified") {
		return nil
	}
	var open []*token.Token
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		if t.Position.Offset >= bad.token.Position.Offset {
			break
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(len(open)-1, 0)]
		}
	}
	if len(open) == 0 || open[len(open)-1].Position.Line == bad.token.Position.Line {
		return nil
	}
	return open[len(open)-1]
}

// tooDeep returns the token at which nesting exceeds the limit, before the parser has to follow it.
func tooDeep(tokens token.Tokens, limit int) *token.Token {
	flow, inline, line := 0, 0, 0
	var columns []int // of the lines that enclose the current one
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		if t.Position.Line != line && flow == 0 {
			line, inline = t.Position.Line, 0
			for len(columns) > 0 && columns[len(columns)-1] >= t.Position.Column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, t.Position.Column)
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			if flow == 0 {
				inline++
			}
		}
		if len(columns)+flow+inline > limit {
			return t
		}
	}
	return nil
}

// jsonDepth is how deeply brackets are nested in a JSON text.
func jsonDepth(text []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// blankTabs replaces tabs outside quotes by spaces. Within brackets they are mere space, as people indent JSON, but the
// YAML parser refuses them or loses count of columns.
func blankTabs(text []byte) []byte {
	out := bytes.Clone(text)
	var quoted byte
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case quoted == '"' && c == '\\':
			i++
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '"' || c == '\'':
			quoted = c
		case c == '#':
			for i+1 < len(out) && out[i+1] != '\n' {
				i++
			}
		case c == '\t':
			out[i] = ' '
		}
	}
	return out
}

// blankBlock empties the top-level block around a line: from the nearest line above that begins without space to before
// the next such line. It reports whether anything changed.
func blankBlock(text []byte, line int) ([]byte, bool) {
	lines := bytes.SplitAfter(text, []byte("\n"))
	if line > len(lines) {
		return text, false
	}
	top := func(l []byte) bool {
		return len(l) > 0 && strings.IndexByte(" \t\r\n#-}]", l[0]) < 0
	}
	from, to := line-1, line
	for from > 0 && !top(lines[from]) {
		from--
	}
	for to < len(lines) && !top(lines[to]) {
		to++
	}
	changed := false
	for i := from; i < to; i++ {
		if body := bytes.TrimSpace(lines[i]); len(body) > 0 {
			lines[i], changed = []byte("\n"), true
		}
	}
	return bytes.Join(lines, nil), changed
}

// explain puts the parser's message into the words of people who write such files.
func explain(message, line string) (text, hint string) {
	switch {
	case strings.HasPrefix(message, "the text has") || strings.HasPrefix(message, "values are nested") || strings.HasPrefix(message, "this YAML"):
		return message, ""
	case strings.Contains(message, "cannot start any token") && strings.Contains(line, "\t"):
		return "a tab cannot indent YAML", "indent with spaces"
	case strings.HasPrefix(message, "mapping value is not allowed"):
		return "a key and its value cannot stand here", "indent it like its neighbours, and put texts with a colon into quotes"
	case strings.HasPrefix(message, "non-map value is specified"):
		return "this is no key with a value", "write key: value, with a space after the colon"
	case strings.HasPrefix(message, "value is not allowed in this context"):
		return "a value cannot stand here", "indent it like its neighbours"
	case strings.HasPrefix(message, "could not find flow mapping end"):
		return "{ has no end", "close it with }"
	case strings.HasSuffix(message, "token ']' not found"):
		return "[ has no end", "close it with ]"
	case strings.HasSuffix(message, " has no end"):
		return message, "close it with " + map[string]string{"{": "}", "[": "]"}[message[:1]]
	case strings.HasSuffix(message, "must be specified"):
		return strings.TrimSuffix(message, " must be specified") + " is missing here", ""
	case strings.HasPrefix(message, "could not find end character of"):
		return "the quotation that begins here has no end", "close the quotes"
	case strings.Contains(message, "is a reserved character"):
		return strings.TrimSpace(message), "put the text into quotes"
	}
	// What follows a colon is text of the file, of any length, and perhaps a secret.
	message, _, _ = strings.Cut(strings.TrimSpace(message), ":")
	return "the YAML is not well formed: " + clip(message), ""
}
