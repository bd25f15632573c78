package routing

import (
	"maps"
	"slices"
	"strings"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/discovery"
)

// changes are what is different since the last table: the services that were touched, each whole, and the routes that
// belong to none.
type changes struct {
	settings tableSettings
	services []serviceChange
	routes   []routeChange
	// force asks for a new table even if nothing is different.
	force bool
}

// serviceChange is the state of one service, merged from all sources.
type serviceChange struct {
	name     string
	gone     bool // nothing below counts then
	past     bool // nothing announces it any more
	backends []mergedBackend
	policy   *Policy
	routes   []announced
	problems []discovery.Problem
}

// mergedBackend is a backend and the sources that announce it, in order of precedence.
type mergedBackend struct {
	discovery.Backend
	sources []string
	held    bool // no source announces it; a guard holds it
}

// routeChange is the state of one route that belongs to no service.
type routeChange struct {
	announced
	gone bool
}

// build returns the table that follows another, and the records of backends that are no longer in it. It shares with
// the one before what is not touched, and is the one before if nothing is different.
func build(prev *Table, ch changes) (*Table, []*backend.State) {
	next := *prev
	b := builder{prev: prev, t: &next, drafts: map[string]*draft{}, leaves: map[string]*claim{}}
	if next.settings != ch.settings {
		b.changed = true
		if next.settings.domain != ch.settings.domain {
			for name := range prev.entries.all() {
				b.draft(name)
			}
		}
		next.settings = ch.settings
	}
	for i := range ch.services {
		b.service(&ch.services[i])
	}
	for i := range ch.routes {
		b.route(&ch.routes[i])
	}
	next.touched = nil
	for _, name := range slices.Sorted(maps.Keys(b.drafts)) {
		b.finish(name, b.drafts[name])
	}
	for _, c := range b.leaves {
		b.duplicates(c)
	}
	b.catchAll()
	if !b.changed && !ch.force {
		return prev, nil
	}
	next.generation++
	return &next, b.retired
}

// builder is a table in the making. Its maps are those of the table before until they are replaced.
type builder struct {
	prev, t *Table
	changed bool
	// drafts are the entries that are touched, by name of the service.
	drafts map[string]*draft
	// leaves are the places in the route trees that are touched, by host and path, each by one claim that lies there.
	leaves  map[string]*claim
	retired []*backend.State
	buf     hasher // for reuse
	// policy is the one that was hashed last, sum its hash.
	policy *Policy
	sum    fingerprint
}

// draft is an entry in the making.
type draft struct {
	old     entry
	service *Service
	claims  []*claim // in order of id
	own     bool     // claims is a copy
}

// edit returns the draft's claims for changing.
func (d *draft) edit() *[]*claim {
	if !d.own {
		d.own, d.claims = true, slices.Clone(d.claims)
	}
	return &d.claims
}

// find returns where a claim is or belongs.
func (d *draft) find(id string) (int, bool) {
	return slices.BinarySearchFunc(d.claims, id, func(c *claim, id string) int { return strings.Compare(c.id, id) })
}

func (d *draft) add(c *claim) {
	cs := d.edit()
	i, _ := d.find(c.id)
	*cs = slices.Insert(*cs, i, c)
}

func (d *draft) remove(c *claim) {
	cs := d.edit()
	if i, ok := d.find(c.id); ok {
		*cs = slices.Delete(*cs, i, i+1)
	}
}

// draft returns the draft of a service's entry.
func (b *builder) draft(name string) *draft {
	d := b.drafts[name]
	if d == nil {
		d = &draft{}
		if e := b.prev.entries.at(name); e != nil {
			d.old = *e
		}
		d.service, d.claims = d.old.service, d.old.claims
		b.drafts[name] = d
	}
	return d
}

// problem replaces the problems of one subject.
func (b *builder) problem(subject string, ps []discovery.Problem) {
	old, had := b.t.problems.get(subject)
	switch {
	case slices.Equal(old, ps):
		return
	case len(ps) > 0:
		b.t.problems = b.t.problems.set(subject, ps)
	case had:
		b.t.problems = b.t.problems.delete(subject)
	}
	b.changed = true
}

// service takes a service's new state, its own routes included.
func (b *builder) service(ch *serviceChange) {
	d := b.draft(ch.name)
	own := map[string]*claim{} // from the table before; nil where the announcement has been seen
	for _, c := range d.claims {
		if c.owner == ch.name {
			own[c.id] = c
		}
	}
	problems := ch.problems
	if ch.gone {
		problems = nil
		if d.service != nil {
			for _, be := range d.service.Backends {
				b.retired = append(b.retired, be.State)
			}
		}
		d.service = nil
	} else {
		var bad []discovery.Problem
		d.service, bad = b.nextService(d.service, ch)
		problems = append(slices.Clip(problems), bad...)
		problems = append(problems, d.claimOwn(ch, own)...)
	}
	for _, c := range own {
		if c != nil {
			d.remove(c)
		}
	}
	b.problem("service\x00"+ch.name, problems)
}

// claimOwn puts the routes that a service announces into its draft. It sets in own, which holds those of the table
// before, what is kept or replaced to nil.
func (d *draft) claimOwn(ch *serviceChange, own map[string]*claim) (problems []discovery.Problem) {
	for _, a := range ch.routes {
		a.owner = ch.name
		id := a.key()
		old, known := own[id]
		if known && old == nil {
			problems = append(problems, discovery.Problem{Source: a.source, Key: routeKeyText(a), Code: discovery.CodeDuplicate,
				Detail: "the service announces two routes of this name; the first is taken"})
			continue
		}
		c, err := newClaim(a, old)
		if err != nil {
			problems = append(problems, badRoute(a, err))
			continue
		}
		if own[id] = nil; c == old {
			continue
		}
		if old != nil {
			d.remove(old)
		}
		d.add(c)
	}
	return problems
}

// route takes the new state of a route that belongs to no service.
func (b *builder) route(ch *routeChange) {
	id := ch.key()
	old := b.t.named.at(id)
	var next *claim
	var problems []discovery.Problem
	if !ch.gone {
		var err error
		if next, err = newClaim(ch.announced, old); err != nil {
			problems = []discovery.Problem{badRoute(ch.announced, err)}
		}
	}
	b.problem("route\x00"+id, problems)
	if next == old {
		return
	}
	if old != nil {
		b.draft(old.route.Service).remove(old)
		b.t.named = b.t.named.delete(id)
	}
	if next != nil {
		b.draft(next.route.Service).add(next)
		b.t.named = b.t.named.set(id, next)
	}
}

func badRoute(a announced, err error) discovery.Problem {
	return discovery.Problem{Source: a.source, Key: routeKeyText(a), Code: discovery.CodeBadRoute, Detail: err.Error()}
}

// routeKeyText names a route to people.
func routeKeyText(a announced) string {
	if a.owner != "" && a.rank != rankDefault {
		return "route " + a.route.Name + " of service " + a.owner
	}
	return "route " + a.route.Name
}

// finish puts a draft into the table, if it differs from what was there.
func (b *builder) finish(name string, d *draft) {
	routes := b.routes(name, d)
	b.pending(name, d)
	if d.service != d.old.service {
		b.t.touched = append(b.t.touched, name)
	} else if slices.Equal(d.claims, d.old.claims) && slices.Equal(routes, d.old.routes) {
		return
	}
	b.changed = true
	b.replace(d.old.routes, routes)
	next := entry{service: d.service, claims: d.claims, routes: routes}
	next.sum = next.hash(&b.buf)
	b.t.sum = b.t.sum.minus(d.old.sum).plus(next.sum)
	if d.service == nil && len(d.claims) == 0 {
		b.t.entries = b.t.entries.delete(name)
	} else {
		b.t.entries = b.t.entries.set(name, &next)
	}
}

// catchAll sets what answers where no route matches. It follows from the services and settings alone.
func (b *builder) catchAll() {
	name := b.t.settings.catchAll
	if name == "" {
		name = defaultService
	}
	target := b.t.Service(name)
	var problems []discovery.Problem
	if target == nil && name != defaultService {
		problems = []discovery.Problem{{Source: sourceCatchAll, Key: "service " + name, Code: discovery.CodeBadRoute,
			Detail: "the catch-all service is not known; nothing answers what no route matches until something announces it"}}
	}
	b.problem(sourceCatchAll, problems)
	if target == nil {
		b.t.catchAll = nil
	} else if old := b.t.catchAll; old == nil || old.Target != target {
		b.t.catchAll = newCatchAll(target, old)
	}
}
