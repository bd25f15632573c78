package config

import (
	"bytes"
	"encoding/json"
	"io"
)

// kinds of nodes.
type nodeKind int

const (
	nullNode nodeKind = iota
	scalarNode
	listNode
	mapNode
)

// String names the kind in messages.
func (k nodeKind) String() string {
	return [...]string{"no value", "a single value", "a list", "a map"}[k]
}

// node is a value of a YAML or JSON document. Aliases share the node of their anchor and merge keys are merged, so that
// nodes form a graph without cycles.
type node struct {
	kind    nodeKind
	pos     pos
	text    string // of a scalar, as written, without quotes
	items   []*node
	entries []entry // of a map; without duplicates
}

// entry is a pair of a map.
type entry struct {
	key   string
	pos   pos
	value *node
}

// get returns the entry of that key, nil if there is none.
func (n *node) get(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// mapBuilder adds entries to a map and tells of duplicates.
type mapBuilder struct {
	n    *node
	seen map[string]int // index in n.entries
	r    *report
}

func newMapBuilder(at pos, r *report) *mapBuilder {
	return &mapBuilder{n: &node{kind: mapNode, pos: at}, seen: map[string]int{}, r: r}
}

func (b *mapBuilder) add(key string, at pos, value *node) {
	if first, ok := b.seen[key]; ok {
		b.r.addf(at, key, "take one of them out", "%s is given twice, first on line %d", quote(key), b.n.entries[first].pos.line)
		return
	}
	if value.kind == nullNode {
		value = &node{kind: nullNode, pos: at}
	}
	b.seen[key] = len(b.n.entries)
	b.n.entries = append(b.n.entries, entry{key, at, value})
}

// merge adds the entries of another map that this one lacks.
func (b *mapBuilder) merge(from *node) {
	for _, e := range from.entries {
		if _, ok := b.seen[e.key]; !ok {
			b.seen[e.key] = len(b.n.entries)
			b.n.entries = append(b.n.entries, e)
		}
	}
}

// readJSON makes nodes of a valid JSON text. It is exact where YAML parsers differ on JSON, and much faster than they.
func readJSON(src *source, r *report) *node {
	d := json.NewDecoder(bytes.NewReader(src.text))
	d.UseNumber()
	j := jsonReader{src: src, d: d, r: r}
	return j.value()
}

type jsonReader struct {
	src *source
	d   *json.Decoder
	r   *report
}

// next returns the next token and where it begins.
func (j *jsonReader) next() (json.Token, pos) {
	at := int(j.d.InputOffset())
	for at < len(j.src.text) && bytes.IndexByte([]byte(" \t\r\n,:"), j.src.text[at]) >= 0 {
		at++
	}
	t, err := j.d.Token()
	if err != nil && err != io.EOF {
		j.r.add(j.src.at(at), "", "the JSON cannot be read: "+err.Error(), "")
	}
	return t, j.src.at(at)
}

func (j *jsonReader) value() *node {
	t, at := j.next()
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			b := newMapBuilder(at, j.r)
			for j.d.More() {
				key, at := j.next()
				name, _ := key.(string)
				b.add(name, at, j.value())
			}
			j.next()
			return b.n
		}
		n := &node{kind: listNode, pos: at}
		for j.d.More() {
			n.items = append(n.items, j.value())
		}
		j.next()
		return n
	case string:
		return &node{kind: scalarNode, pos: at, text: t}
	case json.Number:
		return &node{kind: scalarNode, pos: at, text: t.String()}
	case bool:
		text := "false"
		if t {
			text = "true"
		}
		return &node{kind: scalarNode, pos: at, text: text}
	}
	return &node{kind: nullNode, pos: at}
}
