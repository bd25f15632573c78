package config

import (
	"slices"
	"strings"
)

// info is what is known of a key without its type: for the documentation and the environment.
type info struct {
	name    string
	aliases []string
	// typ and def are the columns of the documentation: the kind of value, and what holds where nothing is given.
	typ, def string
	about    string
	// restart says that a change takes effect only when the balancer starts anew.
	restart bool
	secret  bool
	// list is a list of single values, which an environment variable may hold; many is a list or map of blocks.
	list, many bool
	// split takes the text of a variable that holds a list apart; nil splits at commas and spaces.
	split func(string) []string
	sub   []*info
	// variable is the name of the environment variable if it is not made from the path.
	variable string
}

// field is one key of a block that describes a T.
type field[T any] struct {
	*info
	decode func(d *decoder, n *node, to *T)
}

// block is a map of known keys that describes a T.
type block[T any] struct {
	fields []field[T]
	// check looks for what does not fit together, once all fields are in.
	check func(d *decoder, n *node, to *T)
	// hints are for keys that are often sought here but are elsewhere.
	hints map[string]string
}

func (f field[T]) doc(text string) field[T] { f.about = text; return f }

func (f field[T]) alias(name string) field[T] { f.aliases = append(f.aliases, name); return f }

// fixed marks what only a restart changes, whatever lies below it included.
func (f field[T]) fixed() field[T] {
	var mark func(*info)
	mark = func(i *info) {
		i.restart = true
		for _, s := range i.sub {
			mark(s)
		}
	}
	mark(f.info)
	return f
}

func (f field[T]) otherwise(def string) field[T] { f.def = def; return f }

func (f field[T]) splitBy(split func(string) []string) field[T] { f.split = split; return f }

func (f field[T]) env(variable string) field[T] { f.variable = variable; return f }

// value is a field that holds one scalar.
func value[T, V any](name string, k kind[V], std T, at func(*T) *V) field[T] {
	return field[T]{
		&info{name: name, typ: k.name, def: k.format(*at(&std)), secret: k.secret},
		func(d *decoder, n *node, to *T) {
			if v, ok := scalar(d, n, k); ok {
				*at(to) = v
			}
		},
	}
}

// values is a field that holds a list of scalars without duplicates.
func values[T, V any](name string, k kind[V], at func(*T) *[]V) field[T] {
	return field[T]{
		&info{name: name, typ: "list of: " + k.name, secret: k.secret, list: true},
		func(d *decoder, n *node, to *T) {
			if list, ok := scalars(d, n, k); ok {
				*at(to) = list
			}
		},
	}
}

// sub is a field that holds a block.
func sub[T, U any](name string, b *block[U], at func(*T) *U) field[T] {
	return field[T]{
		&info{name: name, typ: "block", sub: b.infos()},
		func(d *decoder, n *node, to *T) { b.decode(d, n, at(to)) },
	}
}

// items is a field that holds a list of blocks. For each list, collect makes what each of its items is handed to, with
// whether nothing was wrong with it.
func items[T, U any](name string, b *block[U], std func() U, collect func(to *T) func(d *decoder, n *node, v U, ok bool)) field[T] {
	return field[T]{
		&info{name: name, typ: "list", sub: b.infos(), many: true},
		func(d *decoder, n *node, to *T) {
			add := collect(to)
			d.list(n, func(item *node) {
				v, ok := one(d, item, b, std())
				add(d, item, v, ok)
			})
		},
	}
}

// one reads a block that must not be empty, and reports whether nothing was wrong with it.
func one[T any](d *decoder, n *node, b *block[T], std T) (T, bool) {
	if n.kind == nullNode {
		d.about(n.pos, "is empty", b.example())
		return std, false
	}
	before := d.faults
	b.decode(d, n, &std)
	return std, d.faults == before
}

func (b *block[T]) infos() []*info {
	out := make([]*info, len(b.fields))
	for i, f := range b.fields {
		out[i] = f.info
	}
	return out
}

func (b *block[T]) find(name string) (field[T], bool) {
	for _, f := range b.fields {
		if f.name == name || slices.Contains(f.aliases, name) {
			return f, true
		}
	}
	return field[T]{}, false
}

// decode reads a map into a T. Nothing stands for an empty map.
func (b *block[T]) decode(d *decoder, n *node, to *T) {
	if n.kind == nullNode {
		return
	}
	if n.kind != mapNode {
		d.about(n.pos, "must be a map of settings, not "+n.kind.String(), b.example())
		return
	}
	given := map[string]entry{}
	for _, e := range n.entries {
		f, ok := b.find(e.key)
		if !ok {
			b.unknown(d, e)
			continue
		}
		d.enter(e.key, f.name)
		if first, twice := given[f.name]; twice {
			d.about(e.pos, "says the same as "+first.key+" on line "+lineOf(first.pos), "take one of them out")
		} else {
			given[f.name] = e
			d.note(e)
			f.decode(d, e.value, to)
		}
		d.leave()
	}
	if b.check != nil {
		b.check(d, n, to)
	}
}

func (b *block[T]) unknown(d *decoder, e entry) {
	if d.depth() == 0 && strings.HasPrefix(e.key, "x-") {
		return // a place for anchors
	}
	var names, all []string
	for _, f := range b.fields {
		names = append(append(names, f.name), f.aliases...)
		all = append(all, f.name)
	}
	shown := clip(RedactURL(e.key))
	d.enter(shown, shown)
	defer d.leave()
	hint := b.hints[e.key]
	if hint == "" && len(e.key) <= 64 {
		if near := nearest(e.key, names); near != "" {
			hint = "did you mean " + near + "?"
		} else {
			hint = "known here: " + strings.Join(all, ", ")
		}
	}
	d.about(e.pos, "is not a known key", hint)
}

// example shows the first key, where something else than a map was found.
func (b *block[T]) example() string {
	if len(b.fields) == 0 {
		return ""
	}
	return "write {" + b.fields[0].name + ": …}"
}
