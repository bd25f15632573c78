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

	load     *atomic.Int64      // counts the attempt under way; nil if nobody asks
	sessions *affinity.Sessions // nil if the service has none
	visitor  affinity.Client
	found    affinity.Finding

	key         uint64 // what consistent hashing chooses by
	at          attempt
	attempts    int
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

// try makes one attempt at the backend, for which its breaker gave the permit, and relays the response if there is one.
// Whatever happens, the attempt is ended once, and the permit goes back once.
func (x *exchange) try(b *routing.Backend, permit breaker.Permit, now time.Time, upgrade string) (k kind, relayed bool) {
	s := b.State
	s.Begin()
	b.ZoneRequests.Add(1)
	load := x.load
	if load != nil {
		load.Add(1)
	}
	outcome, reported, policy := breaker.Ignored, false, x.at.policy
	defer func() {
		s.End()
		if load != nil {
			load.Add(-1)
		}
		if !reported {
			// A success is asked for its time only where outcomes are counted by time.
			if outcome != breaker.Success || policy.Breaker.FailureRate > 0 {
				now = time.Now()
			}
			s.Breaker.Done(permit, now, outcome)
		}
	}()
	a := &x.at
	a.backend, a.status, a.kind, a.sent, a.err, a.begun = b, 0, fine, false, nil, now
	x.tried = append(x.tried, s)
	if seats := a.policy.Connections.MaxConns; seats > 0 {
		if a.kind = x.seat(s); a.kind != fine {
			x.p.strike(a.kind)
			return a.kind, false
		}
		defer s.Seats.Leave(seats)
		now = time.Now() // the wait says nothing of the backend's latency
		a.begun = now
	}
	x.attempts++
	x.d.try(a)
	head := time.Now()
	switch a.kind {
	case fine:
		s.Reached()
	case backendRefused, connectTimeout:
		s.Unreachable(head)
	}
	if a.kind == fine && a.status == 101 && (upgrade == "" || !switched(x.d.incoming(), upgrade)) {
		a.kind, a.sent = backendMalformed, true // nobody asked for it
	}
	x.weigh(a, head)
	if a.kind == fine && (a.status == 101 || s.Breaker.State(head) != breaker.Closed) {
		// A tunnel, or a long stream, must not hold back the breaker's verdict until it ends.
		s.Breaker.Done(permit, head, a.outcome(a.cause()))
		reported = true
	}
	began := false
	if a.kind == fine {
		h := x.d.incoming()
		forwardResponse(h, a.status)
		began = x.keep(b, h, head)
		if a.kind = x.d.begin(a); a.kind != fine {
			a.sent = true
		}
	}
	cause := a.cause()
	outcome = a.outcome(cause)
	x.judge(s, cause, head, head.Sub(now))
	if l := s.Limit(); l != nil {
		l.Observe(head, head.Sub(now), s.InFlight(), cause)
	}
	s.Stats.Observe(a.observed(), head.Sub(now))
	switch outcome {
	case breaker.Success:
		s.Latency.Observe(steady.Millis(head), head.Sub(now))
	case breaker.Failure:
		s.Latency.Failed(steady.Millis(head), head.Sub(now))
	}
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
			if outcome = a.outcome(cause); cause != breaker.NotTheBackend {
				x.judge(s, cause, time.Now(), 0)
			}
		}
	}
	return k, true
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
		Status: x.status, BytesIn: in, BytesOut: out, Attempts: x.attempts, Error: k.String(),
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
