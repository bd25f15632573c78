package routing

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// knowing is the state of a catalog that has seen a bit of everything.
func knowing(t *testing.T) (st State) {
	t.Helper()
	inWorld(t, Options{Sources: []string{"config", "a", "b"}, Own: "config"}, func(w *world) {
		w.Sink("config").Service(svc("own", "b1"))
		a := w.Sink("a")
		a.Resync("start")
		web := svc("web", "b1", "b2", "b3")
		web.Routes = []discovery.Route{{Name: "r", Host: "web.test", Service: "web"}}
		a.Service(web)
		gone := svc("gone", "b1")
		gone.Routes = []discovery.Route{{Name: "r", Host: "gone.test", Service: "gone"}}
		gone.Policy = []byte("policy")
		a.Service(gone)
		a.Route(discovery.Route{Name: "s", Host: "s.test", Service: "web"})
		a.Synced()
		w.Sink("b").Service(svc("api", "b1"))
		w.settle()
		a.Service(discovery.Service{Name: "gone"})
		five := 5
		for _, err := range []error{
			w.SetWeight("web", "b1", &five), w.SetDraining("web", "b2", true), w.RemoveBackend("web", "b3"),
			w.AddBackend("extra", be("x1")),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		w.settle()
		st = w.State()
	})
	return st
}

// timeless is a state without its times: those of another process, which began before, are in the future here.
func timeless(st State) State {
	st.Sources, st.Past = slices.Clone(st.Sources), slices.Clone(st.Past)
	for i := range st.Sources {
		st.Sources[i].Synced = time.Time{}
	}
	for i := range st.Past {
		st.Past[i].Since = time.Time{}
	}
	return st
}

func TestATimeOfAnotherProcessIsTakenAsOneBeforeNow(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ at, want time.Time }{
		{now.Round(0).Add(-time.Hour), now.Add(-time.Hour)},
		{now.Round(0).Add(time.Hour), now}, // by a clock that was set back since
		{time.Time{}, time.Time{}},
	} {
		if got := steadied(c.at, now); got != c.want {
			t.Errorf("%v is taken as %v, want %v", c.at, got, c.want)
		}
	}
}

func TestWhatWasKnownServesUntilTheSourceIsInStep(t *testing.T) {
	st := knowing(t)
	inWorldOf(t, st, Options{Sources: []string{"config", "a", "b"}, Own: "config"}, func(w *world) {
		w.settle()
		if ready, reasons := w.Ready(); !ready || len(reasons) != 3 || !strings.Contains(reasons[1], "snapshot") {
			t.Errorf("ready: %t, %v", ready, reasons)
		}
		if got := w.ready("web"); !slices.Equal(got, []string{"b1"}) {
			t.Errorf("web has %v, want the one that no operator took out", got)
		}
		if got := w.Table().Service("web").Backend("b1").Weight; got != 5 {
			t.Errorf("the operator's weight is %d", got)
		}
		if !slices.Equal(w.ready("extra"), []string{"x1"}) || !slices.Equal(w.ready("api"), []string{"b1"}) || w.Table().Service("own") != nil {
			t.Errorf("extra has %v, api %v", w.ready("extra"), w.ready("api"))
		}
		w.wantMatch("web.test", "/", "web")
		w.wantMatch("s.test", "/", "web")
		w.wantMatch("gone.test", "/", "gone")
		if s := w.Table().Service("gone"); s == nil || !s.Past || len(s.Backends) != 0 {
			t.Errorf("the service that nothing announced is %+v", s)
		}
		if s := w.source("a"); !s.Restored || s.Up || s.Synced.IsZero() || s.Services != 1 {
			t.Errorf("the status is %+v", s)
		}
		if got, want := timeless(w.State()), timeless(st); !reflect.DeepEqual(got, want) {
			t.Errorf("what is kept of it is\n%+v\nwant\n%+v", got, want)
		}

		// The sources come back one after another.
		a := w.Sink("a")
		a.Failed(errors.New("refused"))
		w.settle()
		a.Resync("start")
		a.Service(svc("web", "b1", "b4"))
		w.settle()
		w.wantMatch("s.test", "/", "web")
		a.Synced()
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"b1", "b4"}) {
			t.Errorf("web has %v, want what its source announces", got)
		}
		w.wantMatch("s.test", "/", "")
		if w.source("a").Restored || !w.source("b").Restored || !slices.Equal(w.ready("api"), []string{"b1"}) {
			t.Error("one source that is in step must change nothing of another")
		}
	})
}

func TestARestoredServiceIsForgottenInItsTime(t *testing.T) {
	st := knowing(t)
	inWorldOf(t, st, Options{Sources: []string{"a"}}, func(w *world) {
		w.settle()
		if w.Table().Service("gone") == nil {
			t.Fatal("it is not known at first")
		}
		time.Sleep(time.Hour)
		w.settle()
		if w.Table().Service("gone") != nil || len(w.State().Past) != 0 {
			t.Error("it is still known an hour later")
		}
		if w.Table().Service("web") == nil {
			t.Error("what a source announced is forgotten though the source is only away")
		}
	})
}

func TestAStoreThatIsFoundEmptyAfterARestartIsNotBelieved(t *testing.T) {
	var st State
	inWorld(t, Options{}, func(w *world) {
		announceFleet(w)
		st = w.State()
	})
	inWorldOf(t, st, Options{}, func(w *world) {
		w.settle()
		a := w.Sink("a")
		a.Resync("start")
		a.Synced()
		w.settle()
		if len(w.ready("web")) != 10 || w.source("a").Guard.Held != 20 {
			t.Errorf("web has %v, the guard is %+v", w.ready("web"), w.source("a").Guard)
		}
		// What is held is known still, should the balancer start anew.
		if now := w.State(); len(now.Sources[0].Services) != 2 || len(now.Sources[0].Routes) != 1 {
			t.Errorf("kept is %+v", now)
		}
	})
}

func TestAGuardThatWasRestoredLeavesOutWhatFailed(t *testing.T) {
	var st State
	inWorld(t, Options{}, func(w *world) {
		web := many("web", 0, 12)
		web.Backends[0].Failing, web.Backends[1].Failing = true, true
		w.Sink("a").Service(web)
		w.settle()
		st = w.State()
	})
	inWorldOf(t, st, Options{}, func(w *world) {
		a := w.Sink("a")
		a.Resync("start")
		a.Synced()
		w.settle()
		if g := w.source("a").Guard; g.Held != 10 || g.Of != 10 {
			t.Errorf("a store that is found empty: of %d backends %d are held, want 10 of 10", g.Of, g.Held)
		}
	})
}

func TestNothingRestoredIsNoTable(t *testing.T) {
	st := State{Sources: []SourceState{{Name: "a"}, {Name: "elsewhere", Services: []discovery.Service{svc("web", "b1")}}}}
	inWorldOf(t, st, Options{}, func(w *world) {
		w.settle()
		if ready, _ := w.Ready(); ready || w.Table().Service("web") != nil {
			t.Error("a state without anything of the sources makes the balancer ready")
		}
	})
}

func TestTheRevisionGrowsWithEveryChange(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		a, last := w.Sink("a"), w.Revision()
		grown := func(what string) {
			t.Helper()
			w.settle()
			if now := w.Revision(); now == last {
				t.Errorf("after %s it is still %d", what, now)
			} else {
				last = now
			}
		}
		a.Synced()
		grown("the first sign of life")
		a.Service(svc("web", "b1"))
		grown("a service")
		a.Route(discovery.Route{Name: "r", Service: "web"})
		grown("a route")
		if err := errors.Join(w.AddBackend("web", be("b2")), w.SetDraining("web", "b2", true)); err != nil {
			t.Error(err)
		}
		grown("an operator's change")
		a.Service(discovery.Service{Name: "web"})
		grown("a withdrawal")
		for range 3 {
			a.Synced()
			a.RemoveRoute("unknown")
			w.settle()
		}
		if now := w.Revision(); now != last {
			t.Errorf("signs of life alone have it grow from %d to %d", last, now)
		}
	})
}
