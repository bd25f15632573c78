package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Route is a match that leads to a service. Empty fields match everything.
type Route struct {
	// Name is never empty: one that is not given is made from the match.
	Name string
	// Host is an exact host name, or "*." and a suffix, in lower case.
	Host string
	// Path is a prefix that matches on segment borders.
	Path string
	// Method is an HTTP method in its exact case.
	Method string
	// Headers map canonical names to exact values; an empty value asks for presence.
	Headers map[string]string
	// StripPrefix is removed from the front of the path before the request is sent on.
	StripPrefix string
	Service     string
}

var routeBlock = &block[Route]{
	fields: []field[Route]{
		value("name", text("name", checkName), Route{}, func(r *Route) *string { return &r.Name }).
			otherwise("made from the match").doc("Name of the route in metrics and logs; unique."),
		value("host", normal("host name", hostPattern), Route{}, func(r *Route) *string { return &r.Host }).
			otherwise("every host").doc("Host name without a port, or `*.` and a domain for all names below it."),
		value("path", text("path", checkPath), Route{}, func(r *Route) *string { return &r.Path }).
			otherwise("every path").doc("Prefix of the path that ends on a segment's border: `/a` matches `/a` and `/a/b`, not `/ab`. The longest wins. Dot segments pass as they come, so a prefix is no access control."),
		value("method", text("method", checkMethod), Route{}, func(r *Route) *string { return &r.Method }).
			otherwise("every method").doc("HTTP method."),
		headersField(),
		value("strip_prefix", text("path", checkPath), Route{}, func(r *Route) *string { return &r.StripPrefix }).
			otherwise("nothing").doc("Removed from the front of the path before the request is sent on."),
		value("service", text("name", checkName), Route{}, func(r *Route) *string { return &r.Service }).
			otherwise("required").doc("Where matching requests go."),
	},
	check: func(d *decoder, n *node, r *Route) {
		require(d, n, "service")
		// A prefix that no path under the route's has would never be stripped.
		if r.Path != "" && r.StripPrefix != "" && !under(r.Path, r.StripPrefix) && !under(r.StripPrefix, r.Path) {
			d.child(n, "strip_prefix", quote(r.StripPrefix)+" is not at the front of any path under "+quote(r.Path), "")
		}
	},
	hints: map[string]string{"header": "did you mean headers?", "backend": "did you mean service?", "prefix": "did you mean path?"},
}

// under reports whether a path lies under a prefix, on a segment's border.
func under(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func headersField() field[Route] {
	return field[Route]{
		&info{name: "headers", typ: "map of texts", def: "none", about: "Header fields that must be present with exactly these values; an empty value asks for presence alone."},
		func(d *decoder, n *node, to *Route) {
			value := text("text", checkHeaderValue)
			d.named(n, func(name string) *fault { _, f := headerName(name); return f }, func(name string, e entry) {
				name, _ = headerName(name)
				if _, twice := to.Headers[name]; twice {
					d.about(e.pos, "is given twice: case does not matter in names of headers", "take one of them out")
					return
				}
				if v, ok := scalar(d, e.value, value); ok {
					if to.Headers == nil {
						to.Headers = map[string]string{}
					}
					to.Headers[name] = v
				}
			})
		},
	}
}

// collectRoutes gathers routes, names those without a name, and leaves out what is wrong or could never be reached.
func collectRoutes(to *[]Route) func(*decoder, *node, Route, bool) {
	names, matches := map[string]pos{}, map[string]pos{}
	return func(d *decoder, n *node, r Route, ok bool) {
		if !ok {
			return
		}
		id := r.match()
		if first, twice := matches[id]; twice {
			d.about(n.pos, "matches the same requests as the route on line "+lineOf(first), "take one of them out")
			return
		}
		if first, twice := names[r.Name]; twice && n.get("name") != nil {
			d.child(n, "name", quote(r.Name)+" is taken, first on line "+lineOf(first), "give each route its own")
			return
		}
		if r.Name == "" {
			base := r.autoName()
			r.Name = base
			for i := 2; names[r.Name].src != nil; i++ {
				r.Name = base + "-" + strconv.Itoa(i)
			}
		}
		names[r.Name], matches[id] = n.pos, n.pos
		*to = append(*to, r)
	}
}

// match tells routes apart by what they match.
func (r Route) match() string {
	path := strings.TrimSuffix(r.Path, "/")
	parts := []string{r.Host, path, r.Method}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		parts = append(parts, name+"="+r.Headers[name])
	}
	return strings.Join(parts, "\x00")
}

// autoName makes a name from the match, so that it stays when routes are added before it: api.example.com-v1.
func (r Route) autoName() string {
	parts := append([]string{r.Method, r.Host}, strings.Split(r.Path, "/")...)
	parts = append(parts, slices.Sorted(maps.Keys(r.Headers))...)
	var b strings.Builder
	for _, p := range parts {
		p = strings.Trim(strings.Map(func(c rune) rune {
			if c < 0x80 && (isAlnum(byte(c)) || c == '.' || c == '_') {
				return c
			}
			return '-'
		}, p), "-._")
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(p)
	}
	name := b.String()
	if name == "" {
		return "all"
	}
	return strings.TrimRight(name[:min(len(name), 200)], "-._")
}

// routesField is the list of routes of the file.
func routesField() field[Config] {
	return items("routes", routeBlock, func() Route { return Route{} }, func(to *Config) func(*decoder, *node, Route, bool) {
		var good []Route
		collect := collectRoutes(&good)
		return func(d *decoder, n *node, r Route, ok bool) {
			before := len(good)
			collect(d, n, r, ok)
			if len(good) > before {
				r = good[before]
			}
			// A wrong one refuses the file; it stays until its service has been looked at, and keeps the count.
			to.Routes = append(to.Routes, r)
		}
	}).doc("Matches that lead to services. Of those that match a request the most specific wins: the exact host before the wildcard, then the longest path, then method and headers.")
}

// servicesField is the map of services of the file.
func servicesField() field[Config] {
	return field[Config]{
		&info{name: "services", typ: "map of blocks", sub: ownServiceBlock.infos(), many: true,
			about: "Services by their names. A block holds any policy key (`algorithm`, `health_check`, …), which goes before what sources announce and the top level says, and possibly `backends` and `merge`."},
		func(d *decoder, n *node, to *Config) {
			d.named(n, checkName, func(name string, e entry) {
				var s Service
				ownServiceBlock.decode(d, e.value, &s)
				to.Services[name] = s
			})
		},
	}
}

// mergeModes say what becomes of what several sources announce.
var mergeModes = choice{words: []string{"union", "priority", "shadow"}}

// ownServiceBlock is a service of the configuration itself: as one that a file announces, and how it is merged.
var ownServiceBlock = &block[Service]{
	fields: append([]field[Service]{
		value("merge", mergeModes.kind(), Service{}, func(s *Service) *string { return &s.Merge }).
			otherwise("the top level's").doc("What becomes of the service if several sources announce it."),
	}, serviceBlock.fields...),
	hints: serviceBlock.hints,
}

var serviceBlock = &block[Service]{
	fields: append(
		policyFields(func(s *Service) *Overlay { return &s.Policy }, nil),
		backendsField(func(s *Service) *[]Backend { return &s.Backends }).doc("Backends of the service, beside those that sources announce."),
	),
	hints: map[string]string{"routes": "write routes at the top level", "host": "write {host: …, service: …} under routes"},
}

// ParseRoute reads a route as under routes: in the file, and gives it the name.
func ParseRoute(name string, text []byte) (Route, error) {
	d := &decoder{report: &report{}}
	var r Route
	if f := checkName(name); f != nil {
		d.add(pos{}, "name", "the route's name "+f.what, f.hint)
	}
	doc := read(newSource("", text), textLimits, false, d.report)
	switch {
	case doc.root != nil && !doc.broken:
		r, _ = one(d, doc.root, routeBlock, Route{})
	case !doc.broken:
		d.add(pos{}, "", "the route is empty", "write {host: …, path: …, service: …}")
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return Route{}, d.problems.textErr()
	}
	r.Name = name
	return r, nil
}
