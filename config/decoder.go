package config

import (
	"fmt"
	"strconv"
	"strings"
)

// decoder reads nodes into values and knows where it is.
type decoder struct {
	*report
	// shown is the path as it was written; key the same with every alias by its proper name.
	shown, key []string
	// where remembers the places of keys, if it is not nil.
	where map[string]pos
	// overlay says that what is read changes what is there instead of beginning anew (the environment over the file).
	overlay bool
}

func (d *decoder) depth() int { return len(d.key) }

func (d *decoder) enter(shown, key string) {
	d.shown = append(d.shown, shown)
	d.key = append(d.key, key)
}

func (d *decoder) leave() {
	d.shown = d.shown[:len(d.shown)-1]
	d.key = d.key[:len(d.key)-1]
}

// note remembers the place of the current key.
func (d *decoder) note(e entry) {
	if d.where == nil {
		return
	}
	at := e.value.pos
	if e.value.kind == mapNode || e.value.kind == listNode {
		at = e.pos
	}
	d.where[path(d.key)] = at
}

// about tells of a problem with the current key.
func (d *decoder) about(at pos, what, hint string) { d.report.about(at, path(d.shown), what, hint) }

// child tells of a problem with a key below the current one.
func (d *decoder) child(n *node, key, what, hint string) {
	at := n.pos
	if e := n.get(key); e != nil {
		at = e.value.pos
	}
	d.enter(key, key)
	d.about(at, what, hint)
	d.leave()
}

// list calls for each item of a list, within its index. Nothing stands for an empty list.
func (d *decoder) list(n *node, item func(*node)) {
	if n.kind == nullNode {
		return
	}
	if n.kind != listNode {
		d.about(n.pos, "must be a list, not "+n.kind.String(), "write [ … ] around it, or - before each item")
		return
	}
	for i, it := range n.items {
		index := "[" + strconv.Itoa(i) + "]"
		d.enter(index, index)
		if d.where != nil {
			d.where[path(d.key)] = it.pos
		}
		item(it)
		d.leave()
	}
}

// named calls for each entry of a map whose keys are names.
func (d *decoder) named(n *node, check func(string) *fault, item func(name string, e entry)) {
	if n.kind == nullNode {
		return
	}
	if n.kind != mapNode {
		d.about(n.pos, "must be a map of names, not "+n.kind.String(), "write name: {…}")
		return
	}
	for _, e := range n.entries {
		d.enter(clip(RedactURL(e.key)), e.key)
		if f := check(e.key); f != nil {
			d.about(e.pos, f.what, f.hint)
		} else {
			if d.where != nil {
				d.where[path(d.key)] = e.pos
			}
			item(e.key, e)
		}
		d.leave()
	}
}

// scalar reads one value.
func scalar[V any](d *decoder, n *node, k kind[V]) (v V, ok bool) {
	at := n.pos
	at.secret = k.secret
	switch n.kind {
	case nullNode:
		d.about(at, "has no value", "give it one ("+k.name+") or take the key out")
		return v, false
	case listNode, mapNode:
		d.about(at, "must be a single value ("+k.name+"), not "+n.kind.String(), "")
		return v, false
	}
	v, f := k.parse(n.text)
	if f != nil {
		d.about(at, f.what, f.hint)
		return v, false
	}
	return v, true
}

// scalars reads a list of values and refuses duplicates. It reports whether all were right.
func scalars[V any](d *decoder, n *node, k kind[V]) (list []V, ok bool) {
	seen, ok := map[string]pos{}, true
	d.list(n, func(item *node) {
		v, right := scalar(d, item, k)
		if !right {
			ok = false
			return
		}
		text := k.format(v)
		if k.secret { // they all print alike
			text = item.text
		}
		if first, twice := seen[text]; twice {
			d.about(item.pos, "is named twice, first on line "+lineOf(first), "take one of them out")
			ok = false
			return
		}
		seen[text] = item.pos
		list = append(list, v)
	})
	return list, ok && (n.kind == listNode || n.kind == nullNode)
}

// path joins the parts of a key: services.web.retry, backends[0].url.
func path(parts []string) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 && !strings.HasPrefix(p, "[") {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

func lineOf(p pos) string {
	if p.line == 0 {
		return "?"
	}
	return fmt.Sprint(p.line)
}
