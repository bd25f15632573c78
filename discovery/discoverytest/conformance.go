package discoverytest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

// Conformance checks that the sources of a store keep the contract of package discovery. It asks for a new harness in
// each subtest.
func Conformance(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"AnEmptyStoreIsInStep", emptyStore},
		{"TheNameIsALabel", nameIsLabel},
		{"TheFirstListingNamesAllBackends", firstListing},
		{"ABackendPutLaterIsAnnounced", putLater},
		{"AServiceIsAnnouncedWhole", whole},
		{"AChangedBackendIsAnnounced", changed},
		{"ARemovedBackendIsWithdrawn", removed},
		{"TheLastBackendRemovedLeavesNothing", removedLast},
		{"AChangeNamesNoOtherService", proportional},
		{"RunEndsWithItsContext", runEnds},
		{"RunEndsWithItsContextBeforeItIsInStep", runEndsEarly},
		{"ASecondRunResyncs", secondRun},
		{"TwoSourcesSeeTheSame", twoSources},
		{"ADrainIsAnnounced", drained},
		{"WhatCannotBeReadIsRejectedAlone", rejectedAlone},
		{"WhatWasMendedIsAccepted", mended},
		{"WhatCannotBeReadAndIsRemovedIsAccepted", spoiledRemoved},
		{"ASpoiledBackendKeepsOrLosesItsLastState", spoiledLater},
		{"WhatIsKeptIsMarkedStaleUntilItIsMended", staleUntilMended},
		{"WhatIsKeptStaysInAResync", staleInResync},
		{"AnOutageAtTheStartIsToldAndEnds", brokenStart},
		{"AnOutageWithdrawsNothing", outage},
		{"WhatChangedInAnOutageIsSeenAfterIt", changedInOutage},
		{"RunEndsInAnOutage", runEndsInOutage},
		{"AStoreThatForgotIsFollowedAnew", amnesia},
		{"APolicyIsPartOfItsService", policy},
		{"ABadPolicyIsRejected", badPolicy},
		{"ARouteIsAnnouncedAndWithdrawn", route},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c.test(&fixture{T: t, ctx: ctx, h: harness(t), rec: NewRecorder(t)})
		})
	}
}

// fixture is a store and a sink for one test.
type fixture struct {
	*testing.T
	ctx context.Context
	h   Harness
	rec *Recorder
}

func (f *fixture) start() (stop func()) {
	f.Helper()
	return Start(f.T, f.h.Source(f.T), f.rec)
}

// startInStep starts a source and waits until it is in step.
func (f *fixture) startInStep() State {
	f.Helper()
	f.start()
	return f.rec.AwaitInStep(f.ctx)
}

// need is the harness as something that it may not be; then the test is skipped.
func need[H any](f *fixture) H {
	h, ok := f.h.(H)
	if !ok {
		f.Skipf("the store has no such ability: %T", *new(H))
	}
	return h
}

// has is the condition that a service has just these backends.
func has(service string, want ...discovery.Backend) func(State) bool {
	return func(s State) bool { return sameBackends(s.Backends(service), want) }
}

// sameBackends compares what every store can announce.
func sameBackends(got, want []discovery.Backend) bool {
	return slices.EqualFunc(got, want, func(a, b discovery.Backend) bool {
		return a.ID == b.ID && a.URL == b.URL && a.Weight == b.Weight && a.Draining == b.Draining
	})
}

func inStep(cond func(State) bool) func(State) bool {
	return func(s State) bool { return s.InStep && cond(s) }
}

func both(a, b func(State) bool) func(State) bool {
	return func(s State) bool { return a(s) && b(s) }
}

var (
	b1 = Backend("b1", "10.0.0.1:8080")
	b2 = Backend("b2", "10.0.0.2:8080")
	b3 = Backend("b3", "10.0.0.3:8080")
)

func emptyStore(f *fixture) {
	s := f.startInStep()
	if len(s.Services)+len(s.Routes)+len(s.Problems) > 0 {
		f.Errorf("an empty store announces something:\n%v", s)
	}
	if len(s.Resyncs) == 0 || s.Resyncs[0] != "start" {
		f.Errorf("resyncs are %v, want the first to be start", s.Resyncs)
	}
}

func nameIsLabel(f *fixture) {
	if err := discovery.CheckName(f.h.Source(f.T).Name()); err != nil {
		f.Error(err)
	}
}

func firstListing(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	f.h.Put(f.T, "api", b3)
	s := f.startInStep()
	if !sameBackends(s.Backends("web"), []discovery.Backend{b1, b2}) || !sameBackends(s.Backends("api"), []discovery.Backend{b3}) {
		f.Errorf("web must have b1 and b2, api b3, when the source is first in step:\n%v", s)
	}
	if len(s.Services) != 2 {
		f.Errorf("there must be no other service:\n%v", s)
	}
}

func putLater(f *fixture) {
	f.startInStep()
	f.h.Put(f.T, "web", b1)
	f.rec.Await(f.ctx, has("web", b1))
}

func whole(f *fixture) {
	f.h.Put(f.T, "web", b2)
	f.startInStep()
	f.h.Put(f.T, "web", b3)
	f.rec.Await(f.ctx, has("web", b2, b3))
	f.h.Put(f.T, "web", b1)
	f.rec.Await(f.ctx, has("web", b1, b2, b3))
}

func changed(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.startInStep()
	next := Backend("b1", "10.0.0.9:9090")
	next.Weight = 7
	f.h.Put(f.T, "web", next)
	f.rec.Await(f.ctx, has("web", next))
}

func removed(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	f.startInStep()
	f.h.Remove(f.T, "web", "b1")
	f.rec.Await(f.ctx, has("web", b2))
}

func removedLast(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "api", b2)
	f.startInStep()
	f.h.Remove(f.T, "web", "b1")
	s := f.rec.Await(f.ctx, inStep(func(s State) bool { _, ok := s.Services["web"]; return !ok }))
	if !has("api", b2)(s) {
		f.Errorf("api must be untouched:\n%v", s)
	}
}

func proportional(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "api", b2)
	before := f.startInStep()
	f.h.Put(f.T, "web", b3)
	s := f.rec.Await(f.ctx, has("web", b1, b3))
	if len(s.Resyncs) > len(before.Resyncs) {
		f.Skip("the store has no smaller change than a resync")
	}
	if slices.Contains(s.Calls[len(before.Calls):], "Service api") {
		f.Errorf("a change of web alone named api:\n%v", s)
	}
}

func runEnds(f *fixture) {
	f.h.Put(f.T, "web", b1)
	stop := f.start()
	f.rec.AwaitInStep(f.ctx)
	stop()
	calls := len(f.rec.State().Calls)
	f.h.Put(f.T, "web", b2)
	if s := f.rec.State(); len(s.Calls) != calls {
		f.Errorf("the sink was called after Run had returned:\n%v", s)
	}
}

func runEndsEarly(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.start()()
	if s := f.rec.State(); s.Err != nil {
		f.Errorf("the end of the context is no outage, but Failed was called: %v", s.Err)
	}
}

func secondRun(f *fixture) {
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	src := f.h.Source(f.T)
	stop := Start(f.T, src, f.rec)
	f.rec.Await(f.ctx, inStep(has("web", b1, b2)))
	stop()
	f.h.Remove(f.T, "web", "b1")
	Start(f.T, src, f.rec)
	f.rec.Await(f.ctx, inStep(has("web", b2)))
}

func twoSources(f *fixture) {
	f.startInStep()
	other := NewRecorder(f.T)
	Start(f.T, f.h.Source(f.T), other)
	f.h.Put(f.T, "web", b1)
	f.rec.Await(f.ctx, has("web", b1))
	other.Await(f.ctx, has("web", b1))
}

func drained(f *fixture) {
	h := need[Drainer](f)
	f.h.Put(f.T, "web", b1)
	f.startInStep()
	h.Drain(f.T, "web", b1)
	gone := b1
	gone.Draining = true
	f.rec.Await(f.ctx, has("web", gone))
	f.h.Put(f.T, "web", b1)
	f.rec.Await(f.ctx, has("web", b1))
}

// problem is the condition that a problem stands, or does not.
func problem(key string, want bool) func(State) bool {
	return func(s State) bool { _, ok := s.Problems[key]; return ok == want }
}

func rejectedAlone(f *fixture) {
	h := need[Spoiler](f)
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "api", b2)
	before := h.Spoil(f.T, "web", "bad1")
	f.start()
	f.rec.Await(f.ctx, inStep(both(problem(before, true), both(has("web", b1), has("api", b2)))))
	after := h.Spoil(f.T, "web", "bad2")
	f.rec.Await(f.ctx, problem(after, true))
	f.h.Put(f.T, "web", b3)
	s := f.rec.Await(f.ctx, has("web", b1, b3))
	if !problem(before, true)(s) || !problem(after, true)(s) || !has("api", b2)(s) {
		f.Errorf("both problems and api must stand:\n%v", s)
	}
	if d := s.Problems[after].Detail; strings.TrimSpace(d) == "" {
		f.Error("the problem has no detail")
	}
}

func mended(f *fixture) {
	h := need[Spoiler](f)
	key := h.Spoil(f.T, "web", "b1")
	f.start()
	f.rec.Await(f.ctx, inStep(problem(key, true)))
	f.h.Put(f.T, "web", b1)
	f.rec.Await(f.ctx, both(problem(key, false), has("web", b1)))
}

func spoiledRemoved(f *fixture) {
	h := need[Spoiler](f)
	f.h.Put(f.T, "web", b2)
	f.startInStep()
	key := h.Spoil(f.T, "web", "b1")
	f.rec.Await(f.ctx, problem(key, true))
	f.h.Remove(f.T, "web", "b1")
	f.rec.Await(f.ctx, both(problem(key, false), has("web", b2)))
}

func spoiledLater(f *fixture) {
	h := need[Spoiler](f)
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	f.startInStep()
	key := h.Spoil(f.T, "web", "b1")
	want := []discovery.Backend{b2}
	if h.KeepsLast() {
		want = []discovery.Backend{b1, b2}
	}
	f.rec.Await(f.ctx, both(problem(key, true), has("web", want...)))
	f.h.Remove(f.T, "web", "b1")
	f.rec.Await(f.ctx, both(problem(key, false), has("web", b2)))
}

// staleBackend is the condition that of a service just this backend is marked as stale; none if the ID is empty.
func staleBackend(service, id string) func(State) bool {
	return func(s State) bool {
		marks := s.Services[service].Stale
		if id == "" {
			return len(marks) == 0
		}
		return len(marks) == 1 && marks[0].Part == discovery.StaleBackend && marks[0].ID == id
	}
}

// keeper is the harness of a store whose sources keep what was known of an item that cannot be read.
func keeper(f *fixture) Spoiler {
	h := need[Spoiler](f)
	if !h.KeepsLast() {
		f.Skip("the source withdraws what cannot be read any more")
	}
	return h
}

func staleUntilMended(f *fixture) {
	h := keeper(f)
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	f.h.Put(f.T, "api", b3)
	f.startInStep()
	key := h.Spoil(f.T, "web", "b1")
	s := f.rec.Await(f.ctx, both(problem(key, true), staleBackend("web", "b1")))
	if !has("web", b1, b2)(s) || !staleBackend("api", "")(s) {
		f.Errorf("web must have b1 as it was and b2, and b1 alone be stale:\n%v", s)
	}
	mark, p := s.Services["web"].Stale[0], s.Problems[key]
	if mark.Reason != p.Code || !strings.HasPrefix(p.Detail, mark.Detail) {
		f.Errorf("the mark is %+v, want the reason of the problem %+v", mark, p)
	}
	next := Backend("b2", "10.0.0.4:8080")
	f.h.Put(f.T, "web", next) // what can be read goes on beside it
	f.rec.Await(f.ctx, both(staleBackend("web", "b1"), has("web", b1, next)))
	mended := Backend("b1", "10.0.0.5:8080")
	f.h.Put(f.T, "web", mended)
	f.rec.Await(f.ctx, both(problem(key, false), both(staleBackend("web", ""), has("web", mended, next))))
	h.Spoil(f.T, "web", "b2")
	f.rec.Await(f.ctx, staleBackend("web", "b2"))
	f.h.Remove(f.T, "web", "b2")
	f.rec.Await(f.ctx, both(staleBackend("web", ""), has("web", mended)))
}

func staleInResync(f *fixture) {
	h := keeper(f)
	b := need[Breaker](f)
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	f.startInStep()
	key := h.Spoil(f.T, "web", "b1")
	f.rec.Await(f.ctx, both(problem(key, true), staleBackend("web", "b1")))
	b.Break(f.T)
	f.rec.Await(f.ctx, failed)
	b.Heal(f.T)
	f.rec.Await(f.ctx, inStep(both(staleBackend("web", "b1"), has("web", b1, b2))))
}

func failed(s State) bool { return s.Err != nil }

func brokenStart(f *fixture) {
	h := need[Breaker](f)
	f.h.Put(f.T, "web", b1)
	h.Break(f.T)
	f.start()
	if s := f.rec.Await(f.ctx, failed); s.InStep || len(s.Services) > 0 {
		f.Errorf("a store that cannot be reached announces nothing:\n%v", s)
	}
	h.Heal(f.T)
	s := f.rec.Await(f.ctx, inStep(has("web", b1)))
	if s.Resyncs[0] != "start" {
		f.Errorf("resyncs are %v, want the first to be start", s.Resyncs)
	}
}

func outage(f *fixture) {
	h := need[Breaker](f)
	f.h.Put(f.T, "web", b1)
	before := f.startInStep()
	h.Break(f.T)
	s := f.rec.Await(f.ctx, failed)
	if !has("web", b1)(s) {
		f.Errorf("web must stay as it was:\n%v", s)
	}
	h.Heal(f.T)
	s = f.rec.Await(f.ctx, inStep(has("web", b1)))
	for _, c := range s.Calls[len(before.Calls):] {
		if strings.HasPrefix(c, "RemoveRoute") || strings.HasPrefix(c, "Accept") {
			f.Errorf("the outage withdrew something: %v", s.Calls)
		}
	}
}

func changedInOutage(f *fixture) {
	h := need[Breaker](f)
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "web", b2)
	f.h.Put(f.T, "api", b1)
	f.startInStep()
	h.Break(f.T)
	f.rec.Await(f.ctx, failed)
	f.h.Put(f.T, "web", b3)
	f.h.Remove(f.T, "web", "b1")
	f.h.Remove(f.T, "api", "b1")
	h.Heal(f.T)
	s := f.rec.Await(f.ctx, inStep(has("web", b2, b3)))
	if _, ok := s.Services["api"]; ok {
		f.Errorf("api was removed while the store was away:\n%v", s)
	}
}

func runEndsInOutage(f *fixture) {
	h := need[Breaker](f)
	h.Break(f.T)
	stop := f.start()
	f.rec.Await(f.ctx, failed)
	stop()
}

func amnesia(f *fixture) {
	h := need[Amnesiac](f)
	f.h.Put(f.T, "web", b1)
	f.h.Put(f.T, "old", b2)
	f.startInStep()
	h.Forget(f.T)
	f.h.Put(f.T, "web", b3)
	s := f.rec.Await(f.ctx, inStep(has("web", b3)))
	if _, ok := s.Services["old"]; ok {
		f.Errorf("old is not in the store any more:\n%v", s)
	}
	f.h.Put(f.T, "web", b1)
	f.rec.Await(f.ctx, has("web", b1, b3))
}

func hasPolicy(service string, want []byte) func(State) bool {
	return func(s State) bool { return string(s.Services[service].Policy) == string(want) }
}

func policy(f *fixture) {
	h := need[PolicyKeeper](f)
	a, b, _ := h.Policies()
	f.h.Put(f.T, "web", b1)
	h.PutPolicy(f.T, "web", a)
	s := f.startInStep()
	if !hasPolicy("web", a)(s) || !has("web", b1)(s) {
		f.Errorf("web must have b1 and the policy:\n%v", s)
	}
	h.PutPolicy(f.T, "web", b)
	f.rec.Await(f.ctx, both(hasPolicy("web", b), has("web", b1)))
	h.PutPolicy(f.T, "web", nil)
	f.rec.Await(f.ctx, both(hasPolicy("web", nil), has("web", b1)))
}

func badPolicy(f *fixture) {
	h := need[PolicyKeeper](f)
	a, _, bad := h.Policies()
	if bad == nil {
		f.Skip("the source rejects no policy")
	}
	f.h.Put(f.T, "web", b1)
	h.PutPolicy(f.T, "web", a)
	f.startInStep()
	h.PutPolicy(f.T, "web", bad)
	s := f.rec.Await(f.ctx, func(s State) bool { return len(s.Problems) == 1 })
	for _, p := range s.Problems {
		if p.Code != discovery.CodeBadPolicy {
			f.Errorf("the code is %q, want %q", p.Code, discovery.CodeBadPolicy)
		}
	}
	if !hasPolicy("web", a)(s) || !has("web", b1)(s) {
		f.Errorf("the last good policy must stay:\n%v", s)
	}
	h.PutPolicy(f.T, "web", a)
	f.rec.Await(f.ctx, func(s State) bool { return len(s.Problems) == 0 })
}

func route(f *fixture) {
	h := need[RouteKeeper](f)
	a := discovery.Route{Name: "a", Host: "a.example", Path: "/x", Service: "web"}
	b := discovery.Route{Name: "b", Path: "/b", Service: "api"}
	h.PutRoute(f.T, a)
	s := f.startInStep()
	if !s.Routes["a"].Equal(a) {
		f.Errorf("route a is %+v, want %+v", s.Routes["a"], a)
	}
	h.PutRoute(f.T, b)
	f.rec.Await(f.ctx, func(s State) bool { return s.Routes["b"].Equal(b) })
	h.RemoveRoute(f.T, "a")
	s = f.rec.Await(f.ctx, func(s State) bool { return len(s.Routes) == 1 })
	if !s.Routes["b"].Equal(b) {
		f.Errorf("route b must stay:\n%v", s)
	}
}
