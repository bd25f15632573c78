package routing

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vietddude/load-balancer/discovery"
)

// announced is a route as the catalog merged it.
type announced struct {
	route  discovery.Route
	source string
	// owner is the service whose announcement holds the route; empty for one on its own.
	owner string
	// rank is the precedence of the source, less being more; rankPast for what is not announced any more.
	rank int
}

const (
	rankPast    = math.MaxInt - 1
	rankDefault = math.MaxInt
)

// Sources of routes that nothing announces.
const (
	sourceDefault  = "default"
	sourceCatchAll = "catch-all"
)

// key identifies a route among all.
func (a *announced) key() string { return a.source + "\x00" + a.owner + "\x00" + a.route.Name }

// claim is a route ready to be matched, but not yet led to a service: it outlives the tables in which its service
// changes, and those in which there is none. It is immutable.
type claim struct {
	announced        // the route normalised
	id        string // announced.key
	host      string
	wild      bool
	path      string // empty or with a leading and no trailing slash
	headers   []headerMatch
	values    int // headers that ask for a value
	// match is equal for claims that match the same requests.
	match    string
	requests *atomic.Uint64
}

// headerMatch asks for a header field; an empty value for any.
type headerMatch struct{ name, value string }

// newClaim makes a claim of what was announced, or says what is wrong with it. The claim that it replaces may be nil.
func newClaim(a announced, old *claim) (*claim, error) {
	c := &claim{announced: a, id: a.key()}
	r := &c.route
	var err error
	if c.host, c.wild, err = hostPattern(r.Host); err != nil {
		return nil, err
	}
	if r.Host = c.host; c.wild {
		r.Host = "*." + c.host
	}
	switch {
	case r.Path != "" && r.Path[0] != '/':
		return nil, fmt.Errorf(`the path %q does not begin with "/"`, clip(r.Path))
	case strings.ContainsAny(r.Path, "?#"):
		return nil, fmt.Errorf("the path %q holds a query or fragment; only the path itself can be matched", clip(r.Path))
	case r.StripPrefix != "" && r.StripPrefix[0] != '/':
		return nil, fmt.Errorf(`the prefix to strip %q does not begin with "/"`, clip(r.StripPrefix))
	case !token(r.Method) && r.Method != "":
		return nil, fmt.Errorf("%q is no HTTP method", clip(r.Method))
	case a.owner != "" && r.Service == "":
		r.Service = a.owner
	case a.owner != "" && r.Service != a.owner:
		return nil, fmt.Errorf("the route of service %q leads to another, %q", a.owner, clip(r.Service))
	case r.Service == "":
		return nil, errors.New("the route leads to no service")
	}
	if err := discovery.CheckName(r.Service); err != nil {
		return nil, fmt.Errorf("the route leads nowhere: %w", err)
	}
	r.Path = strings.TrimSuffix(r.Path, "/")
	c.path = r.Path
	if err := c.setHeaders(); err != nil {
		return nil, err
	}
	if old != nil && old.same(c) {
		return old, nil
	}
	c.match = fmt.Sprintf("%t %q %q %q %q", c.wild, c.host, c.path, r.Method, c.headers)
	if c.requests = new(atomic.Uint64); old != nil {
		c.requests = old.requests
	}
	return c, nil
}

// setHeaders sets c.headers in order of name, and the route's to canonical names.
func (c *claim) setHeaders() error {
	if len(c.route.Headers) == 0 {
		return nil
	}
	canonical := make(map[string]string, len(c.route.Headers))
	for _, name := range slices.Sorted(maps.Keys(c.route.Headers)) {
		value, to := c.route.Headers[name], textproto.CanonicalMIMEHeaderKey(name)
		if !token(name) {
			return fmt.Errorf("%q is no name of a header field", clip(name))
		}
		if _, twice := canonical[to]; twice {
			return fmt.Errorf("the header field %s is named twice", to)
		}
		canonical[to] = value
	}
	c.route.Headers = canonical
	for _, name := range slices.Sorted(maps.Keys(canonical)) {
		c.headers = append(c.headers, headerMatch{name, canonical[name]})
		if canonical[name] != "" {
			c.values++
		}
	}
	return nil
}

// token reports whether s is a token as RFC 9110 section 5.6.2 has it.
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// defaultClaims are the default routes of a service: by its name, and by its name in the domain.
func defaultClaims(name, domain string, requests *atomic.Uint64) []*claim {
	var cs []*claim
	for _, host := range []string{strings.ToLower(name), strings.ToLower(name + "." + domain)} {
		c := &claim{host: host, requests: requests}
		c.announced = announced{source: sourceDefault, owner: host, rank: rankDefault,
			route: discovery.Route{Name: name, Host: host, Service: name}}
		c.id = c.key()
		c.match = fmt.Sprintf("%t %q %q %q %q", false, host, "", "", c.headers)
		cs = append(cs, c)
	}
	return cs
}

// same reports whether two claims say the same in the same rank.
func (c *claim) same(d *claim) bool {
	return c.rank == d.rank && c.id == d.id && c.route.Equal(d.route)
}

// compare is the total order of routes that the package's documentation tells.
func (c *claim) compare(d *claim) int {
	return cmp.Or(
		cmp.Compare(c.hostClass(), d.hostClass()),
		cmp.Compare(len(d.host), len(c.host))*b2i(c.wild), // suffixes of one host are told apart by length
		strings.Compare(c.host, d.host),
		cmp.Compare(len(d.path), len(c.path)), // and so are prefixes of one path
		strings.Compare(c.path, d.path),
		c.compareHere(d),
	)
}

// compareHere is compare for claims of the same host and path.
func (c *claim) compareHere(d *claim) int {
	return cmp.Or(
		cmp.Compare(b2i(c.route.Method == ""), b2i(d.route.Method == "")),
		strings.Compare(c.route.Method, d.route.Method),
		cmp.Compare(len(d.headers), len(c.headers)),
		cmp.Compare(d.values, c.values),
		cmp.Compare(c.rank, d.rank),
		strings.Compare(c.route.Name, d.route.Name),
		strings.Compare(c.id, d.id),
	)
}

// hostClass is 0 for an exact host, 1 for a wildcard, 2 for any.
func (c *claim) hostClass() int {
	switch {
	case c.host == "":
		return 2
	case c.wild:
		return 1
	}
	return 0
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
