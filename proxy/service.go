package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/routing"
)

// service is what the proxy keeps of a service from table to table. It is found by the service's runtime record, which
// outlives tables too.
type service struct {
	name   string
	budget budget

	// policy is that of the latest table seen, whose generation it is; sessions is nil while the policy has none.
	policy   atomic.Pointer[routing.Policy]
	sessions atomic.Pointer[affinity.Sessions]
	mu       sync.Mutex // guards generation, and the writing of the two above
	newest   uint64

	byHash atomic.Pointer[hashChoice]
	// pace is nil unless exchanges are hedged.
	pace atomic.Pointer[pace]
}

// hashChoice chooses by a client's hash among the backends of one ready set.
type hashChoice struct {
	set   *routing.ReadySet
	among *affinity.Rendezvous
}

// service returns what is kept of a service of that table.
func (p *Proxy) service(t *routing.Table, s *routing.Service) *service {
	var sv *service
	if v, ok := p.services.Load(s.Runtime); ok {
		sv = v.(*service)
	} else {
		v, loaded := p.services.LoadOrStore(s.Runtime, &service{name: s.Name})
		sv = v.(*service)
		if !loaded && p.serviceCount.Add(1) > p.sweepAt.Load() {
			p.sweep()
		}
	}
	if sv.policy.Load() != s.Policy {
		sv.configure(p, t, s)
	}
	return sv
}

// configure takes the policy over, unless a newer table's is in force: exchanges of the last table may still come.
func (sv *service) configure(p *Proxy, t *routing.Table, s *routing.Service) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if t.Generation() < sv.newest {
		return
	}
	sv.newest = t.Generation()
	if s.Policy.Affinity.Type == affinity.None {
		sv.sessions.Store(nil)
	} else {
		m := p.opts.Sessions.Sessions(s.Name)
		m.Configure(s.Policy.Affinity)
		sv.sessions.Store(m)
	}
	switch on := s.Policy.Hedge.Percentile > 0; {
	case !on:
		sv.pace.Store(nil)
	case sv.pace.Load() == nil:
		sv.pace.Store(new(pace))
	}
	sv.policy.Store(s.Policy)
}

// sweep forgets services that are no longer in the table, and their sessions. It runs when their number has doubled.
func (p *Proxy) sweep() {
	t := p.opts.Table()
	if t == nil {
		return
	}
	live, names := make(map[any]bool), make(map[string]bool)
	for _, s := range t.Services() {
		live[s.Runtime], names[s.Name] = true, true
	}
	n := int64(0)
	p.services.Range(func(k, v any) bool {
		if live[k] {
			n++
			return true
		}
		p.services.Delete(k)
		if name := v.(*service).name; !names[name] {
			p.opts.Sessions.Forget(name)
		}
		return true
	})
	p.serviceCount.Store(n)
	p.sweepAt.Store(max(2*n, minSweep))
}

// minSweep is the least number of services at which those that are gone are looked for.
const minSweep = 1024

// pickByHash returns the backend of a client's hash among the ready ones, nil if there are none.
func (sv *service) pickByHash(set *routing.ReadySet, h uint64) *routing.Backend {
	c := sv.byHash.Load()
	if c == nil || c.set != set {
		ids, weights := make([]string, len(set.Backends)), make([]int, len(set.Backends))
		for i, b := range set.Backends {
			ids[i], weights[i] = b.ID, b.Weight
		}
		c = &hashChoice{set: set, among: affinity.NewRendezvous(ids, weights)}
		sv.byHash.Store(c)
	}
	if i := c.among.Pick(h); i >= 0 {
		return set.Backends[i]
	}
	return nil
}
