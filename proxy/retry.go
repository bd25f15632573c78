package proxy

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// mayRetry reports whether a failed attempt may be followed by another one, apart from numbers and budgets. The request
// must still be whole and nothing of a response out; and either the method may be repeated, or nothing was asked yet.
func mayRetry(k kind, method string, sent, whole bool) bool {
	return kinds[k].again && whole && (!sent || idempotent(method))
}

// idempotent reports whether a request may be made twice with the effect of once (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// retryWait is how long to wait before a retry, counted from 1, if not at once.
//
//	initial 50 ms, multiplier 2, randomization 0.5: 25 to 75 ms, 50 to 150 ms, 100 to 300 ms, …
func retryWait(r *routing.Retry, n int) time.Duration {
	d := float64(r.InitialInterval) * math.Pow(max(r.Multiplier, 1), float64(n-1))
	if r.MaxInterval > 0 {
		d = min(d, float64(r.MaxInterval))
	}
	d *= 1 + r.Randomization*(2*rand.Float64()-1)
	return time.Duration(min(max(d, 0), float64(time.Hour)))
}

// failuresOf is what the policy calls a kind of failure, 0 for those that it says nothing about.
func failuresOf(k kind) routing.Failures {
	switch k {
	case backendRefused, connectTimeout, backendTLS:
		return routing.ConnectFailed
	case backendReset:
		return routing.ResetFailed
	case backendMalformed:
		return routing.MalformedFailed
	case headTimeout:
		return routing.TimeoutFailed
	}
	return 0
}

// permit reports whether a failed attempt may be followed by another one, and counts that.
func (x *exchange) permit(failed *attempt) bool {
	r := &x.svc.Policy.Retry
	if x.attempts-x.hedges > r.MaxRetries || r.NotOn&failuresOf(failed.kind) != 0 ||
		!mayRetry(failed.kind, x.req.Method, failed.sent, x.d.again()) {
		return false
	}
	// What never was sent costs no backend anything, so the budget, which spares backends, does not count it.
	if failed.sent && r.Budget > 0 && !x.kept.budget.retry(time.Now(), r.Budget) {
		return false
	}
	x.svc.Runtime.Stats.AddRetry()
	failed.backend.State.Stats.AddRetry()
	return true
}

// weigh makes a response with a status that the policy has retried a failed attempt, if another one may follow. It is
// thrown away then; otherwise it is an answer like any other.
func (x *exchange) weigh(a *attempt, now time.Time) {
	r := &x.svc.Policy.Retry
	if a.kind != fine || !r.Statuses.Has(a.status) {
		return
	}
	x.patience = retryAfter(x.d.incoming().Values("Retry-After"), now)
	if most := r.MaxInterval; most > 0 && x.patience > most {
		if !x.untried() {
			return
		}
		x.patience = most // in case that nobody else is left by then
	}
	a.kind, a.sent = unwanted, true
	if !x.permit(a) {
		a.kind = fine
	}
}

// retryAfter is how long the field asks to wait (RFC 9110, 10.2.3), 0 if it does not, or says nothing that can be read.
func retryAfter(values []string, now time.Time) time.Duration {
	if len(values) != 1 {
		return 0
	}
	if n, err := strconv.ParseUint(values[0], 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(values[0]); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// retry reports whether the exchange is to be tried again after an attempt that failed so, having waited as it should.
// Otherwise it returns how the exchange ends.
func (x *exchange) retry(failed *attempt) (kind, bool) {
	if failed.kind != unwanted && !x.permit(failed) {
		return failed.kind, false
	}
	elsewhere := x.untried()
	n := x.attempts - x.hedges
	if n == 1 && elsewhere {
		x.firstAtOnce = true
		return fine, true
	}
	if x.firstAtOnce {
		n--
	}
	d := retryWait(&x.svc.Policy.Retry, n)
	if failed.kind == unwanted && !elsewhere {
		d = max(d, x.patience)
	}
	return x.wait(d)
}

// wait lets the time pass. It reports false, and how the exchange ends, if the client leaves or its time is up first.
func (x *exchange) wait(d time.Duration) (kind, bool) {
	ends := fine
	if !x.deadline.IsZero() {
		if left := time.Until(x.deadline); left < d {
			d, ends = left, exchangeTimeout
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.d.gone():
		return clientGone, false
	case <-t.C:
		x.p.strike(ends)
		return ends, ends == fine
	}
}
