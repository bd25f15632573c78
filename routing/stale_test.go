package routing

import (
	"slices"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

func (w *world) source(name string) SourceStatus {
	for _, s := range w.Status().Sources {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("there is no source %s", name)
	return SourceStatus{}
}

func TestAStaleServiceStaysAsItWas(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		a := w.Sink("a")
		a.Resync("start")
		a.Service(svc("web", "b1", "b2"))
		a.Service(svc("api", "b1"))
		a.Synced()
		w.settle()
		a.Resync("reconnect")
		a.Service(discovery.Service{Name: "web", Stale: []discovery.Stale{{Part: discovery.StaleService, Reason: discovery.CodeQueryFailed, Detail: "timeout"}}})
		a.Synced()
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"b1", "b2"}) {
			t.Errorf("web has %v, want what was known", got)
		}
		if got := w.ready("api"); len(got) != 0 {
			t.Errorf("api, which the complete listing did not name, has %v", got)
		}
		if s := w.source("a"); s.StaleItems != 1 || s.Stale[0].Service != "web" || s.Stale[0].Reason != discovery.CodeQueryFailed {
			t.Errorf("stale are %+v", s.Stale)
		}
		a.Service(svc("web", "b2"))
		w.settle()
		if s := w.source("a"); s.StaleItems != 0 {
			t.Errorf("after a new announcement stale are %+v", s.Stale)
		}
		if got := w.ready("web"); !slices.Equal(got, []string{"b2"}) {
			t.Errorf("web has %v, want what was announced", got)
		}
	})
}

func TestAnIncompleteListingTakesNothingAway(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		a := w.Sink("a")
		a.Resync("start")
		a.Service(svc("web", "b1"))
		a.Service(svc("api", "b1"))
		a.Route(discovery.Route{Name: "r", Host: "r.test", Service: "api"})
		a.Synced()
		a.Resync("reconnect")
		a.Incomplete(discovery.CodeFiltered, "the token may not read all services")
		a.Service(svc("web", "b2"))
		a.Synced()
		w.settle()
		if web, api := w.ready("web"), w.ready("api"); !slices.Equal(web, []string{"b2"}) || !slices.Equal(api, []string{"b1"}) {
			t.Errorf("web has %v and api %v", web, api)
		}
		w.wantMatch("r.test", "/", "api")
		if s := w.source("a"); s.StaleItems != 2 || s.Stale[0].Service != "api" || s.Stale[1].Route != "r" {
			t.Errorf("stale are %+v", s.Stale)
		}
		a.Resync("reconnect")
		a.Service(svc("web", "b2"))
		a.Synced()
		w.settle()
		if s := w.source("a"); s.StaleItems != 0 || len(w.ready("api")) != 0 {
			t.Errorf("after a complete listing stale are %+v, api has %v", s.Stale, w.ready("api"))
		}
	})
}

func TestStalenessCountsFromWhenTheSourceWasInStep(t *testing.T) {
	inWorld(t, Options{Sources: []string{"a", "config"}, Own: "config"}, func(w *world) {
		made := time.Now()
		time.Sleep(3 * time.Second)
		st := w.Status()
		if got := st.Sources[0].Staleness(time.Now(), st.Made); got != 3*time.Second || !st.Made.Equal(made) {
			t.Errorf("a source never in step is stale for %v, want the time since the start", got)
		}
		w.Sink("a").Synced()
		time.Sleep(time.Second)
		if s := w.source("a"); s.Staleness(time.Now(), made) != time.Second {
			t.Errorf("a second after it was in step it is stale for %v", s.Staleness(time.Now(), made))
		}
		if s := w.source("config"); s.Staleness(time.Now(), made) != 0 {
			t.Errorf("the configuration is stale for %v", s.Staleness(time.Now(), made))
		}
	})
}
