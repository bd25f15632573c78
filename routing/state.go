package routing

import (
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// State is what a catalog knows and would lose with the process: the last known good of what sources announce, what an
// operator steers, and which services were known. It is a value; nobody changes one that was handed over.
type State struct {
	// Sources are those of stores, in order of precedence.
	Sources []SourceState
	// Overrides are what an operator steers, in order of service and ID.
	Overrides []OverriddenBackend
	// Past are the services that nothing announces any more and that are not forgotten yet, in order of name.
	Past []PastService
}

// SourceState is what is in force of a source: what it announces and what its guard holds.
type SourceState struct {
	Name string
	// Synced is when the source was last in step; zero if never.
	Synced time.Time
	// Services and Routes are in order of name.
	Services []discovery.Service
	Routes   []discovery.Route
}

// PastService is a service that nothing announces any more.
type PastService struct {
	Name string
	// Since is when the last announcement went.
	Since time.Time
	// Policies are the texts that were announced last, the strongest first, Routes what led to the service.
	Policies []PolicyText
	Routes   []PastRoute
}

// PastRoute is a route that a source announced.
type PastRoute struct {
	Source string
	Route  discovery.Route
}

// Revision is a number that grows whenever what [Catalog.State] returns may have changed.
func (c *Catalog) Revision() uint64 { return c.revision.Load() }

// State reads what is to be kept. It may be called at any time.
func (c *Catalog) State() State {
	c.mu.Lock()
	var st State
	for _, name := range c.settings.Sources {
		if name != c.settings.Own {
			st.Sources = append(st.Sources, c.sources[name].stateLocked())
		}
	}
	st.Overrides = c.overridesLocked()
	for _, p := range c.past {
		st.Past = append(st.Past, p)
	}
	c.mu.Unlock()

	slices.SortFunc(st.Past, func(a, b PastService) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range st.Sources {
		slices.SortFunc(s.Services, compareServices)
		slices.SortFunc(s.Routes, func(a, b discovery.Route) int { return strings.Compare(a.Name, b.Name) })
	}
	return st
}

func compareServices(a, b discovery.Service) int { return strings.Compare(a.Name, b.Name) }

func (s *source) stateLocked() SourceState {
	st := SourceState{Name: s.name, Synced: s.synced, Services: make([]discovery.Service, 0, len(s.services))}
	for name := range s.services {
		svc, _, _ := s.announcedLocked(name)
		st.Services = append(st.Services, svc)
	}
	for _, r := range s.routes {
		st.Routes = append(st.Routes, r)
	}
	if h := s.guard.held; h != nil {
		for name := range h.services {
			if _, listed := s.services[name]; !listed {
				svc, _, _ := s.announcedLocked(name)
				st.Services = append(st.Services, svc)
			}
		}
		for name, r := range h.routes {
			if _, listed := s.routes[name]; !listed {
				st.Routes = append(st.Routes, r)
			}
		}
	}
	return st
}

// Restore takes up what an earlier catalog knew, before [Catalog.Run]. Each source's part is in force, as one of a source
// that is out of step, until that source is in step itself; what it does not name then is gone. Sources that are not
// configured are passed over.
func (c *Catalog) Restore(st State) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range st.Sources {
		from.Synced = steadied(from.Synced, now)
		if s := c.sources[from.Name]; s != nil && from.Name != c.settings.Own {
			c.restoreSource(s, from)
		}
	}
	for _, o := range st.Overrides {
		c.setOverrideLocked(o.Service, o.ID, o.Override)
	}
	for _, p := range st.Past {
		p.Since = steadied(p.Since, now)
		c.restorePast(p)
	}
	slices.SortStableFunc(c.memory.vanished, func(a, b vanished) int { return a.at.Compare(b.at) })
}

// steadied is a time of another process as it lies before now, and no later, by a clock that is not set from here on. The
// zero time stays.
func steadied(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(-max(now.Sub(t), 0))
}

// restoreSource is Restore for one source. The lock is held.
func (c *Catalog) restoreSource(s *source, from SourceState) {
	if from.Synced.IsZero() && len(from.Services)+len(from.Routes) == 0 {
		return
	}
	s.synced, s.restored = from.Synced, true
	for _, svc := range from.Services {
		s.guard.total += len(serving(svc).Backends) - len(serving(s.services[svc.Name]).Backends)
		s.set(svc)
		c.touchService(svc.Name, time.Time{})
	}
	for _, r := range from.Routes {
		s.routes[r.Name] = r
		c.touchRoute(s.name, r.Name, time.Time{})
	}
	c.touch(time.Time{}).synced = true
}

// restorePast has a service remembered. The lock is held, and Run has not begun.
func (c *Catalog) restorePast(p PastService) {
	r := &remembered{texts: p.Policies, vanished: p.Since}
	for _, pr := range p.Routes {
		r.routes = append(r.routes, announced{route: pr.Route, source: pr.Source, owner: p.Name, rank: rankPast})
	}
	c.memory.services[p.Name] = r
	c.memory.vanished = append(c.memory.vanished, vanished{p.Name, p.Since})
	c.past[p.Name] = p
	c.touchService(p.Name, time.Time{})
}

// pastOf is a service of the memory as it is to be kept.
func pastOf(name string, r *remembered) PastService {
	p := PastService{Name: name, Since: r.vanished, Policies: r.texts}
	for _, a := range r.routes {
		p.Routes = append(p.Routes, PastRoute{Source: a.source, Route: a.route})
	}
	return p
}
