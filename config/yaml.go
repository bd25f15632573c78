package config

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// reader makes nodes of a YAML syntax tree.
type reader struct {
	src     *source
	r       *report
	anchors map[string]*node // as defined so far; nil while being defined
	several bool             // whether there is more than one document, none of which can be meant
}

// read makes nodes of what a document holds, and reports whether it can be relied on.
func (y *reader) read(f *ast.File) (root *node, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			y.r.add(pos{src: y.src, line: 1, col: 1}, "", "this YAML cannot be read", "")
			root, ok = nil, false
		}
	}()
	root = y.tree(f)
	return root, !y.several
}

// tree makes nodes of what a document holds; nil if it holds nothing.
func (y *reader) tree(f *ast.File) *node {
	var root *node
	for _, doc := range f.Docs {
		if doc == nil || doc.Body == nil {
			continue
		}
		if _, ok := doc.Body.(*ast.DirectiveNode); ok {
			continue
		}
		if root != nil {
			y.r.add(y.place(doc.Body.GetToken()), "", "a second document begins here", "keep one document in the file")
			y.several = true
			break
		}
		y.anchors = map[string]*node{}
		root = y.node(doc.Body)
	}
	return root
}

func (y *reader) place(t *token.Token) pos {
	if t == nil || t.Position == nil {
		return pos{src: y.src, line: 1, col: 1}
	}
	return pos{src: y.src, line: max(t.Position.Line, 1), col: max(t.Position.Column, 1)}
}

// start is where the first character of a node stands; the token of a map in block style is its first colon.
func (y *reader) start(n ast.Node) pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return y.start(n.Values[0])
		}
	case *ast.MappingValueNode:
		if n.Key != nil {
			return y.place(n.Key.GetToken())
		}
	}
	return y.place(n.GetToken())
}

func (y *reader) node(n ast.Node) *node {
	switch n := n.(type) {
	case nil, *ast.CommentGroupNode:
		return &node{kind: nullNode, pos: pos{src: y.src, line: 1, col: 1}}
	case *ast.NullNode:
		return &node{kind: nullNode, pos: y.place(n.GetToken())}
	case *ast.StringNode:
		return y.scalar(n, n.Value)
	case *ast.LiteralNode:
		if n.Value == nil {
			return y.scalar(n, "")
		}
		return y.scalar(n, n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.MergeKeyNode:
		return y.scalar(n, n.GetToken().Value)
	case *ast.SequenceNode:
		out := &node{kind: listNode, pos: y.start(n)}
		for _, item := range n.Values {
			out.items = append(out.items, y.node(item))
		}
		return out
	case *ast.MappingNode:
		return y.mapping(n, n.Values)
	case *ast.MappingValueNode:
		return y.mapping(n, []*ast.MappingValueNode{n})
	case *ast.TagNode:
		return y.tagged(n)
	case *ast.AnchorNode:
		return y.anchor(n)
	case *ast.AliasNode:
		return y.alias(n)
	}
	at := y.start(n)
	y.r.add(at, "", "this kind of YAML ("+strings.ToLower(n.Type().String())+") is not understood here", "write a plain value, a list or a map")
	return &node{kind: nullNode, pos: at}
}

func (y *reader) scalar(n ast.Node, text string) *node {
	return &node{kind: scalarNode, pos: y.place(n.GetToken()), text: text}
}

func (y *reader) mapping(n ast.Node, values []*ast.MappingValueNode) *node {
	b := newMapBuilder(y.start(n), y.r)
	var merged []*node
	for _, v := range values {
		if v == nil || v.Key == nil {
			continue
		}
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			merged = append(merged, y.node(v.Value))
			continue
		}
		key, err := keyText(v.Key)
		at := y.place(v.Key.GetToken())
		if err != nil {
			y.r.add(at, "", err.Error(), "write a name")
			continue
		}
		b.add(key, at, y.node(v.Value))
	}
	// What a map says itself goes before what it merges, wherever the merge key stands.
	for _, m := range merged {
		maps := []*node{m}
		if m.kind == listNode {
			maps = m.items
		}
		for _, from := range maps {
			if from.kind != mapNode {
				y.r.add(from.pos, "", "<< merges maps, not "+from.kind.String(), "write <<: *anchor")
				continue
			}
			b.merge(from)
		}
	}
	return b.n
}

func keyText(k ast.Node) (string, error) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return k.GetToken().Value, nil
	case *ast.MappingKeyNode:
		if k.Value != nil {
			return keyText(k.Value)
		}
	case *ast.AnchorNode:
		if k.Value != nil {
			return keyText(k.Value)
		}
	case *ast.TagNode:
		if k.Value != nil {
			return keyText(k.Value)
		}
	}
	return "", errors.New("this cannot be a key")
}

// tagged takes YAML's own tags for what they are: assurances of a type that is checked anyway.
func (y *reader) tagged(n *ast.TagNode) *node {
	switch name := n.GetToken().Value; name {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
	default:
		y.r.add(y.place(n.GetToken()), "", "the tag "+quote(name)+" is not understood", "take it out")
	}
	return y.node(n.Value)
}

func (y *reader) anchor(n *ast.AnchorNode) *node {
	name := n.Name.String()
	y.anchors[name] = nil
	value := y.node(n.Value)
	y.anchors[name] = value
	return value
}

func (y *reader) alias(n *ast.AliasNode) *node {
	at := y.place(n.GetToken())
	name := n.Value.String()
	value, ok := y.anchors[name]
	switch {
	case !ok:
		y.r.add(at, "", "*"+name+" names no anchor", "define it above by &"+name)
	case value == nil:
		y.r.add(at, "", "*"+name+" lies within its own anchor", "a value cannot contain itself")
	default:
		return value
	}
	return &node{kind: nullNode, pos: at}
}
