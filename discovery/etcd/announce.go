package etcd

import (
	"maps"
	"slices"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// state makes the service's complete state. What is out of date since its key holds a value that cannot be read is
// marked so.
func (s *service) state(name string, seen time.Time) discovery.Service {
	svc := discovery.Service{Name: name, Seen: seen}
	if len(s.backends) > 0 {
		svc.Backends = make([]discovery.Backend, 0, len(s.backends))
	}
	for _, it := range s.backends {
		if it.good {
			svc.Backends = append(svc.Backends, *it.backend)
		}
		if it.fault != nil {
			svc.Stale = append(svc.Stale, it.stale(discovery.StaleBackend, it.id))
		}
	}
	if it := s.policy; it != nil {
		if it.good {
			svc.Policy = it.text.policy
		}
		if it.fault != nil {
			svc.Stale = append(svc.Stale, it.stale(discovery.StalePolicy, ""))
		}
	}
	return svc
}

// keep notes what was told: of backends that are the same nothing else is kept.
func (s *service) keep(told discovery.Service) {
	s.told = told
	i := 0
	for _, it := range s.backends {
		if it.good {
			it.backend = &told.Backends[i]
			i++
		}
	}
}

// stale is the mark of an item in force whose present value cannot be read.
func (it *item) stale(part, id string) discovery.Stale {
	return discovery.Stale{Part: part, ID: id, Reason: it.fault.code, Detail: it.fault.detail}
}

// announced is what is told of a route in force.
func (it *item) announced() discovery.Route {
	r := discovery.Route{Name: it.id}
	if it.good {
		r = it.text.route
	}
	if it.fault != nil {
		r.Stale = it.stale("", "")
	}
	return r
}

// flush announces what changed since the last flush or announce, in order of name; what is equal to what was told last
// is left out.
func (c *core) flush(sink discovery.Sink, seen time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.touchedServices)) {
		s := c.services[name]
		next := s.state(name, seen)
		if changed := s.told.Name == "" && !next.Empty() || s.told.Name != "" && !next.Equal(s.told); changed {
			sink.Service(next)
			s.keep(next)
		} else {
			s.keep(s.told)
		}
		if next.Empty() {
			delete(c.services, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.touchedRoutes)) {
		told, was := c.toldRoutes[name]
		it := c.routes[name]
		if it == nil {
			if was {
				sink.RemoveRoute(name)
				delete(c.toldRoutes, name)
			}
			continue
		}
		if next := it.announced(); !was || !next.Equal(told) {
			sink.Route(next)
			c.toldRoutes[name] = next
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.touchedProblems)) {
		name := printable(key)
		told, was := c.toldProblems[name]
		p, is := c.problem(key)
		switch {
		case !is && was:
			sink.Accept(name)
			delete(c.toldProblems, name)
		case is && !(was && p == told):
			sink.Reject(p)
			c.toldProblems[name] = p
		}
	}
	c.settle()
}

// announce names everything there is, as a resync asks for.
func (c *core) announce(sink discovery.Sink, seen time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.services)) {
		s := c.services[name]
		next := s.state(name, seen)
		if next.Empty() {
			delete(c.services, name)
			continue
		}
		if next.Equal(s.told) {
			next.Backends = s.told.Backends // which the catalog has too
		}
		s.keep(next)
		sink.Service(next)
	}
	clear(c.toldRoutes)
	for _, name := range slices.Sorted(maps.Keys(c.routes)) {
		c.toldRoutes[name] = c.routes[name].announced()
		sink.Route(c.toldRoutes[name])
	}
	clear(c.toldProblems)
	for _, key := range slices.Sorted(maps.Keys(c.items)) {
		if p, is := c.problem(key); is {
			c.toldProblems[p.Key] = p
			sink.Reject(p)
		}
	}
	c.settle()
}

// settle forgets what changed.
func (c *core) settle() {
	c.touchedServices, c.touchedRoutes, c.touchedProblems = emptied(c.touchedServices), emptied(c.touchedRoutes), emptied(c.touchedProblems)
	c.first = false
}

// emptied is a set without what it held. A great one is left behind: to go through it costs its size for ever.
func emptied(set map[string]bool) map[string]bool {
	const great = 1000
	if len(set) > great {
		return map[string]bool{}
	}
	clear(set)
	return set
}

// problem is what is wrong with a key.
func (c *core) problem(key string) (discovery.Problem, bool) {
	it := c.items[key]
	if it == nil || it.fault == nil {
		return discovery.Problem{}, false
	}
	detail := it.fault.detail
	if it.good {
		detail += "; the last good value stays in force"
	}
	return discovery.Problem{Key: printable(key), Code: it.fault.code, Detail: detail}, true
}
