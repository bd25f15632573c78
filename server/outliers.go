package server

import (
	"context"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// outlierTick is how often outliers are judged: an ejection ends at most so much later than it should.
const outlierTick = 250 * time.Millisecond

// outliers has the services judged that have outlier detection.
type outliers struct {
	mu       sync.Mutex
	services map[string]*routing.Runtime // guarded by mu
}

// follow applies the difference between two tables; prev is nil at first.
func (o *outliers) follow(next, prev *routing.Table) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for before, now := range next.Changes(prev) {
		switch {
		case now != nil && now.Policy.Outlier.Enabled():
			if o.services == nil {
				o.services = map[string]*routing.Runtime{}
			}
			o.services[now.Name] = now.Runtime
		case now != nil:
			delete(o.services, now.Name)
		default:
			delete(o.services, before.Name)
		}
	}
}

// run judges until the context ends.
func (o *outliers) run(ctx context.Context) {
	tick := time.NewTicker(outlierTick)
	defer tick.Stop()
	var judged []*routing.Runtime
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			o.mu.Lock()
			judged = judged[:0]
			for _, r := range o.services {
				judged = append(judged, r)
			}
			o.mu.Unlock()
			for _, r := range judged {
				r.Judge(now, true)
			}
			clear(judged)
		}
	}
}
