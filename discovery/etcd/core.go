package etcd

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// keyValue is a key and its value, as the store has them.
type keyValue struct {
	key       string // whole
	value     []byte
	createRev int64
	modRev    int64
}

// core turns keys into what is announced: events in, states out. It knows no network, goroutine or clock.
//
// [core.put] and [core.remove] take single events, [core.replace] a listing; [core.flush] announces what they changed,
// [core.announce] names everything. It is not safe for concurrent use.
type core struct {
	prefix string // ends with a slash, or is empty
	format format
	dec    discovery.Decoder

	items    map[string]*item    // all keys that are not foreign, or are rejected
	services map[string]*service // those with an item, and those still announced
	routes   map[string]*item

	// first says that nothing was announced yet.
	first  bool
	shared shared

	// What changed since the last flush.
	touchedServices map[string]bool
	touchedRoutes   map[string]bool
	touchedProblems map[string]bool // whole keys

	// What the sink was told last.
	toldRoutes   map[string]discovery.Route
	toldProblems map[string]discovery.Problem
}

// service is what the keys say of one service.
type service struct {
	backends []*item // in force, in order of ID
	policy   *item   // in force, or nil
	told     discovery.Service
}

// item is what one key says: its last good value since it was created, and what is wrong with the present one. It is in
// force when it has a good value, or when it is unknown: then it is announced as stale, without a value.
type item struct {
	service string // of a backend or policy
	id      string // of a backend; the name of a route
	kind    kind

	good bool
	// unknown says that the key had no good value yet since the first listing, which found it bad: the catalog may know
	// one from before.
	unknown bool
	listed  bool // named by the listing under way

	createRev int64
	// backend, of a good one, lies in what was told of its service last, if that is known to hold it.
	backend *discovery.Backend
	text    *text
	fault   *fault // nil when the present value is good
}

// text is what items other than backends hold.
type text struct {
	policy []byte          // of a policy
	route  discovery.Route // of a route
}

func newCore(prefix string, f format, dec discovery.Decoder) *core {
	return &core{
		prefix: prefix, format: f, dec: dec, first: true, shared: newShared(),
		items: map[string]*item{}, services: map[string]*service{}, routes: map[string]*item{},
		touchedServices: map[string]bool{}, touchedRoutes: map[string]bool{}, touchedProblems: map[string]bool{},
		toldRoutes: map[string]discovery.Route{}, toldProblems: map[string]discovery.Problem{},
	}
}

// put takes the present value of a key.
func (c *core) put(kv keyValue) {
	below, ok := strings.CutPrefix(kv.key, c.prefix)
	if !ok {
		return
	}
	it := c.items[kv.key]
	if it != nil && it.createRev != kv.createRev {
		// The key was deleted in between; what it held before that is withdrawn.
		c.unlink(it)
	}
	if it == nil {
		p, f := c.format.locate(below)
		if f == nil && p.kind == foreign {
			return
		}
		it = &item{service: p.service, id: p.id, kind: p.kind, fault: f, unknown: c.first && f == nil}
		c.items[kv.key] = it
	}
	was := it.fault
	it.createRev, it.listed = kv.createRev, true
	if it.kind != foreign {
		it.fault = c.read(it, kv.value)
		if it.fault != nil && it.unknown {
			c.link(it)
		}
	}
	if was != nil || it.fault != nil {
		c.touchedProblems[kv.key] = true
		c.touch(it)
	}
}

// remove takes the deletion of a key.
func (c *core) remove(key string) {
	it := c.items[key]
	if it == nil {
		return
	}
	delete(c.items, key)
	c.unlink(it)
	if it.fault != nil {
		c.touchedProblems[key] = true
	}
}

// replace takes all keys there are.
func (c *core) replace(kvs []keyValue) {
	c.begin()
	for _, kv := range kvs {
		c.put(kv)
	}
	c.end()
}

// begin says that what is put from now on is a listing, end that all of it was.
func (c *core) begin() {
	for _, it := range c.items {
		it.listed = false
	}
}

func (c *core) end() {
	for key, it := range c.items {
		if !it.listed {
			c.remove(key)
		}
	}
}

// read decodes a value into its item; a value with a fault leaves the item as it was.
func (c *core) read(it *item, value []byte) *fault {
	if len(value) > maxValue {
		return faultf(discovery.CodeTooLarge, "the value has %d bytes, at most %d are read", len(value), maxValue)
	}
	switch it.kind {
	case backendKind:
		b, announced, f := c.format.decode(it.id, value)
		if f != nil {
			return f
		}
		if !announced {
			c.unlink(it)
			return nil
		}
		b = c.shared.backend(b)
		it.backend = &b
	case policyKind:
		if f := c.checkPolicy(value); f != nil {
			return f
		}
		it.text = &text{policy: bytes.Clone(value)}
	case routeKind:
		r, f := c.decodeRoute(it.id, value)
		if f != nil {
			return f
		}
		it.text = &text{route: r}
	}
	it.good, it.unknown = true, false
	c.link(it)
	return nil
}

func (c *core) checkPolicy(text []byte) *fault {
	if c.dec == nil {
		return faultf(discovery.CodeBadPolicy, "this source is not set up to read policies")
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return faultf(discovery.CodeBadPolicy, "the policy is empty; delete the key to have none")
	}
	if err := c.dec.CheckPolicy(text); err != nil {
		return faultf(discovery.CodeBadPolicy, "%s", clip(err.Error()))
	}
	return nil
}

func (c *core) decodeRoute(name string, text []byte) (discovery.Route, *fault) {
	if c.dec == nil {
		return discovery.Route{}, faultf(discovery.CodeBadRoute, "this source is not set up to read routes")
	}
	r, err := c.dec.Route(name, text)
	if err != nil {
		return r, faultf(discovery.CodeBadRoute, "%s", clip(err.Error()))
	}
	if err := discovery.CheckName(r.Service); err != nil {
		return r, faultf(discovery.CodeBadRoute, "the service it leads to: %v", err)
	}
	return r, nil
}

// touch has what an item belongs to announced, if it changed.
func (c *core) touch(it *item) {
	switch it.kind {
	case routeKind:
		c.touchedRoutes[it.id] = true
	case backendKind, policyKind:
		if c.services[it.service] != nil {
			c.touchedServices[it.service] = true
		}
	}
}

// link puts an item in force.
func (c *core) link(it *item) {
	defer c.touch(it)
	if it.kind == routeKind {
		c.routes[it.id] = it
		return
	}
	s := c.services[it.service]
	if s == nil {
		s = &service{}
		c.services[it.service] = s
	}
	if it.kind == policyKind {
		s.policy = it
		return
	}
	i, found := s.find(it.id)
	if !found {
		s.backends = slices.Insert(s.backends, i, it)
	}
}

// unlink takes an item out of force, if it is, and forgets its value.
func (c *core) unlink(it *item) {
	if !it.good && !it.unknown {
		return
	}
	it.good, it.unknown = false, false
	defer c.touch(it)
	if it.kind == routeKind {
		delete(c.routes, it.id)
		return
	}
	s := c.services[it.service]
	if it.kind == policyKind {
		s.policy = nil
		return
	}
	if i, ok := s.find(it.id); ok {
		s.backends = slices.Delete(s.backends, i, i+1)
	}
}

// find is the index of the backend of that ID, or where it belongs.
func (s *service) find(id string) (int, bool) {
	return slices.BinarySearchFunc(s.backends, id, func(it *item, id string) int { return cmp.Compare(it.id, id) })
}
