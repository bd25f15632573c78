package server

import (
	"iter"
	"log/slog"
	"strconv"
	"sync"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/probe"
	"github.com/vietddude/load-balancer/routing"
)

// probes keeps the prober in step with the table: it adds and removes targets by the difference of two tables, and
// takes verdicts back to the backends' records. A target stands for one record: a backend that leaves and comes back has
// a new one, and begins anew in both places.
type probes struct {
	prober *probe.Prober
	// failed is told of held backends whose check failed.
	failed func(*backend.State, error)

	// turn is held while the prober's targets are changed, so that of two changes the later comes last; before mu.
	turn sync.Mutex

	// mu guards what follows, and is held while a verdict is taken to a record, so that none comes after the record has
	// left.
	mu     sync.Mutex
	last   uint64                      // the number of the latest target
	keys   map[*backend.State]probeKey // of what is probed
	states map[string]*backend.State   // the other way
	held   map[*backend.State]bool     // those of keys that a guard holds
	sharing
}

// probeKey is what the prober knows a backend's record by. Its initial state does not change: a backend that served
// unprobed is up when probes begin, whatever the policy says of new ones.
type probeKey struct{ name, initial string }

func newProbes(log *slog.Logger, failed func(*backend.State, error)) *probes {
	p := &probes{
		failed: failed, keys: map[*backend.State]probeKey{}, states: map[string]*backend.State{}, held: map[*backend.State]bool{},
		sharing: sharing{subjects: map[*backend.State]*subject{}, dirty: make(chan struct{}, 1), log: log},
	}
	p.prober = probe.New(probe.Config{Report: p.report, Logger: log})
	return p
}

// follow applies the difference between two tables; prev is nil at first.
func (p *probes) follow(next, prev *routing.Table) {
	var set []probe.Target
	var gone []string
	p.turn.Lock()
	defer p.turn.Unlock()
	p.mu.Lock()
	for before, now := range next.Changes(prev) {
		left := map[*backend.State]bool{}
		for b := range probedOf(before) {
			left[b.State] = true
		}
		for b := range probedOf(now) {
			delete(left, b.State)
			if s := p.subjectLocked(b, now); s != nil {
				set, gone = p.decideLocked(b.State, s, true, set, gone)
			} else {
				set = append(set, p.targetLocked(b, now))
			}
		}
		for s := range left {
			gone = append(gone, p.dropLocked(s))
		}
	}
	p.mu.Unlock()
	if len(set)+len(gone) > 0 {
		p.prober.Update(set, gone)
	}
}

// probedOf yields the backends of a service, which may be nil, that are probed: all, if its policy says so, and those that a
// guard holds.
func probedOf(s *routing.Service) iter.Seq[*routing.Backend] {
	return func(yield func(*routing.Backend) bool) {
		if s == nil {
			return
		}
		for _, b := range s.Backends {
			if (s.Policy.Probe.Interval > 0 || b.Held) && !yield(b) {
				return
			}
		}
	}
}

// targetLocked is what the prober is told of a backend.
func (p *probes) targetLocked(b *routing.Backend, s *routing.Service) probe.Target {
	key, ok := p.keys[b.State]
	if !ok {
		p.last++
		key = probeKey{strconv.FormatUint(p.last, 10), probe.InitiallyUp}
		if b.State.Health() != backend.Up { // or down, if others have found it so
			key.initial = probe.InitiallyProbing
		}
		p.keys[b.State], p.states[key.name] = key, b.State
	}
	options := s.Policy.Probe
	if delete(p.held, b.State); b.Held {
		p.held[b.State] = true
		options = heldProbe(options)
	}
	t := probe.Target{Key: key.name, URL: b.URL, Options: options, TLS: s.Policy.ProbeTLS}
	t.Options.InitialState = key.initial
	return t
}

// dropLocked forgets a record that is no longer probed, and returns its key. It counts as up again, as if it had never
// been probed.
func (p *probes) dropLocked(s *backend.State) string {
	key := p.keys[s].name
	delete(p.keys, s)
	delete(p.held, s)
	delete(p.states, key)
	if p.subjects[s] != nil {
		delete(p.subjects, s)
		p.changed()
	}
	s.SetHealth(backend.Up)
	return key
}

// report takes a probe's result to the record that it is of, if that is still probed.
func (p *probes) report(key string, r probe.Result) {
	if s := p.take(key, r); s != nil {
		p.failed(s, r.Err)
	}
}

// take is report without what is called outside the lock; it returns the record of a held backend that failed.
func (p *probes) take(key string, r probe.Result) *backend.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[key]
	if s == nil {
		return nil
	}
	if sub := p.subjects[s]; sub != nil {
		p.heardOwnLocked(s, sub, r)
		return nil
	}
	h := backend.Down
	if r.Up {
		h = backend.Up
	}
	s.Probed(h, backend.ProbeResult{At: r.At, Latency: r.Latency, Err: r.Err})
	if h == backend.Down && p.held[s] {
		return s
	}
	return nil
}
