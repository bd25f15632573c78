package proxy

import (
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/routing"
)

const (
	// firstProbeWait is the longest that an exchange waits for a service whose backends have not been probed yet.
	firstProbeWait = time.Second
	// firstProbeStep is the time to the first look for a verdict; each further one takes twice as long, up to
	// firstProbeRest: after a start there may be many who wait, and each looks at all the service's backends.
	firstProbeStep = 2 * time.Millisecond
	firstProbeRest = 32 * time.Millisecond
)

// awaitProbe is choose for an exchange that found no backend. Where that is because those of the service are being
// probed for the first time, as after the start, it waits for a verdict, at most [firstProbeWait]. Otherwise it returns
// nil at once.
func (x *exchange) awaitProbe(now time.Time) (b *routing.Backend, permit breaker.Permit, k kind) {
	step := firstProbeStep
	for end := now.Add(firstProbeWait); x.attempts == 0 && now.Before(end) && probing(x.svc); now = time.Now() {
		if k, ok := x.wait(step); !ok {
			return nil, 0, k
		}
		step = min(2*step, firstProbeRest)
		if b, permit = x.choose(time.Now()); b != nil {
			return b, permit, fine
		}
	}
	return nil, 0, noBackend
}

// probing reports whether a backend of the service waits for its first probe and could serve after it.
func probing(s *routing.Service) bool {
	for _, b := range s.Backends {
		if b.State.Health() == backend.Probing && b.Weight > 0 && !b.State.Draining() && !b.State.Failing() && !b.State.Retired() {
			return true
		}
	}
	return false
}
