package routing

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// GuardMode says what the guard does with what it holds back.
type GuardMode string

// The modes of the guard.
const (
	// GuardHold holds removals for Guard.Hold and then obeys the source.
	GuardHold GuardMode = "hold"
	// GuardStrict holds them until an operator says otherwise.
	GuardStrict GuardMode = "strict"
	// GuardOff obeys at once.
	GuardOff GuardMode = "off"
)

// Guard says when a source is not believed that most of what it announced is gone: when within Window more than the
// share MaxRemoval of at least MinBackends backends disappears, of more than one service, or by a listing that comes
// back empty. One service that is scaled to zero is believed, and so is a deployment that brings as many backends as it
// takes away. The zero value of each field is its default.
type Guard struct {
	Mode        GuardMode     // hold
	Window      time.Duration // 10 s
	Hold        time.Duration // 60 s
	MaxRemoval  float64       // 0.5
	MinBackends int           // 10
}

func (o Guard) withDefaults() Guard {
	o.Mode = cmp.Or(o.Mode, GuardHold)
	o.Window = cmp.Or(o.Window, 10*time.Second)
	o.Hold = cmp.Or(o.Hold, time.Minute)
	o.MaxRemoval = cmp.Or(o.MaxRemoval, 0.5)
	o.MinBackends = cmp.Or(o.MinBackends, 10)
	return o
}

// guard watches what one source takes away. It is a function of its calls and the times given: no clock, no locks.
//
// It compares what a service has with the most that it had within the window. The sum of these losses over all services,
// beside what the source would announce without them, is what trips it. With max_removal 0.5 and the services a, b and c
// of 10 backends each:
//
//	second 0: b 10 → 0     loss 10 of 30, one service
//	second 2: a 10 → 12    loss 10 of 32
//	second 4: c 10 → 3     loss 17 of 32: held are b's ten and c's seven
//	second 5: a 12 → 11    held as well, as everything is that goes while something is held
//	second 6: c  3 → 5     two of those held are back
type guard struct {
	total int // backends announced now
	// shrunk are the services that have less than within the window, or had a moment ago.
	shrunk map[string]*shrunk
	// loss sums peak - now of these, losing counts those that have any.
	loss, losing int
	// events are the shrinkings in order of time, for them to leave the window.
	events []shrinking
	// routes are those withdrawn within the window.
	routes []lostRoute
	// held is what is held back; nil while nothing is.
	held *incident
	// incidents counts those there were.
	incidents uint64
	// ended counts backends that are no longer held, by the reason.
	ended [heldReasons]uint64
}

// Why a backend is no longer held.
const (
	heldReturned = iota // the source announces it again
	heldFailed          // its check failed
	heldReleased        // an operator said so
	heldExpired         // the hold is over
	heldReasons
)

// HeldReasons are the words for the counters of [GuardStatus].Ended, in their order.
var HeldReasons = [heldReasons]string{"returned", "failed", "released", "expired"}

type shrinking struct {
	at   time.Time
	name string
}

// shrunk is a service that lost backends within the window.
type shrunk struct {
	now int
	// peaks are the greatest numbers of backends before now, descending, each with the time to which it held.
	peaks []peak
	// lost are the backends that went and have not come back, in order of time.
	lost []lostBackend
	// before is the latest announcement that had any backends, for policy and routes.
	before discovery.Service
}

type peak struct {
	until time.Time
	n     int
}

type lostBackend struct {
	at time.Time
	discovery.Backend
}

type lostRoute struct {
	at time.Time
	discovery.Route
}

// incident is what is held back since the guard tripped.
type incident struct {
	since time.Time
	until time.Time // zero for one that waits for an operator
	// base is what the source announced before, lost how much of it has gone.
	base, lost int
	services   map[string]*heldService
	backends   int // in all services
	routes     map[string]discovery.Route
}

// heldService is what is held of a service.
type heldService struct {
	before   discovery.Service
	backends []discovery.Backend // in order of ID
}

// loss is how much less the service has than at its peak.
func (s *shrunk) loss() int {
	if len(s.peaks) == 0 {
		return 0
	}
	return max(s.peaks[0].n-s.now, 0)
}

// change notes that a service is announced otherwise. While something is held, what goes is held too, unless dead says
// that it does not answer anyway; what comes is held no longer, and [guard.settle] is to be called.
func (g *guard) change(now time.Time, o Guard, old, next discovery.Service, dead func(service, id string) bool) {
	name := cmp.Or(next.Name, old.Name)
	g.total += len(next.Backends) - len(old.Backends)
	g.expire(now.Add(-o.Window))
	came := added(old.Backends, next.Backends)
	if g.held != nil {
		g.back(name, came)
		gone := missing(old.Backends, next.Backends)
		g.held.lost += len(gone)
		for _, b := range gone {
			g.hold(name, b, old, dead)
		}
		return
	}
	s := g.shrunk[name]
	if s == nil {
		if len(next.Backends) >= len(old.Backends) {
			return
		}
		if g.shrunk == nil {
			g.shrunk = map[string]*shrunk{}
		}
		s = &shrunk{now: len(old.Backends)}
		g.shrunk[name] = s
	}
	g.count(s, -1)
	if len(came) > 0 {
		s.lost = slices.DeleteFunc(s.lost, func(l lostBackend) bool { return has(came, l.Backend) })
	}
	if len(next.Backends) < len(old.Backends) {
		s.push(now, len(old.Backends))
		g.events = append(g.events, shrinking{now, name})
	}
	for _, b := range missing(old.Backends, next.Backends) {
		s.lost = append(s.lost, lostBackend{now, b})
	}
	if len(old.Backends) > 0 {
		s.before = old
	}
	s.now = len(next.Backends)
	g.count(s, +1)
}

// count adds a service's part to the sums, or takes it out.
func (g *guard) count(s *shrunk, sign int) {
	loss := s.loss()
	g.loss += sign * loss
	if loss > 0 {
		g.losing += sign
	}
}

// push notes that there were n backends until now.
func (s *shrunk) push(now time.Time, n int) {
	for len(s.peaks) > 0 && s.peaks[len(s.peaks)-1].n <= n {
		s.peaks = s.peaks[:len(s.peaks)-1]
	}
	s.peaks = append(s.peaks, peak{now, n})
}

// removeRoute notes that a route of the source's own is withdrawn.
func (g *guard) removeRoute(now time.Time, o Guard, r discovery.Route) {
	g.expire(now.Add(-o.Window))
	if g.held != nil {
		g.held.routes[r.Name] = r
		return
	}
	g.routes = append(g.routes, lostRoute{now, r})
}

// setRoute notes that a route is announced.
func (g *guard) setRoute(name string) {
	if g.held != nil {
		delete(g.held.routes, name)
	}
	g.routes = slices.DeleteFunc(g.routes, func(r lostRoute) bool { return r.Name == name })
}

// expire forgets what was before the window.
func (g *guard) expire(start time.Time) {
	for len(g.events) > 0 && g.events[0].at.Before(start) {
		name := g.events[0].name
		g.events = g.events[1:]
		s := g.shrunk[name]
		if s == nil {
			continue
		}
		g.count(s, -1)
		for len(s.peaks) > 0 && s.peaks[0].until.Before(start) {
			s.peaks = s.peaks[1:]
		}
		for len(s.lost) > 0 && s.lost[0].at.Before(start) {
			s.lost = s.lost[1:]
		}
		g.count(s, +1)
		if len(s.peaks) == 0 {
			delete(g.shrunk, name)
		}
	}
	for len(g.routes) > 0 && g.routes[0].at.Before(start) {
		g.routes = g.routes[1:]
	}
}

// judge trips the guard if what is gone is too much to be believed, and reports whether it did. Emptied says that a
// listing has come back without any backend.
func (g *guard) judge(now time.Time, o Guard, emptied bool, dead func(service, id string) bool) bool {
	base := g.total + g.loss
	switch {
	case g.held != nil, base < o.MinBackends, float64(g.loss) <= o.MaxRemoval*float64(base):
		return false
	case g.losing < 2 && (!emptied || g.total > 0):
		return false
	}
	g.held = &incident{since: now, base: base, lost: g.loss, services: map[string]*heldService{}, routes: map[string]discovery.Route{}}
	if o.Mode != GuardStrict {
		g.held.until = now.Add(o.Hold)
	}
	for name, s := range g.shrunk {
		// As many as are missing, the latest: those before were replaced by others.
		for _, l := range s.lost[len(s.lost)-min(s.loss(), len(s.lost)):] {
			g.hold(name, l.Backend, s.before, dead)
		}
	}
	for _, r := range g.routes {
		g.held.routes[r.Name] = r.Route
	}
	g.forget()
	if g.held.backends == 0 {
		g.held = nil // all were dead already
		return false
	}
	g.incidents++
	return true
}

// hold holds one backend.
func (g *guard) hold(name string, b discovery.Backend, before discovery.Service, dead func(service, id string) bool) {
	if dead(name, b.ID) {
		return
	}
	h := g.held.services[name]
	if h == nil {
		h = &heldService{before: before}
		g.held.services[name] = h
	}
	i, found := slices.BinarySearchFunc(h.backends, b.ID, compareID)
	if found {
		h.backends[i] = b
		return
	}
	h.backends = slices.Insert(h.backends, i, b)
	g.held.backends++
}

// back ends the hold of what is announced again, by ID or address.
func (g *guard) back(name string, came []discovery.Backend) {
	if len(came) > 0 {
		g.unhold(name, heldReturned, func(b discovery.Backend) bool { return has(came, b) })
	}
}

// unhold ends the hold of those of a service's backends that are named, and reports whether there were any.
func (g *guard) unhold(name string, reason int, which func(discovery.Backend) bool) bool {
	if g.held == nil || g.held.services[name] == nil {
		return false
	}
	h := g.held.services[name]
	had := len(h.backends)
	left := slices.DeleteFunc(h.backends, which)
	n := had - len(left)
	g.held.backends -= n
	g.ended[reason] += uint64(n)
	if h.backends = left; len(left) == 0 {
		delete(g.held.services, name)
	}
	return n > 0
}

// fail ends the hold of a backend whose check failed, and reports whether it was held. What else ends with it is
// returned by [guard.settle].
func (g *guard) fail(name, id, url string) bool {
	return g.unhold(name, heldFailed, func(b discovery.Backend) bool { return b.ID == id && b.URL == url })
}

// settle ends the incident if no backend is held any more, and returns the routes that were.
func (g *guard) settle() []string {
	if g.held == nil || g.held.backends > 0 {
		return nil
	}
	routes := slices.Collect(maps.Keys(g.held.routes))
	g.held = nil
	return routes
}

// release ends an incident and returns the services and routes that were held.
func (g *guard) release(reason int) (services, routes []string) {
	if g.held == nil {
		return nil, nil
	}
	for name := range g.held.services {
		services = append(services, name)
	}
	g.ended[reason] += uint64(g.held.backends)
	g.held.backends = 0
	return services, g.settle()
}

// forget forgets what went within the window, for a guard that looks at nothing meanwhile.
func (g *guard) forget() { g.shrunk, g.loss, g.losing, g.events, g.routes = nil, 0, 0, nil, nil }

// due is when the incident ends by itself.
func (g *guard) due() (time.Time, bool) {
	if g.held == nil || g.held.until.IsZero() {
		return time.Time{}, false
	}
	return g.held.until, true
}

// over returns what is announced of a service with what is held of it, and the IDs of those, in ascending order. While a
// service that is announced no more has backends held, its policy and routes stay as well.
func (g *guard) over(name string, announced discovery.Service) (discovery.Service, []string) {
	if g.held == nil || g.held.services[name] == nil {
		return announced, nil
	}
	h := g.held.services[name]
	out := announced
	if announced.Empty() {
		out = h.before
	}
	out.Name = name
	out.Backends = make([]discovery.Backend, 0, len(announced.Backends)+len(h.backends))
	for _, b := range announced.Backends {
		if _, held := slices.BinarySearchFunc(h.backends, b.ID, compareID); !held { // one that fails may be
			out.Backends = append(out.Backends, b)
		}
	}
	out.Backends = append(out.Backends, h.backends...)
	slices.SortFunc(out.Backends, func(a, b discovery.Backend) int { return strings.Compare(a.ID, b.ID) })
	ids := make([]string, len(h.backends))
	for i, b := range h.backends {
		ids[i] = b.ID
	}
	return out, ids
}

// missing are the backends of old whose ID and address next has not. Both are in order of ID.
func missing(old, next []discovery.Backend) []discovery.Backend {
	var out []discovery.Backend
	rest := next
	for _, b := range old {
		for len(rest) > 0 && rest[0].ID < b.ID {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0].ID != b.ID {
			out = append(out, b)
		}
	}
	if len(out) == 0 || len(next) == 0 {
		return out
	}
	urls := make(map[string]bool, len(next))
	for i := range next {
		urls[next[i].URL] = true
	}
	return slices.DeleteFunc(out, func(b discovery.Backend) bool { return urls[b.URL] })
}

// added are the backends of next that old has not under the same ID and address. Both are in order of ID. What was lost or
// is held is no part of old, so that only these can be it.
func added(old, next []discovery.Backend) []discovery.Backend {
	var out []discovery.Backend
	for _, b := range next {
		for len(old) > 0 && old[0].ID < b.ID {
			old = old[1:]
		}
		if len(old) == 0 || old[0].ID != b.ID || old[0].URL != b.URL {
			out = append(out, b)
		}
	}
	return out
}

// has reports whether backends, in order of ID, have one with that ID or address.
func has(bs []discovery.Backend, b discovery.Backend) bool {
	if _, found := slices.BinarySearchFunc(bs, b.ID, compareID); found {
		return true
	}
	return slices.ContainsFunc(bs, func(o discovery.Backend) bool { return o.URL == b.URL })
}
