package routing

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/vietddude/load-balancer/discovery"
)

// defaultService is the name of the service that the configuration's own backends make.
const defaultService = "default"

// routes returns the routes that lead to a draft's service: one for each claim, its default ones if there is none.
// Those of the table before are kept where they say the same.
func (b *builder) routes(name string, d *draft) []*Route {
	claims := d.claims
	switch {
	case d.service == nil:
		return nil
	case len(claims) == 0 && name != defaultService:
		if claims = b.oldDefaults(d); claims == nil {
			claims = defaultClaims(name, b.t.settings.domain, &d.service.Runtime.defaultRequests)
		}
	}
	routes := make([]*Route, 0, len(claims))
	old := d.old.routes // in order of id, as claims are
	for _, c := range claims {
		for len(old) > 0 && old[0].claim.id < c.id {
			old = old[1:]
		}
		if len(old) > 0 && old[0].Target == d.service && (old[0].claim == c || old[0].claim.same(c)) {
			routes = append(routes, old[0])
			continue
		}
		routes = append(routes, &Route{Route: &c.route, Source: c.source, Target: d.service, Requests: c.requests, headers: c.headers, claim: c})
	}
	return routes
}

// oldDefaults are the claims of a draft's default routes in the table before, nil if there were none or the domain was
// another.
func (b *builder) oldDefaults(d *draft) (cs []*claim) {
	if b.prev.settings.domain != b.t.settings.domain {
		return nil
	}
	for _, r := range d.old.routes {
		if r.claim.rank != rankDefault {
			return nil
		}
		cs = append(cs, r.claim)
	}
	return cs
}

// replace takes routes out of the trees and puts others in. Both are in order of id; routes in both stay.
func (b *builder) replace(old, next []*Route) {
	for len(old) > 0 || len(next) > 0 {
		switch {
		case len(next) == 0 || len(old) > 0 && old[0].claim.id < next[0].claim.id:
			b.takeOut(old[0])
			old = old[1:]
		case len(old) == 0 || next[0].claim.id < old[0].claim.id:
			b.putIn(next[0])
			next = next[1:]
		default:
			if old[0] != next[0] {
				b.exchange(old[0], next[0])
			}
			old, next = old[1:], next[1:]
		}
	}
}

func (b *builder) takeOut(r *Route) {
	b.leaf(r.claim, func(rs []*Route) []*Route {
		return slices.DeleteFunc(rs, func(o *Route) bool { return o == r })
	})
}

func (b *builder) putIn(r *Route) {
	b.leaf(r.claim, func(rs []*Route) []*Route {
		i, _ := slices.BinarySearchFunc(rs, r.claim, func(o *Route, c *claim) int { return o.claim.compareHere(c) })
		return slices.Insert(rs, i, r)
	})
}

// exchange puts a route into the place of another: at once where only what it leads to has changed, so that what makes up
// most changes costs the half.
func (b *builder) exchange(old, next *Route) {
	if old.claim != next.claim {
		b.takeOut(old)
		b.putIn(next)
		return
	}
	tree := b.t.tree(old.claim)
	rs := slices.Clone(tree.at(old.claim.path))
	rs[slices.Index(rs, old)] = next
	b.t.setTree(old.claim, tree.with(old.claim.path, rs))
}

// leaf changes the routes of a claim's host and path. The function is given a copy.
func (b *builder) leaf(c *claim, change func([]*Route) []*Route) {
	tree := b.t.tree(c)
	b.t.setTree(c, tree.with(c.path, change(slices.Clone(tree.at(c.path)))))
	b.leaves[leafKey(c)] = c
}

func leafKey(c *claim) string {
	return fmt.Sprint(c.hostClass(), " ", c.host, c.path)
}

// duplicates tells of the routes at a claim's place that match what another before them does. What nothing announces
// (any more) is passed over.
func (b *builder) duplicates(c *claim) {
	routes := b.t.tree(c).at(c.path)
	var problems []discovery.Problem
	if len(routes) > 1 {
		first := map[string]*Route{}
		for _, r := range routes {
			winner := first[r.claim.match]
			if winner == nil {
				first[r.claim.match] = r
			} else if r.claim.rank < rankPast || winner.claim.rank == rankDefault {
				problems = append(problems, discovery.Problem{
					Source: r.Source, Key: routeKeyText(r.claim.announced), Code: discovery.CodeDuplicate,
					Detail: fmt.Sprintf("it matches exactly what the %s (%s) to service %s does, which goes first",
						routeKeyText(winner.claim.announced), winner.Source, winner.Target.Name),
				})
			}
		}
	}
	b.problem("leaf\x00"+leafKey(c), problems)
}

// pending tells of routes that wait for their service to be announced.
func (b *builder) pending(name string, d *draft) {
	var problems []discovery.Problem
	if d.service == nil {
		for _, c := range d.claims {
			problems = append(problems, discovery.Problem{
				Source: c.source, Key: routeKeyText(c.announced), Code: discovery.CodeBadRoute,
				Detail: fmt.Sprintf("it leads to service %s, which is not known; it matches nothing until something announces that", name),
			})
		}
	}
	b.problem("pending\x00"+name, problems)
}

// newCatchAll is the route of what no other matches. It continues the count of the one before.
func newCatchAll(target *Service, old *Route) *Route {
	c := &claim{requests: new(atomic.Uint64)}
	if old != nil {
		c.requests = old.Requests
	}
	c.announced = announced{source: sourceCatchAll, rank: rankDefault,
		route: discovery.Route{Name: sourceCatchAll, Service: target.Name}}
	return &Route{Route: &c.route, Source: c.source, Target: target, Requests: c.requests, claim: c}
}
