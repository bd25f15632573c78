package routing

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/discovery"
)

func route(name, host, path, service string) discovery.Route {
	return discovery.Route{Name: name, Host: host, Path: path, Service: service}
}

func wantRoute(t *testing.T, table *Table, r *Request, want string) {
	t.Helper()
	got := "none"
	if m := table.Match(r); m != nil {
		got = m.Name
	}
	if got != want {
		t.Errorf("%s %q %q goes to route %s, want %s", r.Method, r.Host, r.Path, got, want)
	}
}

func TestHostPrecedence(t *testing.T) {
	table := tableOf(t, []discovery.Route{
		route("any", "", "", "s"), route("exact", "a.b.example.com", "", "s"), route("deep", "*.b.example.com", "", "s"),
		route("wide", "*.Example.com", "", "s"), route("v6", "[2001:DB8::1]", "", "s"), route("dot", "dot.test.", "", "s"),
	}, svc("s"))
	for host, want := range map[string]string{
		"a.b.example.com": "exact", "A.B.Example.COM": "exact", "a.b.example.com:8080": "exact", "a.b.example.com.": "exact",
		"a.b.example.com.:80": "exact", "x.b.example.com": "deep", "x.y.b.example.com": "deep", "b.example.com": "wide",
		"x.example.com": "wide", "example.com": "any", "xexample.com": "any", ".example.com": "any", "": "any", ":": "any",
		"[2001:db8::1]": "v6", "[2001:DB8::1]:443": "v6", "2001:db8::1": "v6", "[2001:db8::2]:443": "any", "[": "any",
		"[::": "any", "dot.test": "dot", "dot.test.": "dot",
		strings.Repeat("a", 300) + ".example.com":      "any",
		strings.Repeat("A.", 120) + "example.com":      "wide",
		strings.Repeat("A", 10_000):                    "any",
		strings.Repeat(".", 10_000):                    "any",
		"a.b.example.com..":                            "any",
		"a.b.example.com\x00":                          "any",
		strings.Repeat("x", 253-12) + ".Example.com:1": "wide",
	} {
		wantRoute(t, table, req("GET", host, "/"), want)
	}
}

func TestPathPrefixesEndOnSegmentBorders(t *testing.T) {
	table := tableOf(t, []discovery.Route{
		route("root", "h", "/", "s"), route("a", "h", "/a", "s"), route("slash", "h", "/b/", "s"), route("deep", "h", "/a/b/c", "s"),
		route("double", "h", "/d//e", "s"),
	}, svc("s"))
	for path, want := range map[string]string{
		"/": "root", "": "root", "*": "root", "/a": "a", "/a/": "a", "/a/b": "a", "/a/b/": "a", "/a/b/c": "deep", "/a/b/cd": "a",
		"/a/b/c/d": "deep", "/ab": "root", "/b": "slash", "/b/": "slash", "/b/x": "slash", "/bx": "root", "//a": "root",
		"/d//e": "double", "/d/e": "root", "/d//e/f": "double", "a": "root", "/A": "root",
	} {
		wantRoute(t, table, req("GET", "h", path), want)
	}
}

func TestMethodsAndHeadersAreAskedAfterPathAndHideNothing(t *testing.T) {
	with := func(r discovery.Route, method string, headers map[string]string) discovery.Route {
		r.Method, r.Headers = method, headers
		return r
	}
	table := tableOf(t, []discovery.Route{
		route("all", "", "", "s"),
		with(route("get", "h", "/a", "s"), "GET", nil),
		with(route("v2", "h", "/a", "s"), "", map[string]string{"x-version": "2"}),
		with(route("any-version", "h", "/a", "s"), "", map[string]string{"X-Version": ""}),
		with(route("both", "h", "/a", "s"), "", map[string]string{"X-Version": "2", "X-Debug": ""}),
		with(route("post-only", "h", "/a/b", "s"), "POST", nil),
	}, svc("s"))
	for _, c := range []struct {
		r    *Request
		want string
	}{
		{req("GET", "h", "/a"), "get"},
		{req("GET", "h", "/a", "X-Version", "2"), "get"},
		{req("POST", "h", "/a", "X-Version", "2"), "v2"},
		{req("POST", "h", "/a", "X-Version", "1", "X-Version", "2"), "v2"},
		{req("POST", "h", "/a", "X-Version", "3"), "any-version"},
		{req("POST", "h", "/a", "X-Version", ""), "any-version"},
		{req("POST", "h", "/a", "X-Version", "2", "X-Debug", "x"), "both"},
		{req("PUT", "h", "/a"), "all"},
		{req("get", "h", "/a"), "all"},
		{req("POST", "h", "/a/b"), "post-only"},
		{req("GET", "h", "/a/b"), "get"},
		{&Request{Method: "PUT", Host: "h", Path: "/a"}, "all"},
	} {
		wantRoute(t, table, c.r, c.want)
	}
}

func TestNoRouteMatchesAnEmptyTable(t *testing.T) {
	if r := new(Table).Match(req("GET", "h", "/")); r != nil {
		t.Errorf("got %+v", r)
	}
}

// oracle is the order of the package's documentation, said simply.
type oracle struct{ routes []oracleRoute }

type oracleRoute struct {
	discovery.Route
	rank int
}

func (o *oracle) match(r *Request) string {
	best := ""
	var winner oracleRoute
	for _, c := range o.routes {
		if oracleTakes(c.Route, r) && (best == "" || oracleBefore(c, winner)) {
			best, winner = c.Name, c
		}
	}
	return best
}

func oracleTakes(c discovery.Route, r *Request) bool {
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	want := strings.ToLower(c.Host)
	if suffix, wild := strings.CutPrefix(want, "*"); wild {
		if !strings.HasSuffix(host, suffix) || host == suffix {
			return false
		}
	} else if want != "" && want != host {
		return false
	}
	prefix := strings.TrimSuffix(c.Path, "/")
	if prefix != "" && r.Path != prefix && !strings.HasPrefix(r.Path, prefix+"/") {
		return false
	}
	if c.Method != "" && c.Method != r.Method {
		return false
	}
	for name, value := range c.Headers {
		values := r.Header.(http.Header).Values(name)
		if len(values) == 0 || value != "" && !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

func oracleBefore(a, b oracleRoute) bool {
	key := func(r oracleRoute) []int {
		host := 1 << 20
		if strings.HasPrefix(r.Host, "*.") {
			host = len(r.Host)
		} else if r.Host == "" {
			host = 0
		}
		method, values := 0, 0
		if r.Method != "" {
			method = 1
		}
		for _, v := range r.Headers {
			if v != "" {
				values++
			}
		}
		return []int{host, len(strings.TrimSuffix(r.Path, "/")), method, len(r.Headers), values, -r.rank}
	}
	if c := slices.Compare(key(a), key(b)); c != 0 {
		return c > 0
	}
	return a.Name < b.Name
}

var (
	hostGen   = rapid.SampledFrom([]string{"", "a", "b.a", "c.b.a", "*.a", "*.b.a", "d.c.b.a"})
	pathGen   = rapid.SampledFrom([]string{"", "/", "/x", "/x/", "/x/y", "/xy", "/x//y", "/x/y/z", "/z"})
	methodGen = rapid.SampledFrom([]string{"", "", "GET", "POST"})
	headerGen = rapid.MapOfN(rapid.SampledFrom([]string{"X-One", "X-Two"}), rapid.SampledFrom([]string{"", "1", "2"}), 0, 2)
)

var routeGen = rapid.Custom(func(t *rapid.T) discovery.Route {
	return discovery.Route{
		Host: hostGen.Draw(t, "host"), Path: pathGen.Draw(t, "path"), Method: methodGen.Draw(t, "method"),
		Headers: headerGen.Draw(t, "headers"), Service: "default",
	}
})

var requestGen = rapid.Custom(func(t *rapid.T) *Request {
	host := rapid.SampledFrom([]string{"a", "b.a", "c.b.a", "A", "C.b.A:80", "x.a", "y.x.b.a.", "q", "", "d.c.b.a"}).Draw(t, "host")
	path := rapid.SampledFrom([]string{"/", "/x", "/x/", "/x/y", "/xy", "/x//y", "/x/y/z/", "/z", "/q", "*", "/x/y/q/r/s"}).Draw(t, "path")
	r := req(rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"), host, path)
	for name, value := range headerGen.Draw(t, "headers") {
		r.Header.(http.Header).Add(name, value)
	}
	return r
})

func TestMatchAgreesWithALinearSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o oracle
		ch := changes{services: []serviceChange{change(svc("default"))}}
		for i, r := range rapid.SliceOfN(routeGen, 0, 25).Draw(t, "routes") {
			r.Name = fmt.Sprintf("r%02d", i)
			rank := rapid.IntRange(0, 2).Draw(t, "rank")
			o.routes = append(o.routes, oracleRoute{r, rank})
			ch.routes = append(ch.routes, routeChange{announced: announced{route: r, source: fmt.Sprint(rank), rank: rank}})
		}
		table, _ := build(&Table{}, ch)
		for _, r := range rapid.SliceOfN(requestGen, 1, 20).Draw(t, "requests") {
			want := cmp.Or(o.match(r), sourceCatchAll)
			if got := table.Match(r); got == nil || got.Name != want {
				t.Fatalf("%s %q %q %v goes to %+v, want %s", r.Method, r.Host, r.Path, r.Header, got, want)
			}
		}
		// The order that Routes tells is the order in which they match.
		for _, r := range rapid.SliceOfN(requestGen, 1, 5).Draw(t, "more requests") {
			routes := table.Routes()
			i := slices.IndexFunc(routes, func(c *Route) bool { return c == routes[len(routes)-1] || oracleTakes(*c.Route, r) })
			if got := table.Match(r); got != routes[i] {
				t.Fatalf("%s %q %q goes to %s, but %s is the first in order that takes it", r.Method, r.Host, r.Path, got.Name, routes[i].Name)
			}
		}
	})
}

// FuzzMatch feeds requests as a stranger may send them, and routes as a stranger may announce them.
func FuzzMatch(f *testing.F) {
	f.Add("a.example.com", "/x", "A.example.com:80", "/x/y", "GET")
	f.Add("*.example.com", "/", "b.a.example.com.", "//", "GET")
	f.Add("[::1]", "", "[::1]:80", "*", "OPTIONS")
	f.Add("", "/a/", "::::", "/a", "")
	f.Add("*.", "x", "", "", "x y")
	f.Fuzz(func(t *testing.T, host, path, reqHost, reqPath, method string) {
		announced := discovery.Route{Name: "r", Host: host, Path: path, Service: "s"}
		table := tableOf(t, []discovery.Route{announced, {Name: "exact", Host: "a.example.com", Path: "/x", Service: "s"}}, svc("s"))
		r := &Request{Host: reqHost, Path: reqPath, Method: method, Header: http.Header{}}
		got := table.Match(r)
		if got == nil {
			return
		}
		// Whatever matched says so of itself, in its normal form.
		c := got.claim
		reqHost = strings.ToLower(bareHost(reqHost))
		switch {
		case c.wild && !strings.HasSuffix(reqHost, "."+c.host), !c.wild && c.host != "" && reqHost != c.host:
			t.Errorf("host %q matched %q", reqHost, got.Host)
		case c.path != "" && reqPath != c.path && !strings.HasPrefix(reqPath, c.path+"/"):
			t.Errorf("path %q matched %q", reqPath, got.Path)
		}
	})
}
