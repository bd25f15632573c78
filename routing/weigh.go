package routing

import (
	"math"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
)

// ramps are the slow starts of a service: a backend that becomes ready while others are takes a tenth of its share at
// first, and more from step to step until it has all of it after the policy's slow_start. Guarded by the runtime's lock.
type ramps struct {
	// since holds when each backend that is ready became so; the zero time for those that need not start slowly. It is
	// kept only where there is a slow start.
	since map[*backend.State]time.Time
	// born is when the first table had the service.
	born  time.Time
	timer *time.Timer
}

const (
	rampSteps = 20
	rampFloor = 0.1 // the share at first
	// minStep bounds how often ready sets are made for it.
	minStep = 50 * time.Millisecond
)

// stop ends what is going on.
func (p *ramps) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
	*p = ramps{}
}

// observe notes who is ready now and returns the shares of the set's backends, nil if all have theirs. The function
// again is called when it is time to look anew.
//
// Who is ready when nobody else is has nobody to leave the load to, and who comes within the time of a slow start after the
// service did is new among new ones: neither starts slowly.
func (p *ramps) observe(set *ReadySet, length time.Duration, now time.Time, again func()) []float64 {
	if p.born.IsZero() {
		p.born = now
	}
	if length <= 0 {
		p.since = nil
		return nil
	}
	next := make(map[*backend.State]time.Time, len(set.Backends))
	shares, ramping := make([]float64, len(set.Backends)), false
	for i, b := range set.Backends {
		shares[i] = 1
		if set.Panic && !(b.State.Available(now) && !b.State.Avoided(now)) {
			continue // its start is still to come
		}
		start, known := p.since[b.State]
		if !known && len(p.since) > 0 && now.Sub(p.born) >= length {
			start = now
		}
		if !start.IsZero() {
			// In whole steps, so that a set that is made for another reason meanwhile is the same.
			step := max(length/rampSteps, minStep)
			done := now.Sub(start).Truncate(step)
			if done >= length {
				start = time.Time{}
			} else {
				ramping = true
				shares[i] = max(rampFloor, float64(done)/float64(length))
			}
		}
		next[b.State] = start
	}
	p.since = next
	if !ramping {
		return nil
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(max(length/rampSteps, minStep), again)
	} else {
		p.timer.Reset(max(length/rampSteps, minStep))
	}
	return shares
}

// weighLocked returns the weights in force of a set's backends, nil if they are the backends' own.
func (r *Runtime) weighLocked(set *ReadySet, now time.Time) []int {
	policy := r.service.Policy
	shares := r.ramps.observe(set, policy.SlowStart, now, func() { r.changed(nil) })
	if policy.Algorithm.Consistent() {
		// The table has the weights, and zones would have each balancer choose otherwise for a key.
		if shares == nil {
			return nil
		}
		parts := make([]int, len(shares))
		for i, s := range shares {
			parts[i] = int(s * balance.Whole)
		}
		return parts
	}
	zoned := r.zoneSharesLocked(set)
	if shares == nil && zoned == nil {
		return nil
	}
	exact, most := make([]float64, len(set.Backends)), 0.0
	for i, b := range set.Backends {
		exact[i] = float64(b.Weight)
		if policy.Algorithm == balance.RoundRobin || policy.Algorithm == "" {
			exact[i] = 1
		}
		if shares != nil {
			exact[i] *= shares[i]
		}
		if zoned != nil {
			exact[i] *= zoned[b.Zone]
		}
		most = max(most, exact[i])
	}
	weights := make([]int, len(exact))
	for i, w := range exact {
		if w > 0 {
			weights[i] = max(int(math.Round(w/most*finest)), 1)
		}
	}
	return weights
}

// finest is the greatest weight that is made of others.
const finest = 10_000
