package discoverytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

// State is what a source's calls amount to. A test may keep it; the [Recorder] does not change it any more.
type State struct {
	// Services, Routes and Problems are what is announced and rejected now, by name and key. An empty service is none.
	Services map[string]discovery.Service
	Routes   map[string]discovery.Route
	Problems map[string]discovery.Problem
	// InStep reports whether the last Resync or Failed was followed by Synced.
	InStep bool
	// Err is what the last Failed said, nil after Synced.
	Err error
	// Resyncs are the reasons of all resyncs, Failures the errors of all failures, so far.
	Resyncs  []string
	Failures []error
	// Calls are all calls so far, one short line each: "Resync start", "Service web", "Route r", "RemoveRoute r",
	// "Incomplete reason", "Reject key", "Accept key", "Synced", "Failed".
	Calls []string
}

// Backends are the backends announced for a service now.
func (s State) Backends(service string) []discovery.Backend { return s.Services[service].Backends }

// URLs are the addresses announced for a service now, in order of the backends' IDs.
func (s State) URLs(service string) []string {
	var urls []string
	for _, b := range s.Services[service].Backends {
		urls = append(urls, b.URL)
	}
	return urls
}

// String lists the state for the message of a failed test.
func (s State) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "in step: %v, failing: %v, resyncs: %v\n", s.InStep, s.Err, s.Resyncs)
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name]
		fmt.Fprintf(&w, "service %s: policy %q, %d routes\n", name, svc.Policy, len(svc.Routes))
		for _, b := range svc.Backends {
			fmt.Fprintf(&w, "  %+v\n", b)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Routes)) {
		fmt.Fprintf(&w, "route %+v\n", s.Routes[name])
	}
	for _, key := range slices.Sorted(maps.Keys(s.Problems)) {
		fmt.Fprintf(&w, "problem %+v\n", s.Problems[key])
	}
	last := s.Calls
	if n := len(last); n > 20 {
		last = last[n-20:]
	}
	fmt.Fprintf(&w, "last calls: %s", strings.Join(last, ", "))
	return w.String()
}

// Recorder is a sink that keeps what it is told and fails the test when the contract is broken: overlapping calls,
// services that are out of order, doubled, badly named or not normalised, unknown reasons and codes, values changed
// after they were handed over.
type Recorder struct {
	t    testing.TB
	busy atomic.Int32

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed and replaced at every call
	// named is what a resync under way has named so far, nil without one.
	named  *named
	handed []handed
}

type named struct {
	services, routes, problems map[string]bool
	incomplete                 bool
}

// handed is a service as it was handed over, and a deep copy from that moment.
type handed struct{ given, copied discovery.Service }

var _ discovery.Sink = (*Recorder)(nil)

// NewRecorder returns a sink that knows nothing yet and reports to t.
func NewRecorder(t testing.TB) *Recorder {
	r := &Recorder{t: t, changed: make(chan struct{}), state: State{
		Services: map[string]discovery.Service{},
		Routes:   map[string]discovery.Route{},
		Problems: map[string]discovery.Problem{},
	}}
	t.Cleanup(r.checkUnchanged)
	return r
}

// State is what was announced so far.
func (r *Recorder) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copyLocked()
}

// Await waits until the state meets the condition and returns it; it fails the test at once, with the last state, when
// the context ends first. It must be called from the test's goroutine.
func (r *Recorder) Await(ctx context.Context, cond func(State) bool) State {
	r.t.Helper()
	for {
		r.mu.Lock()
		s, changed := r.copyLocked(), r.changed
		r.mu.Unlock()
		if cond(s) {
			return s
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("the awaited state did not come (%v); it is\n%v", context.Cause(ctx), s)
		}
	}
}

// AwaitInStep waits until the source is in step.
func (r *Recorder) AwaitInStep(ctx context.Context) State {
	r.t.Helper()
	return r.Await(ctx, func(s State) bool { return s.InStep })
}

func (r *Recorder) copyLocked() State {
	s := r.state
	s.Services, s.Routes, s.Problems = maps.Clone(s.Services), maps.Clone(s.Routes), maps.Clone(s.Problems)
	s.Resyncs, s.Failures, s.Calls = slices.Clip(s.Resyncs), slices.Clip(s.Failures), slices.Clip(s.Calls)
	return s
}

// take notes a call and what it changes.
func (r *Recorder) take(call string, change func(*State)) {
	if r.busy.Add(1) != 1 {
		r.t.Errorf("the call %q of the sink overlaps another", call)
	}
	defer r.busy.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Calls = append(r.state.Calls, call)
	change(&r.state)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Resync begins a full listing.
func (r *Recorder) Resync(reason string) {
	if !slices.Contains(reasons, reason) {
		r.t.Errorf("Resync(%q): the reason is none of %v", reason, reasons)
	}
	r.take("Resync "+reason, func(s *State) {
		s.InStep = false
		s.Resyncs = append(s.Resyncs, reason)
		r.named = &named{services: map[string]bool{}, routes: map[string]bool{}, problems: map[string]bool{}}
	})
}

// Incomplete has what the listing does not name stay.
func (r *Recorder) Incomplete(reason, detail string) {
	if err := checkStale(discovery.Stale{Reason: reason, Detail: detail}); err != nil {
		r.t.Errorf("Incomplete(%q, %q): %v", reason, detail, err)
	}
	r.take("Incomplete "+reason, func(*State) {
		if r.named == nil {
			r.t.Errorf("Incomplete(%q, %q) is called outside of a listing", reason, detail)
			return
		}
		r.named.incomplete = true
	})
}

// Service keeps the service's state.
func (r *Recorder) Service(svc discovery.Service) {
	if err := CheckService(svc); err != nil {
		r.t.Errorf("Service(%q): %v", svc.Name, err)
	}
	r.take("Service "+svc.Name, func(s *State) {
		r.handed = append(r.handed, handed{svc, clone(svc)})
		if svc = svc.Keep(s.Services[svc.Name]); svc.Empty() {
			delete(s.Services, svc.Name)
		} else {
			s.Services[svc.Name] = svc
		}
		if r.named != nil {
			r.named.services[svc.Name] = true
		}
	})
}

// Route keeps the route.
func (r *Recorder) Route(rt discovery.Route) {
	if err := checkRoute(rt); err != nil {
		r.t.Errorf("Route(%q): %v", rt.Name, err)
	}
	r.take("Route "+rt.Name, func(s *State) {
		if rt = rt.Keep(s.Routes[rt.Name]); rt.Service != "" {
			s.Routes[rt.Name] = rt
		}
		if r.named != nil {
			r.named.routes[rt.Name] = true
		}
	})
}

// RemoveRoute drops the route.
func (r *Recorder) RemoveRoute(name string) {
	r.take("RemoveRoute "+name, func(s *State) { delete(s.Routes, name) })
}

// Reject keeps the problem.
func (r *Recorder) Reject(p discovery.Problem) {
	if err := checkProblem(p); err != nil {
		r.t.Errorf("Reject(%q): %v", p.Key, err)
	}
	r.take("Reject "+p.Key, func(s *State) {
		s.Problems[p.Key] = p
		if r.named != nil {
			r.named.problems[p.Key] = true
		}
	})
}

// Accept drops the problem.
func (r *Recorder) Accept(key string) {
	r.take("Accept "+key, func(s *State) { delete(s.Problems, key) })
}

// Synced ends an outage and a resync; what that did not name is dropped.
func (r *Recorder) Synced() {
	r.take("Synced", func(s *State) {
		s.InStep, s.Err = true, nil
		if n := r.named; n != nil {
			if !n.incomplete {
				prune(s.Services, n.services)
				prune(s.Routes, n.routes)
			}
			prune(s.Problems, n.problems)
			r.named = nil
		}
	})
}

// Failed keeps the error.
func (r *Recorder) Failed(err error) {
	if err == nil {
		r.t.Error("Failed(nil): an outage has a reason")
	}
	r.take("Failed", func(s *State) {
		s.InStep, s.Err = false, err
		s.Failures = append(s.Failures, err)
	})
}

func prune[V any](m map[string]V, named map[string]bool) {
	maps.DeleteFunc(m, func(k string, _ V) bool { return !named[k] })
}

// checkUnchanged fails the test when a service was changed after it was handed over.
func (r *Recorder) checkUnchanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.handed {
		if !h.given.Equal(h.copied) {
			r.t.Errorf("service %q was changed after it was handed over:\n%+v\nwas\n%+v", h.copied.Name, h.given, h.copied)
		}
	}
}
