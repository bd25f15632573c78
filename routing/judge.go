package routing

import (
	"sync"
	"time"

	"github.com/vietddude/load-balancer/breaker"
)

// judging is what outlier detection keeps of a service.
type judging struct {
	// mu lets through one judgement at a time.
	mu sync.Mutex
	// compared is when rates and latencies were compared last; zero for never. It is guarded by mu.
	compared time.Time
}

// Judge ejects and releases outliers among the service's backends, as its policy says. With tick it also compares their
// rates and latencies, once an interval has passed; it is called so every moment. An exchange calls it without when
// [breaker.Outlier.Observe] asks for it.
func (r *Runtime) Judge(now time.Time, tick bool) {
	r.judging.mu.Lock()
	defer r.judging.mu.Unlock()
	r.mu.Lock()
	s := r.service
	r.unlock()
	if s == nil || !s.Policy.Outlier.Enabled() {
		return
	}
	o := &s.Policy.Outlier
	compare := false
	if tick {
		switch compare = now.Sub(r.judging.compared) >= o.IntervalOrDefault(); {
		case r.judging.compared.IsZero():
			r.judging.compared, compare = now, false
		case compare:
			r.judging.compared = now
		}
	}
	hosts := make([]*breaker.Outlier, 0, len(s.Backends))
	before := make([]*breaker.Ejection, 0, len(s.Backends))
	of := make([]*Backend, 0, len(s.Backends))
	for _, b := range s.Backends {
		if h := b.State.Outlier(); h != nil {
			hosts, before, of = append(hosts, h), append(before, h.Ejection()), append(of, b)
		}
	}
	if !breaker.Judge(o, now, hosts, compare) {
		return
	}
	for i, h := range hosts {
		switch e := h.Ejection(); {
		case e == before[i]:
		case e != nil:
			of[i].State.Ejected(e)
		default:
			of[i].State.Released("its time has passed")
		}
	}
}
