package proxy

import (
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/internal/steady"
	"github.com/vietddude/load-balancer/routing"
)

// hedged is what became of an exchange's hedge, the second attempt that is made while the first keeps it waiting.
type hedged uint8

const (
	hedgeNone hedged = iota
	hedgeWon         // its response was taken
	hedgeLost        // that of the first attempt was
	hedgeNeither
)

// hedgeWords are for the access log.
var hedgeWords = [...]string{hedgeNone: "", hedgeWon: "won", hedgeLost: "lost", hedgeNeither: "neither"}

// hedgeCounts are for the service's counters.
var hedgeCounts = [...]backend.HedgeOutcome{hedgeWon: backend.HedgeWon, hedgeLost: backend.HedgeLost, hedgeNeither: backend.HedgeNeither}

// prepareHedge has the attempt that is about to be made ask for a hedge in time, if the exchange may have one: for a
// request that is safe to make twice and has no body, of a client that does not belong to a backend, once, and if there is
// another backend.
func (x *exchange) prepareHedge(upgrade string) {
	x.pace = nil
	if !x.req.Bodiless || x.req.Method != "GET" && x.req.Method != "HEAD" || upgrade != "" {
		return
	}
	if x.pace = x.kept.pace.Load(); x.pace == nil || x.hedges > 0 || x.belongs() || len(x.svc.Runtime.Ready().Backends) < 2 {
		return
	}
	a := &x.at
	a.hedgeAt, a.hedger = a.begun.Add(x.pace.delay(&a.policy.Hedge)), x
}

// belongs reports whether the client has a session: an answer from anywhere but its backend would be one of another
// session.
func (x *exchange) belongs() bool {
	if x.sessions == nil {
		return false
	}
	_, hashed := x.sessions.Hash(&x.found)
	return hashed || x.found.Backend != "" || x.found.Home != ""
}

func (x *exchange) hedge() *attempt {
	now := time.Now()
	b, permit := x.elsewhere(now)
	if b == nil {
		x.svc.Runtime.Stats.AddHedge(backend.HedgeNoBackend)
		return nil
	}
	s, policy := b.State, x.at.policy
	seats := policy.Connections.MaxConns
	if seats > 0 {
		if _, taken := s.Seats.Take(seats, 0); !taken {
			s.Breaker.Done(permit, now, breaker.Ignored)
			x.svc.Runtime.Stats.AddHedge(backend.HedgeNoBackend)
			return nil
		}
	}
	if share := policy.Retry.Budget; share > 0 && !x.kept.budget.retry(now, share) {
		if seats > 0 {
			s.Seats.Leave(seats)
		}
		s.Breaker.Done(permit, now, breaker.Ignored)
		x.svc.Runtime.Stats.AddHedge(backend.HedgeOverBudget)
		return nil
	}
	a := &x.rival
	a.policy, a.target, a.deadline = policy, x.at.target, x.at.deadline
	x.enter(a, b, permit, x.load, now)
	a.seated = seats > 0
	x.attempts++
	x.hedges++
	return a
}

func (x *exchange) settles(status int) bool {
	return status != 101 && status < 500 && !x.at.policy.Retry.Statuses.Has(status)
}

// final reports whether an attempt ended the exchange, so that another one is of no use.
func (a *attempt) final() bool { return a.kind != fine && a.kind != beaten && !kinds[a.kind].again }

// decide is told of two attempts that are over and says which the exchange goes on with. It reports whether it takes the
// response of the second.
func decide(first, second *attempt) bool {
	switch answered := second.kind == fine; {
	case first.final():
		if first.kind == clientGone && (answered || second.kind == beaten) {
			second.kind = clientGone
		} else if answered {
			second.kind = beaten
		}
	case first.kind != fine:
		second.taken = answered || second.final()
	case !answered:
	case !first.hedger.settles(first.status) && first.hedger.settles(second.status):
		first.kind, second.taken = unwanted, true
	case first.hedger.settles(second.status):
		second.kind = beaten
	default:
		second.kind = unwanted
	}
	if !second.taken && second.kind == exchangeTimeout {
		second.kind = beaten // it had less time than others
	}
	return second.taken && second.kind == fine
}

// elsewhere finds a backend that was not tried, has room, and admits.
func (x *exchange) elsewhere(now time.Time) (*routing.Backend, breaker.Permit) {
	set := x.svc.Runtime.Ready()
	if b, permit, some := x.pick(set, now); b != nil || !some {
		return b, permit
	}
	return x.anyOf(set, false, now)
}

// settleHedge has the pace know how long the first attempt took, ends the attempt that does not count, if there were two,
// and leaves the other one in x.at.
func (x *exchange) settleHedge(now time.Time) {
	first, second := &x.at, &x.rival
	switch k := first.kind; {
	case k == fine && first.status < 500, k == beaten, k == headTimeout: // given up, it took longer than that, which is enough to know
		x.pace.observe(now, now.Sub(first.begun), &first.policy.Hedge)
	}
	if second.backend == nil {
		return
	}
	x.hedged = hedgeNeither
	if second.taken {
		*first, *second = *second, *first
	}
	if first.kind == fine {
		if x.hedged = hedgeLost; first.taken {
			x.hedged = hedgeWon
		}
	}
	x.svc.Runtime.Stats.AddHedge(hedgeCounts[x.hedged])
	if second.over.IsZero() {
		second.over = now
	}
	if second.kind == beaten {
		second.backend.State.Latency.Failed(steady.Millis(now), now.Sub(second.begun)) // it would have taken longer than that
		second.backend.State.Stats.AddBeaten()
	} else {
		second.reached(second.over)
		x.account(second, second.over)
		x.p.strike(second.kind)
	}
	x.leave(second)
	x.rival = attempt{}
}

// abandonHedge ends a second attempt that a panic has left.
func (x *exchange) abandonHedge() {
	if x.rival.backend != nil {
		x.leave(&x.rival)
		x.rival = attempt{}
	}
}
