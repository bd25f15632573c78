package routing

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/internal/steady"
)

// withPolicy is the table of one service s under a policy, after another table.
func withPolicy(prev *Table, policy Policy, names ...string) *Table {
	ch := change(svc("s", names...))
	ch.policy = &policy
	table, retired := build(prev, changes{services: []serviceChange{ch}})
	(&Catalog{}).publish(table, prev, retired)
	return table
}

// picked counts how often each backend is picked of so many.
func picked(s *Service, n int) map[string]int {
	got := map[string]int{}
	for k := range n {
		got[s.Runtime.Ready().Pick(balance.Query{Key: balance.HashNumber(uint64(k))}).ID]++
	}
	return got
}

var slowly = Policy{SlowStart: 20 * time.Second}

func TestBackendsOfTheFirstTableStartAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withPolicy(&Table{}, slowly, "a", "b").Service("s")
		if got := picked(s, 100); got["a"] != 50 {
			t.Errorf("picked %v", got)
		}
		// So do those that are probed only after others were: all are new.
		s.Backend("b").State.SetHealth(backend.Down)
		time.Sleep(time.Second)
		s.Backend("b").State.SetHealth(backend.Up)
		if got := picked(s, 100); got["b"] != 50 {
			t.Errorf("a second after the start picked %v", got)
		}
	})
}

func TestABackendThatComesBackGetsMoreStepByStep(t *testing.T) {
	for _, a := range balance.Algorithms {
		t.Run(string(a), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policy := slowly
				policy.Algorithm = a
				s := withPolicy(&Table{}, policy, "a", "b").Service("s")
				for _, b := range s.Backends {
					b.State.Latency.Observe(steady.Millis(time.Now()), time.Millisecond)
				}
				synctest.Wait()
				time.Sleep(time.Minute)
				s.Backend("b").State.SetHealth(backend.Down)
				s.Backend("b").State.SetHealth(backend.Up)
				last := 0
				if set := s.Runtime.Ready(); !set.Weighed() || set.Weight(0) != 10*set.Weight(1) && !a.Consistent() {
					t.Errorf("weights at first are %d and %d", set.Weight(0), set.Weight(1))
				}
				for range 4 {
					time.Sleep(5*time.Second - time.Millisecond)
					synctest.Wait()
					// Those that go by what is in flight fill up by weight, the others are picked so.
					n := fill(s, 1000)["b"]
					if n <= last {
						t.Errorf("it got %d of 1000 after it had got %d", n, last)
					}
					last = n
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if s.Runtime.Ready().Weighed() {
					t.Error("the slow start does not end")
				}
			})
		})
	}
}

// fill picks while what was picked stays in flight, and takes it back afterwards.
func fill(s *Service, n int) map[string]int {
	got := map[string]int{}
	var busy []*Backend
	for k := range n {
		b := s.Runtime.Ready().Pick(balance.Query{Key: balance.HashNumber(uint64(k)), Now: steady.Millis(time.Now())})
		b.State.Begin()
		busy = append(busy, b)
		got[b.ID]++
	}
	for _, b := range busy {
		b.State.End()
	}
	return got
}

func TestANewBackendStartsSlowlyAndATableDoesNotStartItAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := withPolicy(&Table{}, slowly, "a")
		time.Sleep(time.Minute)
		table = withPolicy(table, slowly, "a", "b")
		if got := picked(table.Service("s"), 110); got["b"] != 10 {
			t.Errorf("a new backend got %v", got)
		}
		time.Sleep(10 * time.Second)
		table = withPolicy(table, slowly, "a", "b", "c")
		if set := table.Service("s").Runtime.Ready(); set.Weight(1) != set.Weight(0)/2 || set.Weight(2) != set.Weight(0)/10 {
			t.Errorf("weights %d, %d, %d", set.Weight(0), set.Weight(1), set.Weight(2))
		}
		time.Sleep(time.Minute)
	})
}

func TestReadySetsAreMadeAtABoundedRateWhileOneStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withPolicy(&Table{}, slowly, "a", "b").Service("s")
		time.Sleep(time.Minute)
		s.Backend("b").State.SetHealth(backend.Down)
		s.Backend("b").State.SetHealth(backend.Up)
		sets, last := 0, s.Runtime.Ready()
		for range 3000 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if now := s.Runtime.Ready(); now != last {
				sets, last = sets+1, now
			}
		}
		if sets > rampSteps+1 || sets < rampSteps/2 {
			t.Errorf("%d ready sets were made, want about %d", sets, rampSteps)
		}
	})
}

func TestAGoneServiceStartsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := withPolicy(&Table{}, slowly, "a")
		time.Sleep(time.Minute)
		table = withPolicy(table, slowly, "a", "b")
		next, retired := build(table, changes{services: []serviceChange{{name: "s", gone: true}}})
		(&Catalog{}).publish(next, table, retired)
		time.Sleep(time.Minute) // a timer that is left would keep the bubble busy
	})
}

func TestPanicHasAllTakePartThatAreTo(t *testing.T) {
	for _, c := range []struct {
		name      string
		threshold float64
		down      []string
		want      []string
		panics    bool
	}{
		{"none left", 0, []string{"a", "b", "c", "d"}, []string{"a", "b", "c", "d"}, true},
		{"one left", 0, []string{"a", "b", "c"}, []string{"d"}, false},
		{"as many as the threshold", 0.5, []string{"a", "b"}, []string{"c", "d"}, false},
		{"fewer than the threshold", 0.5, []string{"a", "b", "c"}, []string{"a", "b", "c", "d"}, true},
		{"never", -1, []string{"a", "b", "c", "d"}, nil, false},
	} {
		s := withPolicy(&Table{}, Policy{PanicThreshold: c.threshold}, "a", "b", "c", "d").Service("s")
		for _, id := range c.down {
			s.Backend(id).State.SetHealth(backend.Down)
		}
		set := s.Runtime.Ready()
		if set.Panic != c.panics || !slices.Equal(ids(set.Backends), append([]string{}, c.want...)) {
			t.Errorf("%s: panic %t, ready %v, want %t, %v", c.name, set.Panic, ids(set.Backends), c.panics, c.want)
		}
		if got := len(set.Healthy); got != 4-len(c.down) {
			t.Errorf("%s: %d are healthy", c.name, got)
		}
	}
}

func TestPanicLeavesOutWhoIsNotToTakePart(t *testing.T) {
	announced := svc("s", "a", "b", "c", "d")
	announced.Backends[1].Draining = true
	announced.Backends[2].Weight = 0
	ch := change(announced)
	ch.policy = &Policy{Breaker: breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}}
	table, _ := build(&Table{}, changes{services: []serviceChange{ch}})
	(&Catalog{}).publish(table, &Table{}, nil)
	s := table.Service("s")
	permit, _ := s.Backend("d").State.Breaker.Allow(time.Now())
	s.Backend("d").State.Breaker.Done(permit, time.Now(), breaker.Failure)
	defer s.Backend("d").State.Retire()
	s.Backend("a").State.SetHealth(backend.Down)
	wantReady(t, s, "a")
	if set := s.Runtime.Ready(); !set.Panic || set.Taking != 2 {
		t.Errorf("panic %t of %d", set.Panic, set.Taking)
	}
}

func TestPanicIsToldOnceWhenItBeginsAndEnds(t *testing.T) {
	var told []Panic
	inWorld(t, Options{Panicked: func(service string, p Panic) {
		if service != "s" {
			t.Errorf("told of %s", service)
		}
		told = append(told, p)
	}}, func(w *world) {
		sink := w.Sink("a")
		sink.Service(svc("s", "a", "b"))
		sink.Synced()
		w.settle()
		s := w.Table().Service("s")
		s.Backend("a").State.SetHealth(backend.Down)
		s.Backend("b").State.SetHealth(backend.Down)
		s.Runtime.changed(nil)
		s.Backend("a").State.SetHealth(backend.Up)
		s.Backend("b").State.SetHealth(backend.Up)
	})
	if want := []Panic{{true, 0, 2}, {false, 1, 2}}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestASubsetIsAllThatIsUsed(t *testing.T) {
	var names []string
	for _, b := range named(100) {
		names = append(names, b.ID)
	}
	ch := change(svc("s", names...))
	ch.policy = &Policy{Subset: 10}
	table, _ := build(&Table{}, changes{services: []serviceChange{ch}})
	(&Catalog{env: &environment{here: Here{Index: 3, Of: 10}}}).publish(table, &Table{}, nil)
	s := table.Service("s")
	want := subset(s.Backends, 10, Here{Index: 3, Of: 10})
	if got := s.Runtime.Ready().Backends; !slices.Equal(got, want) || s.Runtime.Members() != len(want) {
		t.Errorf("ready are %v, want %v", ids(got), ids(want))
	}
}

func TestATableOfHashesFollowsTheBackendsAndIsNotMadeForAFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := Policy{Algorithm: balance.Maglev}
		table := withPolicy(&Table{}, policy, "a", "b", "c")
		if table.Service("s").Runtime.Ready().Pick(balance.Query{}) == nil {
			t.Error("nobody is picked before the table is made")
		}
		synctest.Wait()
		s := table.Service("s")
		made := s.Runtime.Ready().table
		if made == nil {
			t.Fatal("no table was made")
		}
		before := choices(s)
		s.Backend("a").State.SetHealth(backend.Down)
		for key, id := range choices(s) {
			if before[key] != "a" && before[key] != id {
				t.Fatalf("key %d moved from %s to %s", key, before[key], id)
			}
		}
		s.Backend("a").State.SetHealth(backend.Up)
		if s.Runtime.Ready().table != made {
			t.Error("another table was made for a flap")
		}
		time.Sleep(time.Minute)
		table = withPolicy(table, policy, "a", "b", "c", "d")
		synctest.Wait()
		if got := table.Service("s").Runtime.Ready().table; got == made || len(got.members) != 4 {
			t.Error("the table does not have the new backend")
		}
		// Two changes at once come to the last one's table.
		table = withPolicy(table, policy, "a", "b")
		table = withPolicy(table, policy, "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := table.Service("s").Runtime.Ready().table; len(got.members) != 1 {
			t.Errorf("the table has %d members", len(got.members))
		}
		withPolicy(table, Policy{Algorithm: balance.Random}, "a")
		if table.Service("s").Runtime.Ready().table != nil {
			t.Error("a table is kept that nobody asks")
		}
	})
}

// choices are the backends of some keys.
func choices(s *Service) map[uint64]string {
	out := map[uint64]string{}
	for k := range uint64(2000) {
		out[k] = s.Runtime.Ready().Pick(balance.Query{Key: balance.HashNumber(k)}).ID
	}
	return out
}
