package proxy

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/internal/steady"
	"github.com/vietddude/load-balancer/routing"
)

// choose finds a backend for the next attempt and has its breaker admit it. It returns nil if none is ready and admits.
//
// The first attempt goes to the session's backend, as long as that is healthy: a drain or a weight of zero keeps new
// sessions away, not this one. All else is chosen from the ready set: by the algorithm, then, if its choice was tried
// already, is full or does not admit, whichever was not tried and does, then any that admits, then the queue of a full
// one.
func (x *exchange) choose(now time.Time) (*routing.Backend, breaker.Permit) {
	set := x.svc.Runtime.Ready()
	x.load = nil
	if set.Bounded() {
		x.load = &x.svc.Runtime.Load
	}
	if len(x.tried) == 0 {
		if b := x.bound(set, now); b != nil && !b.State.Limited() {
			if permit, ok := b.State.Breaker.Allow(now); ok {
				return b, permit
			}
		}
	}
	b, permit, some := x.pick(set, now)
	if b != nil || !some {
		return b, permit
	}
	for _, again := range [...]bool{false, true} {
		if again && len(x.tried) == 0 {
			break
		}
		if b, permit := x.anyOf(set, again, now); b != nil {
			return b, permit
		}
	}
	if b := x.leastFull(set); b != nil {
		if permit, ok := b.State.Breaker.Allow(now); ok {
			return b, permit
		}
	}
	return nil, 0
}

// pick has the algorithm choose, up to three times, until it comes upon a backend that was not tried, has room, and
// admits. It reports whether there is any to choose from.
func (x *exchange) pick(set *routing.ReadySet, now time.Time) (_ *routing.Backend, _ breaker.Permit, some bool) {
	n := len(set.Backends)
	q := balance.Query{Key: x.key, Now: steady.Millis(now), Skip: x.attempts}
	for range min(n, 3) {
		b := set.Pick(q)
		q.Skip++
		if b == nil {
			return nil, 0, false
		}
		if x.wasTried(b.State) || x.full(b.State) {
			continue
		}
		if permit, ok := b.State.Breaker.Allow(now); ok {
			return b, permit, true
		}
	}
	return nil, 0, n > 0
}

// anyOf finds a backend that has room and admits, of those that were tried or of those that were not, wherever chance has
// it begin.
func (x *exchange) anyOf(set *routing.ReadySet, tried bool, now time.Time) (*routing.Backend, breaker.Permit) {
	n := len(set.Backends)
	for i, off := 0, rand.IntN(n); i < n; i++ {
		b := set.Backends[(off+i)%n]
		if x.wasTried(b.State) != tried || x.full(b.State) {
			continue
		}
		if permit, ok := b.State.Breaker.Allow(now); ok {
			return b, permit
		}
	}
	return nil, 0
}

// leastFull is the backend to queue at once all are full: the one with the fewest attempts for its weight. It is nil for
// an exchange that has queued already.
func (x *exchange) leastFull(set *routing.ReadySet) (least *routing.Backend) {
	if x.svc.Policy.Connections.MaxConns <= 0 || x.crowded {
		return nil
	}
	load := func(b *routing.Backend) float64 { return float64(b.State.InFlight()) / float64(max(b.Weight, 1)) }
	for _, b := range set.Backends {
		if !x.wasTried(b.State) && !b.State.Limited() && (least == nil || load(b) < load(least)) {
			least = b
		}
	}
	return least
}

// bound is the backend that the client belongs to, nil if it has none that can take it.
func (x *exchange) bound(set *routing.ReadySet, now time.Time) *routing.Backend {
	s := x.kept.sessions.Load()
	if s == nil {
		return nil
	}
	o := &x.svc.Policy.Affinity
	x.visitor = affinity.Client{Addr: x.client.addr, Secure: x.client.secure}
	switch o.Type {
	case affinity.Cookie:
		x.visitor.Cookies = cookieName.in(x.req.Header)
	case affinity.Header:
		x.visitor.Header, _ = firstOf(x.req.Header, o.HeaderName)
	}
	s.Find(&x.visitor, now, &x.found)
	x.visitor.Header = "" // it need not last
	x.sessions = s
	if h, ok := s.Hash(&x.found); ok {
		return x.kept.pickByHash(set, h)
	}
	if o.Return {
		if b := x.takes(x.found.Home, now); b != nil {
			return b
		}
	}
	return x.takes(x.found.Backend, now)
}

// takes is the backend of that ID if a client that belongs to it can go there, else nil.
func (x *exchange) takes(id string, now time.Time) *routing.Backend {
	if id == "" {
		return nil
	}
	b := x.svc.Backend(id)
	if b == nil || b.Disabled || !b.State.Serves() || b.State.Avoided(now) || b.State.Breaker.State(now) == breaker.Open {
		return nil
	}
	return b
}

// keep binds the client to the backend that answers it, and reports whether a session began. A backend in drain gets no
// further hold on its clients: their sessions end when their time has passed.
func (x *exchange) keep(b *routing.Backend, h fields, now time.Time) (began bool) {
	if x.sessions == nil || b.Weight == 0 || b.State.Draining() {
		return false
	}
	cookie, began := x.sessions.Keep(&x.visitor, &x.found, b.ID, now)
	if cookie != "" {
		h.Add("Set-Cookie", cookie)
	}
	return began
}

// overloaded reports whether a backend was passed over for having as much as it can take.
func (x *exchange) overloaded() bool {
	if !x.svc.Policy.Limit.Enabled() {
		return false
	}
	return slices.ContainsFunc(x.svc.Runtime.Ready().Backends, func(b *routing.Backend) bool { return b.State.Limited() })
}

func (x *exchange) wasTried(s *backend.State) bool { return slices.Contains(x.tried, s) }

// untried reports whether a ready backend was not tried yet.
func (x *exchange) untried() bool {
	for _, b := range x.svc.Runtime.Ready().Backends {
		if !x.wasTried(b.State) {
			return true
		}
	}
	return false
}
