package routing

import (
	"slices"
	"strings"
)

// pathNode is what the routes of one host have below one path prefix: those for the prefix itself, and one node for
// each segment that may follow. The root stands for every path. Nodes are immutable.
//
// The routes /a, /a/b/c and one for every path make
//
//	root [every path]
//	└─ a [/a]
//	   └─ b []
//	      └─ c [/a/b/c]
//
// A request for /a/b/d walks root, a, b, and the routes of what it walked are asked from the last to the first. Where
// the path ends or no node follows, all that can match has been walked.
type pathNode struct {
	children pmap[*pathNode]
	routes   []*Route // in order of precedence
	// always is the first of routes if it takes whatever method and headers: most do, and neither the slice nor the route
	// need be fetched from memory then. The whole node fits a cache line.
	always *Route
}

// match returns the first route in order of precedence that takes the request. The rest is what follows the node's
// prefix in the request's path: empty or with a leading slash.
func (n *pathNode) match(rest string, r *Request) *Route {
	if rest != "" && n.children.n > 0 {
		segment, after := cutSegment(rest)
		if child := n.children.at(segment); child != nil {
			if m := child.match(after, r); m != nil {
				return m
			}
		}
	}
	if n.always != nil {
		return n.always
	}
	for _, route := range n.routes {
		if route.takes(r) {
			return route
		}
	}
	return nil
}

// takes reports whether method and headers match; host and path are known to.
func (rt *Route) takes(r *Request) bool {
	if rt.Method != "" && rt.Method != r.Method {
		return false
	}
	return len(rt.headers) == 0 || r.Header != nil && rt.takesHeader(r.Header)
}

func (rt *Route) takesHeader(h Header) bool {
	for i := range rt.headers {
		want := &rt.headers[i]
		values := h.Values(want.name)
		if len(values) == 0 || want.value != "" && !slices.Contains(values, want.value) {
			return false
		}
	}
	return true
}

// cutSegment splits "/a/b/c" into "a" and "/b/c".
func cutSegment(path string) (segment, after string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// at returns the routes for exactly this prefix.
func (n *pathNode) at(path string) []*Route {
	for n != nil && path != "" {
		var segment string
		segment, path = cutSegment(path)
		n = n.children.at(segment)
	}
	if n == nil {
		return nil
	}
	return n.routes
}

// with returns the tree with the routes for a prefix replaced, nil if nothing is left. The node may be nil.
func (n *pathNode) with(path string, routes []*Route) *pathNode {
	var next pathNode
	if n != nil {
		next = *n
	}
	if path == "" {
		next.routes, next.always = routes, nil
		if len(routes) > 0 && routes[0].Method == "" && len(routes[0].headers) == 0 {
			next.always = routes[0]
		}
	} else {
		segment, after := cutSegment(path)
		if child := next.children.at(segment).with(after, routes); child != nil {
			next.children = next.children.set(segment, child)
		} else {
			next.children = next.children.delete(segment)
		}
	}
	if len(next.routes) == 0 && next.children.len() == 0 {
		return nil
	}
	return &next
}
