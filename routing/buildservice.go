package routing

import (
	"fmt"
	"slices"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/probe"
)

// nextService returns the service that follows another, which may be nil, and what is wrong with its backends. It is
// the one before if nothing is different. Backends that leave are retired.
func (b *builder) nextService(old *Service, ch *serviceChange) (*Service, []discovery.Problem) {
	var before []*Backend
	next := &Service{Name: ch.name, Policy: ch.policy, Past: ch.past}
	if old != nil {
		before, next.Runtime = old.Backends, old.Runtime
		if *old.Policy == *next.Policy {
			next.Policy, next.policySum, next.rules = old.Policy, old.policySum, old.rules
		}
	} else {
		next.Runtime = &Runtime{}
	}
	if next.policySum == (fingerprint{}) {
		next.policySum = b.policySum(next.Policy)
		next.rules = b.rules(next.Policy)
	}
	var problems []discovery.Problem
	next.Backends = make([]*Backend, 0, len(ch.backends))
	for i := range ch.backends {
		m := &ch.backends[i]
		// Both are in order of ID: whatever lies before is gone.
		for len(before) > 0 && before[0].ID < m.ID {
			b.retired = append(b.retired, before[0].State)
			before = before[1:]
		}
		var last *Backend
		if len(before) > 0 && before[0].ID == m.ID {
			last, before = before[0], before[1:]
		}
		be, err := b.nextBackend(last, m, next)
		if err != nil {
			problems = append(problems, *err)
		} else {
			next.Backends = append(next.Backends, be)
		}
		if last != nil && (be == nil || be.State != last.State) {
			b.retired = append(b.retired, last.State)
		}
	}
	for _, be := range before {
		b.retired = append(b.retired, be.State)
	}
	if old != nil && next.Policy == old.Policy && next.Past == old.Past && slices.Equal(next.Backends, old.Backends) {
		return old, problems
	}
	next.sum = hashService(&b.buf, next)
	return next, problems
}

// nextBackend returns the backend that follows another of its ID, which may be nil: the same if nothing is different,
// else with the same record if it has the same URL.
func (b *builder) nextBackend(last *Backend, m *mergedBackend, s *Service) (*Backend, *discovery.Problem) {
	if last != nil && last.says(m) {
		return last, nil
	}
	next := &Backend{Backend: m.Backend, Sources: m.sources, Held: m.held, ZoneRequests: s.Runtime.zones.at(m.Zone)}
	if last == nil || last.URL != m.URL || last.Weight != m.Weight {
		if code, err := checkBackend(&next.Backend); err != nil {
			return nil, &discovery.Problem{Source: m.sources[0], Key: "backend " + clip(m.ID) + " of service " + s.Name,
				Code: code, Detail: err.Error()}
		}
		if m.Backend = next.Backend; last != nil && last.says(m) {
			return last, nil
		}
	}
	if last != nil && last.URL == next.URL {
		next.State = last.State
	} else {
		key := backend.Key{Service: s.Name, ID: m.ID, URL: next.URL}
		next.State = newState(key, s)
	}
	next.sum = hashBackend(&b.buf, s.Name, &next.Backend)
	return next, nil
}

// policySum is the hash of a policy, which services that follow one another mostly share.
func (b *builder) policySum(p *Policy) fingerprint {
	if b.policy != p {
		b.policy, b.sum = p, hashPolicy(p)
	}
	return b.sum
}

// rules are a policy's for breakers.
func (b *builder) rules(p *Policy) *breaker.Rules {
	if b.t.rules == nil || !b.t.rules.Are(p.Breaker) {
		b.t.rules = breaker.NewRules(p.Breaker)
	}
	return b.t.rules
}

// says reports whether the backend is as it was merged.
func (b *Backend) says(m *mergedBackend) bool {
	return b.Held == m.held && b.Backend.Equal(m.Backend) && slices.Equal(b.Sources, m.sources)
}

// newState is the record of a backend of which nothing is known.
func newState(key backend.Key, s *Service) *backend.State {
	if s.Runtime.told == nil {
		s.Runtime.told = s.Runtime.changed
	}
	state := backend.NewUnder(key, s.rules, s.Runtime.told)
	if p := &s.Policy.Probe; p.Interval > 0 && p.InitialState == probe.InitiallyProbing {
		state.StartProbing()
	}
	return state
}

// checkBackend reports what is wrong with a backend, and brings its URL into normal form.
func checkBackend(b *discovery.Backend) (code string, err error) {
	if err := discovery.CheckID(b.ID); err != nil {
		return discovery.CodeBadName, err
	}
	if b.URL, err = discovery.ParseURL(b.URL); err != nil {
		return discovery.CodeBadURL, err
	}
	if err := checkWeight(b.Weight); err != nil {
		return discovery.CodeBadWeight, err
	}
	return "", nil
}

func checkWeight(w int) error {
	if w < 0 || w > discovery.MaxWeight {
		return fmt.Errorf("the weight %d is not 0 to %d", w, discovery.MaxWeight)
	}
	return nil
}
