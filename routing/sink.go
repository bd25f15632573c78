package routing

import (
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// source is what one source announces now. All of it is guarded by the catalog's lock.
type source struct {
	name     string
	services map[string]discovery.Service // none empty; changed by set and drop
	routes   map[string]discovery.Route
	problems map[string]discovery.Problem // by key

	// backends and owned count those of services, and their routes; stale names the services that have stale parts.
	backends, owned int
	stale           map[string]struct{}

	// named is what was named since Resync, nil outside of a full listing.
	named *listing

	guard guard

	// restored says that what is known is of before the process began, and the source has not been in step since.
	restored          bool
	up                bool
	err               error
	synced            time.Time
	resyncs, rejected map[string]uint64
}

// listing holds names of what a full listing has come by.
type listing struct {
	services, routes, problems map[string]struct{}
	// incomplete says why what is not named stays; without a reason it goes.
	incomplete discovery.Stale
}

func newSource(name string) *source {
	return &source{
		name: name, services: map[string]discovery.Service{}, routes: map[string]discovery.Route{},
		problems: map[string]discovery.Problem{}, stale: map[string]struct{}{}, resyncs: map[string]uint64{}, rejected: map[string]uint64{},
	}
}

// set replaces what is announced of a service, drop withdraws it.
func (s *source) set(svc discovery.Service) {
	s.count(svc)
	s.services[svc.Name] = svc
}

func (s *source) drop(service string) {
	s.count(discovery.Service{Name: service})
	delete(s.services, service)
}

// count has the numbers follow a service that is about to be replaced.
func (s *source) count(next discovery.Service) {
	old := s.services[next.Name]
	s.backends += len(next.Backends) - len(old.Backends)
	s.owned += len(next.Routes) - len(old.Routes)
	if len(next.Stale) > 0 {
		s.stale[next.Name] = struct{}{}
	} else if len(old.Stale) > 0 {
		delete(s.stale, next.Name)
	}
}

// maxKept bounds the rejections that are kept of one source. Those beyond are counted only.
const maxKept = 10 * MaxProblems

// Sink is where the source of that name announces. An unknown name's announcements are dropped until [Catalog.Configure]
// names it.
func (c *Catalog) Sink(source string) discovery.Sink { return &sink{c, source} }

type sink struct {
	c    *Catalog
	name string
}

var _ discovery.Sink = (*sink)(nil)

// with calls f under the catalog's lock, if the source is one of those configured.
func (k *sink) with(f func(s *source, now time.Time)) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if s := k.c.sources[k.name]; s != nil {
		f(s, time.Now())
	}
}

func (k *sink) Resync(reason string) {
	k.with(func(s *source, _ time.Time) {
		s.named = &listing{services: map[string]struct{}{}, routes: map[string]struct{}{}, problems: map[string]struct{}{}}
		s.resyncs[reason]++
	})
}

func (k *sink) Incomplete(reason, detail string) {
	k.with(func(s *source, _ time.Time) {
		if s.named != nil {
			s.named.incomplete = discovery.Stale{Reason: reason, Detail: detail}
		}
	})
}

func (k *sink) Service(svc discovery.Service) {
	k.with(func(s *source, now time.Time) {
		if err := discovery.CheckName(svc.Name); err != nil {
			s.reject(discovery.Problem{Key: "service " + clip(svc.Name), Code: discovery.CodeBadName, Detail: err.Error()})
			return
		}
		if s.named != nil {
			s.named.services[svc.Name] = struct{}{}
		}
		old, had := s.services[svc.Name]
		svc := svc.Keep(old)
		seen := svc.Seen
		if seen.IsZero() || seen.After(now) {
			seen = now
		}
		switch {
		case svc.Empty() && !had, had && old.Equal(svc):
			return
		case svc.Empty():
			s.drop(svc.Name)
		default:
			s.set(svc)
		}
		k.c.guardService(s, old, svc, now)
		k.c.touchService(svc.Name, seen)
	})
}

func (k *sink) Route(r discovery.Route) {
	k.with(func(s *source, now time.Time) {
		if s.named != nil {
			s.named.routes[r.Name] = struct{}{}
		}
		old, had := s.routes[r.Name]
		if r := r.Keep(old); r.Service != "" && (!had || !old.Equal(r)) {
			s.routes[r.Name] = r
			s.guard.setRoute(r.Name)
			k.c.touchRoute(s.name, r.Name, now)
		}
	})
}

func (k *sink) RemoveRoute(name string) {
	k.with(func(s *source, now time.Time) { k.c.dropRoute(s, name, now) })
}

func (k *sink) Reject(p discovery.Problem) {
	k.with(func(s *source, _ time.Time) { s.reject(p) })
}

func (s *source) reject(p discovery.Problem) {
	p.Source = s.name
	if s.named != nil {
		s.named.problems[p.Key] = struct{}{}
	}
	old, had := s.problems[p.Key]
	if had && old == p {
		return // said again, by a resync perhaps
	}
	s.rejected[p.Code]++
	if had || len(s.problems) < maxKept {
		s.problems[p.Key] = p
	}
}

func (k *sink) Accept(key string) {
	k.with(func(s *source, _ time.Time) { delete(s.problems, key) })
}

func (k *sink) Synced() {
	k.with(func(s *source, now time.Time) {
		if s.named != nil {
			k.c.prune(s, now)
		}
		s.up, s.err, s.synced, s.restored = true, nil, now, false
		if !k.c.standing {
			k.c.touch(time.Time{}).synced = true
		}
	})
}

func (k *sink) Failed(err error) {
	k.with(func(s *source, _ time.Time) { s.up, s.err = false, err })
}

// prune ends a source's full listing: what it did not name is gone, or stale if the listing was incomplete.
func (c *Catalog) prune(s *source, now time.Time) {
	stale := s.named.incomplete
	for name, svc := range s.services {
		if _, ok := s.named.services[name]; ok {
			continue
		}
		if stale.Reason != "" {
			svc.Stale = []discovery.Stale{{Part: discovery.StaleService, Reason: stale.Reason, Detail: stale.Detail}}
			s.set(svc)
			continue
		}
		s.drop(name)
		c.guardService(s, svc, discovery.Service{}, now)
		c.touchService(name, now)
	}
	for name, r := range s.routes {
		if _, ok := s.named.routes[name]; ok {
			continue
		}
		if stale.Reason != "" {
			r.Stale = stale
			s.routes[name] = r
			continue
		}
		c.dropRoute(s, name, now)
	}
	for key := range s.problems {
		if _, ok := s.named.problems[key]; !ok {
			delete(s.problems, key)
		}
	}
	s.named = nil
	c.guardJudge(s, now, s.guard.total == 0)
}

func (c *Catalog) dropRoute(s *source, name string, now time.Time) {
	if r, had := s.routes[name]; had {
		delete(s.routes, name)
		if c.guarded(s) {
			s.guard.removeRoute(now, c.settings.Guard, r)
		}
		c.touchRoute(s.name, name, now)
	}
}
