package config

import (
	"regexp"
	"slices"
	"strings"
)

const envPrefix = "LB_"

// variable is an environment variable and the key that it sets.
type variable struct {
	name string
	path []string
	*info
}

// variables are those of all single values and lists of them outside lists and maps of blocks, in the file's order.
func variables() []variable {
	var out []variable
	var walk func(path []string, infos []*info)
	walk = func(path []string, infos []*info) {
		for _, i := range infos {
			at := append(slices.Clone(path), i.name)
			switch {
			case i.many || i.def == "" && i.sub == nil && !i.list && strings.HasPrefix(i.typ, "map"):
			case i.sub != nil:
				walk(at, i.sub)
			case i.variable != "":
				out = append(out, variable{i.variable, at, i})
			default:
				out = append(out, variable{envPrefix + strings.ToUpper(strings.Join(at, "_")), at, i})
			}
		}
	}
	walk(nil, root.infos())
	return out
}

// ApplyEnv sets what an environment, as of os.Environ, says by variables that begin with LB_. Empty ones are ignored; of
// several settings of one the last holds. Problems have [Environment] for their file.
func (c *Config) ApplyEnv(env []string) Problems {
	d := &decoder{report: &report{}, where: c.where, overlay: true}
	src := &source{name: Environment}
	given := map[string]string{}
	for _, e := range env {
		if name, text, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) {
			given[name] = text
		}
	}
	tree := &node{kind: mapNode, pos: pos{src: src}}
	var names []string
	for _, v := range variables() {
		names = append(names, v.name)
		text, ok := given[v.name]
		delete(given, v.name)
		if !ok || text == "" {
			continue
		}
		shown := v.name + "=" + clip(RedactURL(text))
		if v.secret {
			shown = v.name + "=" + hidden
		}
		plant(tree, v, pos{src: src, variable: shown}, text)
	}
	for name, text := range given {
		if text == "" || ofOrchestrator(name, text) {
			continue
		}
		hint := "see the list of variables in docs/configuration.md"
		if near := nearest(strings.TrimPrefix(name, envPrefix), bare(names)); near != "" {
			hint = "did you mean " + envPrefix + strings.ToUpper(near) + "?"
		}
		d.add(pos{src: src, variable: clip(name) + "=" + hidden}, "", clip(name)+" is not a known variable", hint)
	}
	root.decode(d, tree, c)
	slices.SortFunc(d.problems, func(a, b Problem) int { return strings.Compare(a.Text, b.Text) })
	return d.problems
}

// plant puts a variable's text where its key is in a tree of nodes.
func plant(tree *node, v variable, at pos, text string) {
	n := tree
	for i, name := range v.path {
		e := n.get(name)
		if e == nil {
			child := &node{kind: mapNode, pos: at}
			n.entries = append(n.entries, entry{name, at, child})
			e = &n.entries[len(n.entries)-1]
		}
		n = e.value
		if i < len(v.path)-1 {
			continue
		}
		if !v.list {
			n.kind, n.text = scalarNode, text
			return
		}
		n.kind = listNode
		split := v.split
		if split == nil {
			split = splitList
		}
		for _, part := range split(text) {
			n.items = append(n.items, &node{kind: scalarNode, pos: at, text: part})
		}
	}
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// splitSources splits a list of discovery URLs, in which etcd's may hold commas themselves: a part that does not begin
// like a source belongs to the one before.
func splitSources(s string) []string {
	var out []string
	for word := range strings.FieldsSeq(s) {
		first := true
		for part := range strings.SplitSeq(word, ",") {
			if part == "" {
				first = true
				continue
			}
			begins := strings.Contains(part, "://") || part == "consul" || part == "etcd" || part == "embedded"
			if first || begins {
				out = append(out, part)
			} else {
				out[len(out)-1] += "," + part
			}
			first = false
		}
	}
	return out
}

// bare are names without the prefix that all have, in lower case.
func bare(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(strings.TrimPrefix(n, envPrefix))
	}
	return out
}

// linked are the names of variables that Kubernetes and Docker set in every container for services called lb….
var linked = regexp.MustCompile(`^LB_(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?|NAME|ENV_\w+)$`)

// ofOrchestrator reports whether a variable that is not ours describes a service that happens to be called lb.
func ofOrchestrator(name, text string) bool {
	if !linked.MatchString(name) {
		return false
	}
	if strings.HasSuffix(name, "_PORT") && !strings.Contains(name, "_SERVICE_") && !strings.Contains(name, "_TCP_") && !strings.Contains(name, "_UDP_") {
		return strings.Contains(text, "://")
	}
	return true
}
