package consul

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/vietddude/load-balancer/discovery"
)

// normalRoute brings a route into the form of [discovery.Route], or reports why it cannot match.
func normalRoute(r discovery.Route) (discovery.Route, error) {
	r.Host = strings.ToLower(r.Host)
	suffix, wild := strings.CutPrefix(r.Host, "*.")
	switch {
	case r.Host != "" && (!validHost(suffix) || wild && suffix == ""):
		return r, fmt.Errorf("the host %q is not a host name, or *. and one, without a port", clip(r.Host))
	case r.Path != "" && !validPath(r.Path):
		return r, fmt.Errorf("the path %q does not begin with / or has characters that no path has", clip(r.Path))
	case r.StripPrefix != "" && !validPath(r.StripPrefix):
		return r, fmt.Errorf("the prefix to strip %q does not begin with / or has characters that no path has", clip(r.StripPrefix))
	case r.Method != "" && !httpguts.ValidHeaderFieldName(r.Method):
		return r, fmt.Errorf("%q is no method", clip(r.Method))
	}
	for name, value := range r.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return r, fmt.Errorf("%q: %q is no header field", clip(name), clip(value))
		}
	}
	if r.Path != "" && r.Path != "/" { // a prefix ends on a segment border, whether it is written or not
		r.Path = "/" + strings.Trim(r.Path, "/")
	}
	if r.StripPrefix != "" {
		r.StripPrefix = "/" + strings.Trim(r.StripPrefix, "/")
	}
	if r.StripPrefix == "/" { // nothing to strip
		r.StripPrefix = ""
	}
	if r.StripPrefix != "" && r.Path != r.StripPrefix && !strings.HasPrefix(r.Path, r.StripPrefix+"/") {
		return r, fmt.Errorf("the prefix to strip %q does not begin the path %q", clip(r.StripPrefix), clip(r.Path))
	}
	return r, nil
}

func validHost(h string) bool {
	if len(h) > discovery.MaxNameLen {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func validPath(p string) bool {
	return strings.HasPrefix(p, "/") && !strings.ContainsFunc(p, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == '?' || r == '#'
	})
}

// match is what tells two routes apart: two of the same match cannot both be taken.
func match(r discovery.Route) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s%s", r.Method, r.Host, r.Path)
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		fmt.Fprintf(&b, " %s=%q", name, r.Headers[name])
	}
	return b.String()
}

// routeText describes a route that several labels make together.
func routeText(r discovery.Route) string { return "lb route " + strings.TrimSpace(match(r)) }

// routeName names a route after its service and match, so that it stays the same while others come and go:
// "web.i.com_static". What names cannot hold is replaced, and told apart by a hash.
func routeName(r discovery.Route) string {
	text := strings.TrimSpace(r.Method + " " + r.Host + r.Path)
	exact := len(r.Headers) == 0 && r.Method == ""
	slug := []byte(text)
	for i, c := range slug {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-':
		case c == '/':
			slug[i] = '_'
		default:
			slug[i], exact = '-', false
		}
	}
	if len(slug) > 100 {
		slug, exact = slug[:100], false
	}
	name := r.Service + "." + string(slug)
	if !exact || len(name) > discovery.MaxNameLen {
		h := fnv.New32a()
		h.Write([]byte(match(r)))
		name = fmt.Sprintf("%.*s-%08x", discovery.MaxNameLen-9, name, h.Sum32())
	}
	return name
}
