package proxy

import (
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
)

// causes say why an attempt that ended so counts against its backend; those that do not count are left out.
var causes = [kindCount]breaker.Cause{
	backendRefused:   breaker.ConnectFailed,
	connectTimeout:   breaker.ConnectFailed,
	backendTLS:       breaker.ConnectFailed,
	backendReset:     breaker.Reset,
	backendMalformed: breaker.Reset,
	brokenResponse:   breaker.Reset,
	headTimeout:      breaker.Timeout,
	backendIdle:      breaker.Timeout,
	exchangeTimeout:  breaker.Timeout,
}

// causeOf is what a kind says of the backend, 0 for nothing bad.
func causeOf(k kind) breaker.Cause {
	if k != fine && causes[k] == 0 {
		return breaker.NotTheBackend
	}
	return causes[k]
}

// cause is what the attempt says of its backend, as far as is known.
func (a *attempt) cause() breaker.Cause {
	switch {
	case a.kind != fine && a.kind != unwanted:
		return causeOf(a.kind)
	case a.status >= 502 && a.status <= 504:
		return breaker.GatewayError
	case a.status >= 500 && a.status <= 599:
		return breaker.ServerError
	}
	return 0
}

// outcomeOf is what the attempt's breaker is told of a cause.
func (a *attempt) outcomeOf(c breaker.Cause) breaker.Outcome { return a.policy.Breaker.Outcome(c) }

// judge has outlier detection, if the service has it, know what became of an attempt.
func (x *exchange) judge(s *backend.State, c breaker.Cause, now time.Time, latency time.Duration) {
	if o := s.Outlier(); o != nil && o.Observe(&x.at.policy.Outlier, c, latency) {
		x.svc.Runtime.Judge(now, false)
	}
}
