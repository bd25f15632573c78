package routing

import (
	"slices"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
)

// memory is what outlives announcements: policies already made, and services that nothing announces any more.
type memory struct {
	services map[string]*remembered
	// vanished holds the services that may have to be forgotten, in the order in which they vanished. Those that were
	// announced again meanwhile are still in it.
	vanished    []vanished
	forgetAfter time.Duration
}

type vanished struct {
	name string
	at   time.Time
}

// remembered is a service in the table.
type remembered struct {
	texts    []PolicyText
	policy   *Policy
	problems []discovery.Problem // of the texts
	routes   []announced         // the latest announced
	// vanished is when the last announcement went; zero while there is one.
	vanished time.Time
}

// nextForget is when the next service may have to be forgotten.
func (m *memory) nextForget() (time.Time, bool) {
	if len(m.vanished) == 0 {
		return time.Time{}, false
	}
	return m.vanished[0].at.Add(m.forgetAfter), true
}

// forget drops the services whose time has come, and returns their names.
func (m *memory) forget(now time.Time) (names []string) {
	for len(m.vanished) > 0 && !now.Before(m.vanished[0].at.Add(m.forgetAfter)) {
		v := m.vanished[0]
		m.vanished = m.vanished[1:]
		if r := m.services[v.name]; r != nil && r.vanished.Equal(v.at) {
			delete(m.services, v.name)
			names = append(names, v.name)
		}
	}
	return names
}

// next returns the change for a service as merged at the given time, false if there is none to make. With anew its
// policy is made again whether its texts changed or not; with forget it is not kept when nothing announces it.
func (m *memory) next(in merged, resolve policyMaker, anew, forget bool, now time.Time) (serviceChange, bool) {
	r := m.services[in.name]
	if r == nil && in.announced {
		r = &remembered{}
		m.services[in.name] = r
	}
	if in.announced && !equalTexts(r.texts, in.texts) {
		r.texts, r.policy = in.texts, nil
	}
	if r != nil && (r.policy == nil || anew) {
		r.policy, r.problems = resolve(in.name, r.texts)
	}
	if in.announced {
		r.routes, r.vanished = in.routes, time.Time{}
		return serviceChange{name: in.name, backends: in.backends, policy: r.policy, routes: in.routes,
			problems: append(slices.Clip(in.problems), r.problems...)}, true
	}
	switch {
	case r == nil:
		return serviceChange{}, false
	case forget || m.forgetAfter < 0:
		delete(m.services, in.name)
		return serviceChange{name: in.name, gone: true}, true
	case r.vanished.IsZero():
		r.vanished = now
		m.vanished = append(m.vanished, vanished{in.name, now})
	}
	// What led to the service still does, for an answer of 503 and not of another service, but behind all others.
	routes := slices.Clone(r.routes)
	for i := range routes {
		routes[i].rank = rankPast
	}
	return serviceChange{name: in.name, past: true, policy: r.policy, routes: routes}, true
}

// policyMaker is [Catalog.resolvePolicy].
type policyMaker func(service string, texts []PolicyText) (*Policy, []discovery.Problem)

// step makes what is pending, and what is to be forgotten, into a table and publishes it. It reports whether there was
// anything new.
func (c *Catalog) step(now time.Time) bool {
	c.mu.Lock()
	c.guardExpire(now)
	events := c.guardTold()
	p := c.take()
	c.memory.forgetAfter = c.settings.ForgetAfter
	moved := c.env != nil && c.env.here != c.settings.Here
	if c.env == nil || moved {
		c.env = &environment{here: c.settings.Here, panicked: c.panicked, making: c.making}
	}
	ch := changes{
		settings: c.settings.table(),
		routes:   c.gatherRoutes(p.routes),
		force:    p.synced && c.Table().generation == 0,
	}
	if p.configured {
		for name := range c.memory.services {
			p.services[name] = struct{}{}
		}
	}
	authority, others := c.authorityLocked(), c.othersLocked()
	services := make([]merged, 0, len(p.services))
	for name := range p.services {
		services = append(services, merge(name, c.layersLocked(name), c.overrides[name], c.settings.mergeOf(name)))
	}
	c.mu.Unlock()

	if c.guardedTo != nil {
		for _, e := range events {
			c.guardedTo(e)
		}
	}
	shadow := map[string][]Difference{}
	for _, in := range services {
		shadow[in.name] = compareShadows(&in, authority, others, func(texts []PolicyText) Policy {
			p, _ := c.resolve(in.name, texts)
			return p
		})
		_, forget := p.forget[in.name]
		if s, ok := c.memory.next(in, c.resolvePolicy, p.configured, forget, now); ok {
			ch.services = append(ch.services, s)
		}
	}
	for _, name := range c.memory.forget(now) {
		ch.services = append(ch.services, serviceChange{name: name, gone: true})
	}
	prev := c.Table()
	if prev.generation == 0 && !ch.force && len(ch.services)+len(ch.routes) == 0 {
		return false // settings alone make no first table
	}
	next, retired := build(prev, ch)
	if next != prev {
		c.publish(next, prev, retired)
	}
	if moved {
		for _, s := range next.Services() {
			s.Runtime.install(s, c.env)
		}
	}
	c.stepped(p, ch, shadow, next != prev)
	return next != prev
}

// stepped notes what a step came to.
func (c *Catalog) stepped(p pending, ch changes, shadow map[string][]Difference, published bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, ds := range shadow {
		if len(ds) > 0 {
			c.shadow[name] = ds
		} else {
			delete(c.shadow, name)
		}
	}
	c.standing = c.standing || p.synced
	if published && !p.seen.IsZero() {
		c.observeLocked(time.Since(p.seen))
	}
	for _, s := range ch.services {
		if r := c.memory.services[s.name]; s.past && r != nil {
			c.past[s.name] = pastOf(s.name, r)
			c.revision.Add(1)
		} else if _, was := c.past[s.name]; was {
			delete(c.past, s.name)
			c.revision.Add(1)
		}
	}
}

// gatherRoutes reads the state of routes that belong to no service. The lock is held.
func (c *Catalog) gatherRoutes(keys map[routeKey]struct{}) []routeChange {
	out := make([]routeChange, 0, len(keys))
	for k := range keys {
		ch := routeChange{announced: announced{source: k.source, route: discovery.Route{Name: k.name}}, gone: true}
		if s := c.sources[k.source]; s != nil && !c.shadowedLocked(k.source) {
			if r, ok := s.routeLocked(k.name); ok {
				ch.route, ch.rank, ch.gone = r, slices.Index(c.settings.Sources, k.source), false
				ch.route.Stale = discovery.Stale{}
			}
		}
		out = append(out, ch)
	}
	return out
}

// resolvePolicy makes a policy that is fit to be used.
func (c *Catalog) resolvePolicy(service string, texts []PolicyText) (*Policy, []discovery.Problem) {
	policy, problems := c.resolve(service, texts)
	problems = slices.Clone(problems)
	if err := balance.Check(policy.Algorithm); err != nil {
		problems = append(problems, discovery.Problem{Code: discovery.CodeBadPolicy,
			Detail: err.Error() + "; " + string(balance.RoundRobin) + " is used"})
		policy.Algorithm = balance.RoundRobin
	}
	for i := range problems {
		if problems[i].Key == "" {
			problems[i].Key = "policy of service " + service
		}
	}
	// Most services have the same: one copy does for all that follow one another.
	if c.policy == nil || *c.policy != policy {
		c.policy = &policy
	}
	return c.policy, problems
}

// publish makes a table the current one. Ready sets of what changed are made before, so that no service is seen without
// one; records of backends that are gone are retired after, when nothing picks them any more.
func (c *Catalog) publish(next, prev *Table, retired []*backend.State) {
	for before, after := range next.Changes(prev) {
		if after == nil {
			before.Runtime.install(nil, c.env)
			continue
		}
		relimit := before != nil && before.Policy.Limit != after.Policy.Limit
		rebreak := before != nil && before.rules != after.rules
		for _, b := range after.Backends {
			if rebreak {
				b.State.Breaker.SetRules(after.rules)
			}
			b.State.SetDraining(b.Draining)
			b.State.SetFailing(b.Failing && after.Policy.Health != HealthProbe)
			b.State.SetOutlier(after.Policy.Outlier.Enabled())
			if relimit || (b.State.Limit() != nil) != after.Policy.Limit.Enabled() {
				b.State.SetLimit(after.Policy.Limit)
			}
		}
		after.Runtime.install(after, c.env)
	}
	c.table.Store(next)
	if c.published != nil {
		if prev.generation == 0 {
			prev = nil
		}
		c.published(next, prev)
	}
	for _, s := range retired {
		s.Retire()
	}
}
