package proxy

import (
	"context"
	"log/slog"
	"net/textproto"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/accesslog"
	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/internal/steady"
	"github.com/vietddude/load-balancer/routing"
)

// exchange is one client request and its response. It is used by one goroutine, and again for other exchanges.
type exchange struct {
	p *Proxy
	d door
	// req and upgradable are filled in by the door. Upgradable says that the client's connection can become a tunnel.
	req        request
	upgradable bool

	start    time.Time
	deadline time.Time // zero for none
	client   client
	table    *routing.Table
	route    *routing.Route
	svc      *routing.Service
	kept     *service
	own      element // stays from exchange to exchange

	load     *atomic.Int64      // counts attempts under way; nil if nobody asks
	sessions *affinity.Sessions // nil if the service has none
	visitor  affinity.Client
	found    affinity.Finding

	key         uint64 // what consistent hashing chooses by
	at          attempt
	attempts    int
	rival       attempt       // the second attempt that is made while the first goes on; without a backend if there is none
	hedges      int           // attempts that were such
	hedged      hedged        // what became of that
	pace        *pace         // nil if the exchange is not one that is hedged
	firstAtOnce bool          // the first retry did not wait
	patience    time.Duration // what the latest response that was thrown away asked for by Retry-After
	crowded     bool          // a backend had no room for the exchange; only one that has is of use
	tried       []*backend.State
	status      int // of the response

	rec accesslog.Record
}

// reset makes the exchange ready for another request; what it has allocated stays.
func (x *exchange) reset() {
	clear(x.tried)
	tried := x.tried[:0]
	found := &x.found
	found.Backend = ""
	x.p, x.d, x.req, x.upgradable = nil, nil, request{}, false
	x.start, x.deadline, x.client = time.Time{}, time.Time{}, client{}
	x.table, x.route, x.svc, x.kept = nil, nil, nil, nil
	x.load, x.sessions, x.visitor = nil, nil, affinity.Client{}
	x.hedges, x.hedged, x.pace = 0, 0, nil
	x.key, x.at, x.attempts, x.firstAtOnce, x.crowded, x.tried = 0, attempt{}, 0, false, false, tried
	x.status, x.rec = 0, accesslog.Record{}
}

// run carries the exchange through and returns how it ended.
func (x *exchange) run() kind {
	x.p.active.Add(1)
	defer x.p.active.Add(-1)
	x.start = time.Now()
	k, relayed := x.serve()
	if !relayed {
		x.refuse(k)
	}
	x.observe(k)
	return k
}

// serve finds the service, and tries until a response has been relayed or no more can be done. It reports whether a
// response's head has gone out.
func (x *exchange) serve() (k kind, relayed bool) {
	if k := x.admit(); k != fine {
		return k, false
	}
	header := x.d.outgoing()
	upgrade := forwardRequest(header, &x.client, x.req.Host, x.upgradable, &x.own)
	last := noBackend
	for now := x.start; ; now = time.Now() {
		b, permit := x.choose(now)
		if b == nil && len(x.tried) == 0 {
			if b, permit, last = x.awaitProbe(now); b != nil {
				now = time.Now()
			}
		}
		if b == nil {
			if last == noBackend && x.overloaded() {
				last = overloaded
			}
			return last, false
		}
		if k, relayed = x.try(b, permit, now, upgrade); relayed {
			return k, true
		}
		if k == queueFull || k == queueTimeout {
			x.crowded = true // another one will do if it has room
			last = k
			continue
		}
		if k, ok := x.retry(&x.at); !ok {
			return k, false
		}
		last = k
	}
}

// admit checks and routes the request.
func (x *exchange) admit() kind {
	r := &x.req
	x.client = x.p.identify(r, x.d.outgoing(), &x.own)
	if r.Method == "CONNECT" {
		return noTunnel
	}
	target, ok := originForm(r.Method, r.Target)
	if !ok || !validHost(r.Host) {
		return badRequest
	}
	if x.table = x.p.opts.Table(); x.table == nil {
		return noTable
	}
	if x.route = x.table.Match(&r.Request); x.route == nil {
		return noRoute
	}
	x.route.Requests.Add(1)
	x.svc = x.route.Target
	x.kept = x.p.service(x.table, x.svc)
	policy := x.svc.Policy
	if policy.Timeouts.Exchange > 0 {
		x.deadline = x.start.Add(policy.Timeouts.Exchange)
	}
	if policy.Retry.Budget > 0 {
		x.kept.budget.exchange(x.start)
	}
	if policy.Algorithm.Consistent() {
		x.key = x.hashKey(&policy.Hash)
	}
	x.at = attempt{policy: policy, target: stripPrefix(target, x.route.StripPrefix), deadline: x.deadline}
	return fine
}

// hold is what an attempt holds of its backend, and owes it.
type hold struct {
	permit   breaker.Permit
	load     *atomic.Int64 // see exchange
	seated   bool
	outcome  breaker.Outcome // as far as is known
	reported bool            // the permit went back
}

// enter begins an attempt at the backend, for which its breaker gave the permit. It is ended by leave, once.
func (x *exchange) enter(a *attempt, b *routing.Backend, permit breaker.Permit, load *atomic.Int64, now time.Time) {
	b.State.Begin()
	b.ZoneRequests.Add(1)
	if load != nil {
		load.Add(1)
	}
	a.backend, a.begun, a.hedgeAt, a.hedger = b, now, time.Time{}, nil
	a.status, a.kind, a.sent, a.err, a.over, a.taken = 0, fine, false, nil, time.Time{}, false
	a.hold = hold{permit: permit, load: load, outcome: breaker.Ignored}
	x.tried = append(x.tried, b.State)
}

// leave ends an attempt.
func (x *exchange) leave(a *attempt) {
	s := a.backend.State
	if a.seated {
		s.Seats.Leave(a.policy.Connections.MaxConns)
	}
	s.End()
	if a.load != nil {
		a.load.Add(-1)
	}
	if a.reported {
		return
	}
	// A success is asked for its time only where outcomes are counted by time.
	now := a.begun
	if a.outcome != breaker.Success || a.policy.Breaker.FailureRate > 0 {
		now = time.Now()
	}
	s.Breaker.Done(a.permit, now, a.outcome)
}

// try makes one attempt at the backend, for which its breaker gave the permit, and perhaps another one beside it. It
// relays the response if there is one. Whatever happens, each attempt is ended once, and its permit goes back once.
func (x *exchange) try(b *routing.Backend, permit breaker.Permit, now time.Time, upgrade string) (k kind, relayed bool) {
	a := &x.at
	x.enter(a, b, permit, x.load, now)
	defer x.leave(a)
	if a.policy.Connections.MaxConns > 0 {
		if a.kind = x.seat(b.State); a.kind != fine {
			x.p.strike(a.kind)
			return a.kind, false
		}
		a.seated = true
		a.begun = time.Now() // the wait says nothing of the backend's latency
	}
	x.attempts++
	if a.policy.Hedge.Percentile > 0 {
		defer x.abandonHedge()
		x.prepareHedge(upgrade)
	}
	x.d.try(a)
	head := time.Now()
	if x.pace != nil {
		x.settleHedge(head)
		if a.kind != fine && !a.over.IsZero() {
			head = a.over
		}
	}
	s := a.backend.State
	a.reached(head)
	if a.kind == fine && a.status == 101 && (upgrade == "" || !switched(x.d.incoming(), upgrade)) {
		a.kind, a.sent = backendMalformed, true // nobody asked for it
	}
	x.weigh(a, head)
	if a.kind == fine && (a.status == 101 || s.Breaker.State(head) != breaker.Closed) {
		// A tunnel, or a long stream, must not hold back the breaker's verdict until it ends.
		s.Breaker.Done(a.permit, head, a.outcomeOf(a.cause()))
		a.reported = true
	}
	began := false
	if a.kind == fine {
		h := x.d.incoming()
		forwardResponse(h, a.status)
		began = x.keep(a.backend, h, head)
		if a.kind = x.d.begin(a); a.kind != fine {
			a.sent = true
		}
	}
	cause := x.account(a, head)
	if a.kind != fine {
		x.p.strike(a.kind)
		return a.kind, false
	}
	x.status = a.status
	x.svc.Runtime.Stats.Observe(a.status, head.Sub(x.start))
	if began {
		x.svc.Runtime.Stats.AddSession()
		s.Stats.AddSession()
	}
	if k = x.d.relay(a); k != fine {
		x.p.strike(k)
		if cause == 0 {
			cause = causeOf(k)
			if a.outcome = a.outcomeOf(cause); cause != breaker.NotTheBackend {
				x.judge(s, cause, time.Now(), 0)
			}
		}
	}
	return k, true
}

// reached has the backend's record know whether it could be connected to.
func (a *attempt) reached(now time.Time) {
	switch a.kind {
	case fine, unwanted:
		a.backend.State.Reached()
	case backendRefused, connectTimeout:
		a.backend.State.Unreachable(now)
	}
}

// account tells all who judge or count backends of an attempt that was answered, or failed, at that time. It returns what
// the attempt says of its backend.
func (x *exchange) account(a *attempt, now time.Time) breaker.Cause {
	s, took, cause := a.backend.State, now.Sub(a.begun), a.cause()
	a.outcome = a.outcomeOf(cause)
	x.judge(s, cause, now, took)
	if l := s.Limit(); l != nil {
		l.Observe(now, took, s.InFlight(), cause)
	}
	s.Stats.Observe(a.observed(), took)
	switch a.outcome {
	case breaker.Success:
		s.Latency.Observe(steady.Millis(now), took)
	case breaker.Failure:
		s.Latency.Failed(steady.Millis(now), took)
	}
	return cause
}

// switched reports whether a response switches to one of the protocols that were asked for.
func switched(h fields, asked string) bool {
	got := upgradeOf(h)
	return got != "" && hasToken([]string{asked}, textproto.TrimString(got))
}

// observed is the status that an attempt counts with: that of the response, 0 for a backend that failed, 499 for one
// that was not to blame.
func (a *attempt) observed() int {
	switch {
	case a.kind == fine, a.kind == unwanted:
		return a.status
	case kinds[a.kind].outcome == breaker.Failure:
		return 0
	}
	return kinds[clientGone].status
}

// refuse answers for lack of a response.
func (x *exchange) refuse(k kind) {
	x.status = kinds[k].status
	if x.svc != nil {
		x.svc.Runtime.Stats.Observe(x.status, time.Since(x.start))
	}
	if k == clientGone {
		return // nobody listens
	}
	retryAfter := 0
	if x.status == 503 {
		retryAfter = 1
	}
	x.d.answer(x.status, kinds[k].text, retryAfter)
}

// observe counts and logs the exchange, which has ended.
func (x *exchange) observe(k kind) {
	x.p.ended[k].Add(1)
	logger := x.p.opts.Logger
	if k != fine && k != noRoute && logger.Enabled(context.Background(), slog.LevelDebug) {
		x.logFailure(logger, k)
	}
	if x.p.opts.AccessLog == nil {
		return
	}
	in, out := x.d.transferred()
	x.rec = accesslog.Record{
		Start: x.start, Duration: time.Since(x.start), Client: x.client.addr,
		Method: x.req.Method, Host: x.req.Host, Target: x.req.Target, Proto: x.req.Proto, TLS: x.req.TLS,
		Status: x.status, BytesIn: in, BytesOut: out, Attempts: x.attempts, Hedge: hedgeWords[x.hedged], Error: k.String(),
	}
	if x.svc != nil {
		x.rec.Service, x.rec.Route = x.svc.Name, x.route.Name
	}
	if x.at.backend != nil {
		x.rec.Backend = x.at.backend.ID
	}
	x.p.opts.AccessLog.Log(&x.rec)
}

func (x *exchange) logFailure(l *slog.Logger, k kind) {
	attrs := []any{"reason", k.String(), "status", x.status, "method", x.req.Method, "attempts", x.attempts}
	if x.svc != nil {
		attrs = append(attrs, "service", x.svc.Name)
	}
	if x.at.backend != nil {
		attrs = append(attrs, "backend", x.at.backend.ID)
	}
	if err := x.at.err; err != nil {
		attrs = append(attrs, "error", err)
	}
	l.Debug("an exchange failed", attrs...)
}
