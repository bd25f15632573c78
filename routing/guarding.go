package routing

import (
	"fmt"
	"slices"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/discovery"
)

// GuardEvent is told when a guard trips, and when what it held is held no longer.
type GuardEvent struct {
	Source string
	// Tripped reports which of the two it is.
	Tripped bool
	// Of is how many backends the source announced before, Lost how many of them have gone, Held how many of those serve
	// on; at the end they are 0.
	Of, Lost, Held int
	// Until is when the source is obeyed; zero if an operator is waited for.
	Until time.Time
}

// GuardStatus is what the guard of a source does.
type GuardStatus struct {
	// Held counts the backends that serve though the source announces them no more, in Services; 0 while nothing is held.
	Held, Services, Routes int
	// Since and Until are when the guard tripped and when the source is obeyed, zero where there is no such time.
	Since, Until time.Time
	// Of is how many backends the source announced before, Lost how many have gone.
	Of, Lost int
	// Incidents counts how often the guard tripped, Ended the backends that are held no longer, by [HeldReasons].
	Incidents uint64
	Ended     [heldReasons]uint64
}

func (g *guard) status() GuardStatus {
	st := GuardStatus{Incidents: g.incidents, Ended: g.ended}
	if h := g.held; h != nil {
		st.Held, st.Services, st.Routes = h.backends, len(h.services), len(h.routes)
		st.Since, st.Until, st.Of, st.Lost = h.since, h.until, h.base, h.lost
	}
	return st
}

// announcedLocked is what is in force of a source's service: what it announces, and what its guard holds.
func (s *source) announcedLocked(service string) (discovery.Service, []string, bool) {
	svc, held := s.guard.over(service, s.services[service])
	return svc, held, !svc.Empty()
}

// routeLocked is a route in force of a source's own.
func (s *source) routeLocked(name string) (discovery.Route, bool) {
	if r, ok := s.routes[name]; ok {
		return r, true
	}
	if s.guard.held == nil {
		return discovery.Route{}, false
	}
	r, ok := s.guard.held.routes[name]
	return r, ok
}

// guarded reports whether the source's removals are looked at.
func (c *Catalog) guarded(s *source) bool {
	return s.name != c.settings.Own && c.settings.Guard.Mode != GuardOff
}

// serving is a service without the backends that its registry finds unfit: to the guard these are gone, since a registry
// that is cut off from everything finds everything unfit.
func serving(s discovery.Service) discovery.Service {
	if slices.ContainsFunc(s.Backends, func(b discovery.Backend) bool { return b.Failing }) {
		s.Backends = slices.DeleteFunc(slices.Clone(s.Backends), func(b discovery.Backend) bool { return b.Failing })
	}
	return s
}

// guardService tells a source's guard of a change. The catalog's lock is held, here and below.
func (c *Catalog) guardService(s *source, old, next discovery.Service, now time.Time) {
	old, next = serving(old), serving(next)
	if !c.guarded(s) {
		s.guard.total += len(next.Backends) - len(old.Backends)
		return
	}
	s.guard.change(now, c.settings.Guard, old, next, c.dead)
	c.guardSettle(s)
	c.guardJudge(s, now, false)
}

// guardJudge has a source's guard decide whether what is gone is to be held.
func (c *Catalog) guardJudge(s *source, now time.Time, emptied bool) {
	if !c.guarded(s) || !s.guard.judge(now, c.settings.Guard, emptied, c.dead) {
		return
	}
	h := s.guard.held
	for name := range h.services {
		c.touchService(name, time.Time{})
	}
	for name := range h.routes {
		c.touchRoute(s.name, name, time.Time{})
	}
	c.guardEvents = append(c.guardEvents, GuardEvent{Source: s.name, Tripped: true, Of: h.base, Lost: h.lost, Held: h.backends, Until: h.until})
}

// guardTold returns the events that are to be told. Of what goes on they tell the state by now.
func (c *Catalog) guardTold() []GuardEvent {
	events := c.guardEvents
	c.guardEvents = nil
	for i := range events {
		e := &events[i]
		if s := c.sources[e.Source]; e.Tripped && s != nil && s.guard.held != nil {
			e.Lost, e.Held = s.guard.held.lost, s.guard.held.backends
		}
	}
	return events
}

// guardSettle ends an incident of which nothing is held any more.
func (c *Catalog) guardSettle(s *source) {
	tripped := s.guard.held != nil
	c.guardEnded(s, tripped, s.guard.settle())
}

// guardEnded notes the end of an incident, if there was one and it is no more.
func (c *Catalog) guardEnded(s *source, tripped bool, routes []string) {
	if !tripped || s.guard.held != nil {
		return
	}
	for _, name := range routes {
		c.touchRoute(s.name, name, time.Time{})
	}
	c.guardEvents = append(c.guardEvents, GuardEvent{Source: s.name})
	c.touch(time.Time{}) // to have it told, and what the source announces written down
}

// guardRelease has a source obeyed and returns how many backends were held.
func (c *Catalog) guardRelease(s *source, reason int) int {
	if s.guard.held == nil {
		return 0
	}
	n := s.guard.held.backends
	services, routes := s.guard.release(reason)
	for _, name := range services {
		c.touchService(name, time.Time{})
	}
	c.guardEnded(s, true, routes)
	return n
}

// guardExpire has those sources obeyed whose hold is over.
func (c *Catalog) guardExpire(now time.Time) {
	for _, s := range c.sources {
		if at, ok := s.guard.due(); ok && !now.Before(at) {
			c.guardRelease(s, heldExpired)
		}
	}
}

// guardDue is when the next hold is over.
func (c *Catalog) guardDue() (due time.Time, waiting bool) {
	for _, s := range c.sources {
		if at, ok := s.guard.due(); ok && (!waiting || at.Before(due)) {
			due, waiting = at, true
		}
	}
	return due, waiting
}

// dead reports whether probes say that a backend is down.
func (c *Catalog) dead(service, id string) bool {
	if s := c.Table().Service(service); s != nil {
		if b := s.Backend(id); b != nil {
			return b.State.Health() == backend.Down
		}
	}
	return false
}

// ReleaseGuard obeys a source whose removals are held, all sources if the name is empty, and returns how many backends
// were held. An unknown source is an error of the kind [ErrUnknown].
func (c *Catalog) ReleaseGuard(source string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if source != "" && c.sources[source] == nil {
		return 0, fmt.Errorf("source %q is %w", clip(source), ErrUnknown)
	}
	n := 0
	for name, s := range c.sources {
		if source == "" || source == name {
			n += c.guardRelease(s, heldReleased)
		}
	}
	return n, nil
}

// DropHeld ends the hold of a backend whose check failed. What is not held is left alone.
func (c *Catalog) DropHeld(key backend.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		if s.guard.fail(key.Service, key.ID, key.URL) {
			c.touchService(key.Service, time.Time{})
			c.guardSettle(s)
		}
	}
}

// Held is something in force that its source announces no more.
type Held struct {
	Source string `json:"source"`
	// Service and Backend, or Route, are what is held.
	Service string    `json:"service,omitempty"`
	Backend string    `json:"backend,omitempty"`
	URL     string    `json:"url,omitempty"`
	Route   string    `json:"route,omitempty"`
	Since   time.Time `json:"since"`
	// Until is when the source is obeyed; nil if an operator is waited for.
	Until *time.Time `json:"until,omitempty"`
}

// heldLocked lists what the guard of a source holds, in order of service, backend and route.
func (s *source) heldLocked() []Held {
	h := s.guard.held
	if h == nil {
		return nil
	}
	base := Held{Source: s.name, Since: h.since}
	if !h.until.IsZero() {
		base.Until = &h.until
	}
	var out []Held
	for _, name := range sortedKeys(h.services) {
		for _, b := range h.services[name].backends {
			one := base
			one.Service, one.Backend, one.URL = name, b.ID, b.URL
			out = append(out, one)
		}
	}
	for _, name := range sortedKeys(h.routes) {
		one := base
		one.Route, one.Service = name, h.routes[name].Service
		out = append(out, one)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
