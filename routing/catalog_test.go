package routing

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
)

func TestANewCatalogHasAnEmptyTable(t *testing.T) {
	c := NewCatalog(Options{Sources: []string{"a"}, Resolve: plainPolicy})
	if c.Table() == nil || c.Table().Generation() != 0 || len(c.Table().Services()) != 0 {
		t.Errorf("table is %+v, want an empty one of generation 0", c.Table())
	}
	if ready, reasons := c.Ready(); ready || len(reasons) != 1 || !strings.Contains(reasons[0], "source a ") {
		t.Errorf("ready is %v, %q; want that source a is not in step", ready, reasons)
	}
}

func TestFirstSyncedPublishesEvenAnEmptyTable(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("b").Resync("start")
		w.Sink("b").Synced()
		w.settle()
		if n := len(w.published); n != 1 || w.Table().Generation() != 1 {
			t.Errorf("%d tables are published, the current one is %d; want one", n, w.Table().Generation())
		}
		ready, reasons := w.Ready()
		if !ready || len(reasons) != 1 || !strings.Contains(reasons[0], "source a ") {
			t.Errorf("ready is %v, %q; want true, and a named", ready, reasons)
		}
		w.Sink("a").Synced()
		w.settle()
		if ready, reasons := w.Ready(); !ready || len(reasons) != 0 || len(w.published) != 1 {
			t.Errorf("ready is %v, %q with %d tables; want true without reasons and one table", ready, reasons, len(w.published))
		}
	})
}

func TestSettingsAloneMakeNoFirstTable(t *testing.T) {
	inWorld(t, Options{CatchAll: "web"}, func(w *world) {
		w.Configure(Settings{Sources: []string{"a"}, CatchAll: "api", DefaultDomain: "lb.test"})
		w.settle()
		if n := len(w.published); n != 0 {
			t.Errorf("%d tables are published before anything was announced", n)
		}
		w.Sink("a").Service(svc("api", "1"))
		w.settle()
		w.wantMatch("any", "/", "api")
		w.wantMatch("api.lb.test", "/", "api")
	})
}

func TestATableFromASourceThatIsNotYetInStepServesButIsNotReady(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("a").Resync("start")
		w.Sink("a").Service(svc("web", "1"))
		w.settle()
		w.wantMatch("web", "/", "web")
		if ready, _ := w.Ready(); ready {
			t.Error("ready before any source was in step")
		}
		w.Sink("a").Synced()
		w.settle()
		if ready, _ := w.Ready(); !ready {
			t.Error("not ready though the source is in step")
		}
	})
}

func TestSourcesAreMergedByPrecedence(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		weak, strong := svc("web", "1", "2"), svc("web", "2", "3")
		weak.Backends[1].Weight = 7
		w.Sink("b").Service(weak)
		w.Sink("a").Service(strong)
		w.settle()
		got := w.Table().Service("web").Backends
		if !slices.Equal(ids(got), []string{"1", "2", "3"}) || got[1].Weight != 1 {
			t.Errorf("backends are %v, the second of weight %d; want 1, 2, 3 with a's weight 1", ids(got), got[1].Weight)
		}
		for i, want := range [][]string{{"b"}, {"a", "b"}, {"a"}} {
			if !slices.Equal(got[i].Sources, want) {
				t.Errorf("backend %s is announced by %v, want %v", got[i].ID, got[i].Sources, want)
			}
		}
		w.Sink("a").Service(discovery.Service{Name: "web"})
		w.settle()
		after := w.Table().Service("web").Backends
		if !slices.Equal(ids(after), []string{"1", "2"}) || after[1].Weight != 7 || after[1].State != got[1].State {
			t.Errorf("without a, backends are %v; want b's, with the record of 2 kept", ids(after))
		}
	})
}

func TestAResyncDropsWhatItDoesNotNameAndNotBeforeItsEnd(t *testing.T) {
	inWorld(t, Options{ForgetAfter: -1}, func(w *world) {
		a := w.Sink("a")
		a.Resync("start")
		a.Service(svc("one", "1"))
		a.Service(svc("two", "1"))
		a.Route(route("r1", "r1.test", "", "one"))
		a.Route(route("r2", "r2.test", "", "one"))
		a.Reject(discovery.Problem{Key: "k1", Code: discovery.CodeBadURL})
		a.Reject(discovery.Problem{Key: "k2", Code: discovery.CodeBadURL})
		a.Synced()
		w.Sink("b").Service(svc("two", "2"))
		w.Sink("b").Service(svc("three", "1"))
		w.settle()

		list := func() {
			a.Resync("compaction")
			a.Service(svc("one", "1"))
			a.Route(route("r1", "r1.test", "", "one"))
			a.Reject(discovery.Problem{Key: "k1", Code: discovery.CodeBadURL})
			w.settle()
		}
		check := func(when string, services, problems string, r2 string) {
			t.Helper()
			var names, keys []string
			for _, s := range w.Table().Services() {
				names = append(names, fmt.Sprint(s.Name, ids(s.Backends)))
			}
			for _, p := range w.Status().Sources[0].Problems {
				keys = append(keys, p.Key)
			}
			if got := strings.Join(names, " "); got != services {
				t.Errorf("%s the services are %s, want %s", when, got, services)
			}
			if got := strings.Join(keys, " "); got != problems {
				t.Errorf("%s the problems are %s, want %s", when, got, problems)
			}
			w.wantMatch("r1.test", "/", "one")
			w.wantMatch("r2.test", "/", r2)
		}
		before := len(w.published)
		list()
		check("while listing", "one[1] three[1] two[1 2]", "k1 k2", "one")
		list() // broken off and begun again
		a.Failed(errors.New("cut"))
		w.settle()
		check("after a failure", "one[1] three[1] two[1 2]", "k1 k2", "one")
		if len(w.published) != before {
			t.Errorf("%d tables were published for nothing new", len(w.published)-before)
		}
		list()
		a.Synced()
		w.settle()
		check("after it ended", "one[1] three[1] two[2]", "k1", "")
		a.Synced() // a sign of life
		w.settle()
		check("after a sign of life", "one[1] three[1] two[2]", "k1", "")
		if got := w.Status().Sources[0].Resyncs; got["start"] != 1 || got["compaction"] != 3 {
			t.Errorf("resyncs are %v", got)
		}
		if got := w.Status().Sources[0].Rejected; got[discovery.CodeBadURL] != 2 {
			t.Errorf("rejections are %v, want each counted once", got)
		}
		a.Accept("k1")
		a.Accept("unknown")
		a.RemoveRoute("r1")
		a.RemoveRoute("unknown")
		w.settle()
		if got := w.Status().Sources[0].Problems; len(got) != 0 {
			t.Errorf("problems are %v, want none", got)
		}
		w.wantMatch("r1.test", "/", "")
	})
}

func TestFailureChangesNothingButTheStatus(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("a").Service(svc("web", "1"))
		w.Sink("a").Synced()
		w.settle()
		table := w.Table()
		w.Sink("a").Failed(errors.New("gone away"))
		w.settle()
		if w.Table() != table {
			t.Error("a failure made another table")
		}
		st := w.Status().Sources[0]
		if st.Up || st.Err == nil || st.Synced.IsZero() || st.Services != 1 || st.Backends != 1 {
			t.Errorf("status is %+v, want down with its error and what it announced", st)
		}
		ready, reasons := w.Ready()
		if !ready || !strings.Contains(strings.Join(reasons, "; "), "source a is out of step: gone away") {
			t.Errorf("ready is %v, %q", ready, reasons)
		}
		w.Sink("a").Synced()
		if st := w.Status().Sources[0]; !st.Up || st.Err != nil {
			t.Errorf("status is %+v, want up", st)
		}
	})
}

func TestTheFirstChangeAfterQuietIsPublishedAtOnce(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		time.Sleep(time.Minute)
		w.Sink("a").Service(svc("web", "1"))
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.wantMatch("web", "/", "web")
	})
}

func TestABurstMakesOneTable(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		time.Sleep(time.Minute)
		for i := range 100 {
			w.Sink("a").Service(svc(fmt.Sprint("s", i), "1"))
			time.Sleep(100 * time.Microsecond)
		}
		w.settle()
		if n := len(w.published); n != 1 || len(w.Table().Services()) != 100 {
			t.Errorf("%d tables were published, the last with %d services; want 1 with 100", n, len(w.Table().Services()))
		}
	})
}

func TestNoChangeWaitsLongerThanItsBound(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		time.Sleep(time.Minute)
		start := time.Now()
		for i := 0; time.Since(start) < 500*time.Millisecond; i++ {
			w.Sink("a").Service(svc(fmt.Sprint("s", i), "1"))
			time.Sleep(500 * time.Microsecond)
			synctest.Wait()
			if have, told := len(w.Table().Services()), i+1; told-have > 101 {
				t.Fatalf("%d services are published of %d: the oldest of the rest waits longer than %v", have, told, maxWait)
			}
		}
		if n := len(w.published); n < 9 || n > 12 {
			t.Errorf("%d tables in 500 ms of changes without a pause, want about one in %v", n, maxWait)
		}
	})
}

func TestPendingIsDue(t *testing.T) {
	at := func(ms float64) time.Time { return time.Unix(1000, int64(ms*1e6)) }
	for _, c := range []struct {
		name                               string
		first, last, published, took, want float64
	}{
		{"first after quiet", 1000, 1000, 0, 9, 1001},
		{"more after quiet", 1000, 1004, 0, 9, 1005},
		{"first after a table made at once", 1000, 1000, 999, 0.1, 1001},
		{"first after a quick table", 1000, 1000, 999, 0.5, 1002},
		{"first after a slow table", 1000, 1000, 999, 9, 1005},
		{"more after a slow table", 1000, 1003, 950, 9, 1008},
		{"bound", 1000, 1049.9, 0, 9, 1050},
		{"bound after a slow table", 1000, 1047, 990, 9, 1050},
	} {
		p := pending{first: at(c.first), last: at(c.last)}
		if got := p.due(publication{at(c.published), time.Duration(c.took * 1e6)}); !got.Equal(at(c.want)) {
			t.Errorf("%s: due %v after the first, want %v", c.name, got.Sub(p.first), at(c.want).Sub(p.first))
		}
	}
}

func TestAServiceThatNothingAnnouncesIsKeptEmptyUntilItIsForgotten(t *testing.T) {
	inWorld(t, Options{ForgetAfter: time.Minute}, func(w *world) {
		s := svc("api", "1")
		s.Routes = []discovery.Route{{Name: "r", Host: "api.test"}}
		w.Sink("a").Service(s)
		w.Sink("a").Service(svc("default", "d"))
		w.settle()
		state := w.Table().Service("api").Backends[0].State
		runtime := w.Table().Service("api").Runtime

		w.Sink("a").Service(discovery.Service{Name: "api"})
		w.settle()
		w.wantMatch("api.test", "/", "api")
		if got := w.ready("api"); len(got) != 0 || !state.Retired() {
			t.Errorf("ready are %v, record retired: %v; want none, true", got, state.Retired())
		}
		time.Sleep(58 * time.Second)
		w.Sink("a").Service(s) // in time
		w.settle()
		if w.Table().Service("api").Runtime != runtime || !slices.Equal(w.ready("api"), []string{"1"}) {
			t.Error("a service that came back in time starts over")
		}
		time.Sleep(time.Hour)
		w.wantMatch("api.test", "/", "api")

		w.Sink("a").Service(discovery.Service{Name: "api"})
		time.Sleep(59 * time.Second)
		synctest.Wait()
		w.wantMatch("api.test", "/", "api")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.wantMatch("api.test", "/", "default")
		if w.Table().Service("api") != nil {
			t.Error("the service is still known")
		}
	})
}

func TestRoutesOfAVanishedServiceGiveWay(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		blue, green := svc("blue", "1"), svc("green", "1")
		blue.Routes = []discovery.Route{{Name: "r", Host: "h"}}
		green.Routes = blue.Routes
		w.Sink("a").Service(blue)
		w.settle()
		w.Sink("b").Service(green) // weaker
		w.settle()
		w.wantMatch("h", "/", "blue")
		w.Sink("a").Service(discovery.Service{Name: "blue"})
		w.settle()
		w.wantMatch("h", "/", "green")
		if ps := w.Table().Problems(); len(ps) != 0 {
			t.Errorf("problems are %v, want none", ps)
		}
	})
}

func TestPoliciesAreResolvedWhenTheirTextsChange(t *testing.T) {
	var resolved []string
	resolve := func(service string, texts []PolicyText) (Policy, []discovery.Problem) {
		call := service
		for _, x := range texts {
			call += fmt.Sprintf(" %s=%s", x.Source, x.Text)
		}
		resolved = append(resolved, call)
		p := Policy{Algorithm: balance.Random}
		if len(texts) > 0 && string(texts[0].Text) == "bad" {
			p.Algorithm = "nonsense"
			return p, []discovery.Problem{{Source: texts[0].Source, Code: discovery.CodeBadPolicy, Detail: "unreadable"}}
		}
		return p, nil
	}
	inWorld(t, Options{Resolve: resolve}, func(w *world) {
		s := svc("web", "1")
		s.Policy = []byte("x")
		w.Sink("b").Service(s)
		w.settle()
		first := w.Table().Service("web")
		s.Backends = svc("web", "1", "2").Backends
		w.Sink("b").Service(s)
		w.settle()
		w.Sink("a").Service(discovery.Service{Name: "web", Policy: []byte("bad")})
		w.settle()
		if got, want := strings.Join(resolved, "; "), "web b=x; web a=bad b=x"; got != want {
			t.Errorf("resolved %q, want %q", got, want)
		}
		if got := w.Table().Service("web").Policy.Algorithm; got != balance.RoundRobin {
			t.Errorf("the unknown algorithm became %s, want round-robin", got)
		}
		ps := w.Table().Problems()
		if len(ps) != 2 || ps[0].Key != "policy of service web" || ps[1].Source != "a" {
			t.Errorf("problems are %+v, want the resolver's and that of the algorithm", ps)
		}
		w.Sink("a").Service(discovery.Service{Name: "web"})
		w.settle()
		w.Configure(Settings{Sources: []string{"a", "b"}})
		before := w.Table()
		w.settle()
		if n := len(resolved); n != 4 {
			t.Errorf("resolved %d times, want once more by Configure", n)
		}
		if w.Table() != before || *first.Policy != *w.Table().Service("web").Policy {
			t.Error("an equal policy made another table")
		}
	})
}

func TestConfigureReordersAddsAndRemovesSources(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		early := w.Sink("c") // not configured yet
		early.Resync("start")
		early.Service(svc("c", "1"))
		early.Synced()
		heavy := svc("web", "1")
		heavy.Backends[0].Weight = 9
		w.Sink("a").Service(svc("web", "1"))
		w.Sink("b").Service(heavy)
		w.Sink("b").Service(svc("only-b", "1"))
		w.Sink("a").Route(route("r", "h", "", "web"))
		w.Sink("b").Route(route("r", "h", "", "only-b"))
		w.settle()
		w.wantMatch("h", "/", "web")
		if w.Table().Service("c") != nil {
			t.Error("an unknown source's announcement was taken")
		}
		w.Configure(Settings{Sources: []string{"b", "a", "c"}, DefaultDomain: "lb.test", CatchAll: "web"})
		w.settle()
		if got := w.Table().Service("web").Backends[0].Weight; got != 9 {
			t.Errorf("weight is %d, want the stronger b's 9", got)
		}
		w.wantMatch("h", "/", "only-b")
		w.wantMatch("nobody.test", "/", "web")
		early.Service(svc("c", "1"))
		w.settle()
		w.wantMatch("c.lb.test", "/", "c")
		w.wantMatch("c.localhost", "/", "web")
		w.Configure(Settings{Sources: []string{"a", "c"}})
		w.settle()
		if w.Table().Service("only-b") != nil || w.Table().Service("web").Backends[0].Weight != 1 {
			t.Error("what the removed source announced is still there")
		}
		w.wantMatch("h", "/", "web")
		w.wantMatch("nobody.test", "/", "")
		if got := w.Status().Sources; len(got) != 2 || got[0].Name != "a" || got[1].Name != "c" {
			t.Errorf("status is of %+v, want a and c", got)
		}
	})
}

func weight(w int) *int { return &w }

func TestOverrides(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("a").Service(svc("web", "1", "2"))
		w.settle()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			w.settle()
		}
		state := w.Table().Service("web").Backend("1").State
		must(w.SetWeight("web", "1", weight(0)))
		if got := w.ready("web"); !slices.Equal(got, []string{"2"}) {
			t.Errorf("ready are %v with 1 at weight 0", got)
		}
		w.Sink("a").Service(svc("web", "1", "2", "3")) // a new announcement takes no override back
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"2", "3"}) {
			t.Errorf("ready are %v with 1 at weight 0", got)
		}
		must(w.SetWeight("web", "1", nil))
		must(w.SetDraining("web", "2", true))
		if got := w.ready("web"); !slices.Equal(got, []string{"1", "3"}) || !w.Table().Service("web").Backend("2").Draining {
			t.Errorf("ready are %v with 2 in drain", got)
		}
		must(w.SetDraining("web", "2", false))
		must(w.RemoveBackend("web", "3"))
		if got := w.ready("web"); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("ready are %v with 3 removed", got)
		}
		must(w.AddBackend("web", discovery.Backend{ID: "3", URL: "10.0.0.1:80", Weight: 4}))
		b := w.Table().Service("web").Backend("3")
		if b == nil || b.URL != "http://10.0.0.1:80" || !slices.Equal(b.Sources, []string{SourceAdmin, "a"}) {
			t.Errorf("the added backend is %+v", b)
		}
		must(w.AddBackend("new", be("x")))
		w.wantMatch("new", "/", "new")
		must(w.RemoveBackend("new", "x"))
		if got := w.ready("new"); got == nil || len(got) != 0 {
			t.Errorf("ready are %v after the only backend was removed, want none of a known service", got)
		}
		must(w.RemoveBackend("web", "1"))
		must(w.RemoveBackend("web", "2"))
		must(w.RemoveBackend("web", "3"))
		if got := w.ready("web"); got == nil || len(got) != 0 || !state.Retired() {
			t.Errorf("ready are %v after all were removed", got)
		}
		time.Sleep(2 * time.Hour) // still announced: not to be forgotten
		if w.Table().Service("web") == nil || w.Table().Service("new") != nil {
			t.Error("want web known, as somebody announces it, and new forgotten")
		}
		must(w.AddBackend("web", be("1")))
		if got := w.ready("web"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("ready are %v after 1 was added again", got)
		}
	})
}

func TestOverridesOfWhatIsNotKnownAreRefused(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("a").Service(svc("web", "1", "2"))
		w.settle()
		if err := w.RemoveBackend("web", "2"); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"service":        w.SetWeight("api", "1", weight(1)),
			"backend":        w.SetWeight("web", "3", nil),
			"drain":          w.SetDraining("web", "3", true),
			"remove":         w.RemoveBackend("web", "3"),
			"removed before": w.RemoveBackend("web", "2"),
		} {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%s: got %v, want an error of the kind ErrUnknown", what, err)
			}
		}
		for what, err := range map[string]error{
			"heavy":    w.SetWeight("web", "1", weight(1001)),
			"negative": w.SetWeight("web", "1", weight(-1)),
			"name":     w.AddBackend("../x", be("1")),
			"id":       w.AddBackend("web", discovery.Backend{ID: "a b", URL: "http://h:1"}),
			"url":      w.AddBackend("web", discovery.Backend{ID: "a", URL: "h"}),
			"weight":   w.AddBackend("web", discovery.Backend{ID: "a", URL: "http://h:1", Weight: -1}),
		} {
			if err == nil || errors.Is(err, ErrUnknown) {
				t.Errorf("%s: got %v, want an error that says what is wrong", what, err)
			}
		}
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("ready are %v, want what it was", got)
		}
	})
}

func TestASenselessServiceNameIsRejected(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("a").Service(svc("../x", "1"))
		w.Sink("a").Service(svc("web", "1"))
		w.settle()
		if ps := w.Status().Sources[0].Problems; len(ps) != 1 || ps[0].Code != discovery.CodeBadName || ps[0].Source != "a" {
			t.Errorf("problems are %+v", ps)
		}
		if n := len(w.Table().Services()); n != 1 {
			t.Errorf("%d services, want 1", n)
		}
	})
}

func TestProblemsAreBounded(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		for i := range maxKept + 500 {
			w.Sink("a").Reject(discovery.Problem{Key: fmt.Sprintf("k%06d", i), Code: discovery.CodeBadValue})
			w.Sink("a").Route(route(fmt.Sprint("r", i), "a.*", "", "web"))
		}
		w.settle()
		st := w.Status().Sources[0]
		if len(st.Problems) != MaxProblems || st.Problems[1].Key != "k000001" {
			t.Errorf("%d problems, want the first %d in order", len(st.Problems), MaxProblems)
		}
		if got := st.Rejected[discovery.CodeBadValue]; got != maxKept+500 {
			t.Errorf("%d rejections are counted, want %d", got, maxKept+500)
		}
		if got := len(w.Table().Problems()); got != MaxProblems {
			t.Errorf("the table tells %d problems, want %d", got, MaxProblems)
		}
	})
}

func TestPropagationIsMeasuredFromTheSourcesEvent(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		s := svc("web", "1")
		s.Seen = time.Now()
		time.Sleep(30 * time.Millisecond)
		w.Sink("a").Service(s)
		w.settle()
		st := w.Status()
		if st.Propagation[6] != 1 || st.PropagationSum < 30*time.Millisecond || st.PropagationSum > 40*time.Millisecond {
			t.Errorf("propagation is %v in all %v, want one of 25 to 50 ms", st.Propagation, st.PropagationSum)
		}
		if err := w.SetDraining("web", "1", true); err != nil { // no source's event
			t.Error(err)
		}
		w.Sink("a").Service(s) // nothing new
		w.settle()
		if got := w.Status().Propagation; got != st.Propagation {
			t.Errorf("propagation is %v, want it as before", got)
		}
	})
}

func TestPropagationOfABurstIsThatOfItsOldestEvent(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		old, young := svc("old", "1"), svc("young", "1")
		old.Seen = time.Now()
		time.Sleep(30 * time.Millisecond)
		young.Seen = time.Now()
		w.Sink("a").Service(young)
		w.Sink("a").Service(old)
		w.Sink("a").Service(svc("now", "1"))
		w.settle()
		if got := w.Status().PropagationSum; got < 30*time.Millisecond || got > 40*time.Millisecond {
			t.Errorf("the propagation is %v, want that of the event of 30 ms before", got)
		}
	})
}

func TestOverridesOutliveTheirService(t *testing.T) {
	inWorld(t, Options{ForgetAfter: time.Second}, func(w *world) {
		w.Sink("a").Service(svc("web", "1", "2"))
		w.settle()
		if err := w.SetWeight("web", "1", weight(0)); err != nil {
			t.Error(err)
		}
		w.settle()
		w.Sink("a").Service(discovery.Service{Name: "web"})
		time.Sleep(time.Minute)
		w.Sink("a").Service(svc("web", "1", "2"))
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"2"}) {
			t.Errorf("ready are %v, want the one that no operator has taken out", got)
		}
		if err := w.SetOverride("web", "1", Override{}); err != nil {
			t.Error(err)
		}
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"1", "2"}) || len(w.Overrides()) != 0 {
			t.Errorf("ready are %v, overridden %v, want both and nothing", got, w.Overrides())
		}
	})
}

func TestAPlaceIsTakenWhereTheSettingsGiveNone(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		here := func() Here {
			w.settle()
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.env.here
		}
		w.Sink("a").Service(svc("web", "1"))
		w.SetPlace(1, 3)
		if h := here(); h.Index != 1 || h.Of != 3 {
			t.Errorf("here is %+v", h)
		}
		w.Configure(Settings{Sources: []string{"a"}})
		if h := here(); h.Index != 1 || h.Of != 3 {
			t.Errorf("after a reload here is %+v", h)
		}
		w.Configure(Settings{Sources: []string{"a"}, Here: Here{Index: 0, Of: 2}})
		w.SetPlace(2, 4)
		if h := here(); h.Index != 0 || h.Of != 2 {
			t.Errorf("where the settings say it here is %+v", h)
		}
	})
}

func TestAnOverrideMayComeBeforeItsBackend(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		added := be("3")
		for id, o := range map[string]Override{"1": {Disabled: true}, "2": {Removed: true}, "3": {Added: &added}} {
			if err := w.SetOverride("web", id, o); err != nil {
				t.Error(err)
			}
		}
		w.Sink("a").Service(svc("web", "1", "2"))
		w.settle()
		s := w.Table().Service("web")
		if got := w.ready("web"); !slices.Equal(got, []string{"3"}) {
			t.Errorf("ready are %v, want what was added", got)
		}
		if one := s.Backend("1"); one == nil || !one.Disabled || !one.Draining || s.Backend("2") != nil {
			t.Errorf("the backends are %+v", s.Backends)
		}
		var steered []string
		for _, o := range w.Overrides() {
			steered = append(steered, o.Service+"/"+o.ID)
		}
		if !slices.Equal(steered, []string{"web/1", "web/2", "web/3"}) {
			t.Errorf("overrides are %v", steered)
		}
	})
}

func TestAnOverrideThatCannotBeChangesNothing(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		other, nowhere := be("2"), discovery.Backend{ID: "1", URL: "x"}
		for what, o := range map[string]Override{
			"weight": {Weight: weight(1001)}, "id": {Added: &other}, "url": {Added: &nowhere},
		} {
			if err := w.SetOverride("web", "1", o); err == nil {
				t.Errorf("%s: taken", what)
			}
		}
		if len(w.Overrides()) != 0 {
			t.Errorf("overrides are %v", w.Overrides())
		}
	})
}

func TestEverythingAtOnce(t *testing.T) {
	inWorld(t, Options{ForgetAfter: time.Millisecond}, func(w *world) {
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			wg.Go(func() {
				sink := w.Sink(name)
				for i := range 300 {
					sink.Resync("start")
					sink.Service(svc("web", fmt.Sprint(i%3), fmt.Sprint(3+i%2)))
					sink.Service(svc(fmt.Sprint("s", i%7), "1"))
					sink.Route(route("r", fmt.Sprintf("h%d", i%5), "", "web"))
					sink.Synced()
					time.Sleep(time.Duration(i%4) * time.Millisecond)
				}
			})
		}
		wg.Go(func() {
			for i := range 100 {
				_ = w.SetWeight("web", "1", weight(i%3))
				_ = w.AddBackend("web", be("admin"))
				_ = w.RemoveBackend("web", "admin")
				w.Configure(Settings{Sources: []string{"a", "b"}, CatchAll: []string{"", "web"}[i%2], ForgetAfter: time.Millisecond})
				time.Sleep(3 * time.Millisecond)
			}
		})
		wg.Go(func() {
			for range 300 {
				table := w.Table()
				table.Match(req("GET", "h1", "/"))
				for _, s := range table.Services() {
					if b := s.Runtime.Ready().Pick(balance.Query{}); b != nil {
						b.State.Begin()
						b.State.End()
					}
				}
				w.Status()
				w.Ready()
				time.Sleep(time.Millisecond)
			}
		})
		wg.Wait()
		for _, name := range []string{"a", "b"} {
			w.Sink(name).Resync("last")
			w.Sink(name).Service(svc("web", name))
			w.Sink(name).Synced()
		}
		_ = w.SetWeight("web", "1", nil)
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("ready are %v, want a and b", got)
		}
		if got := len(w.Table().Services()); got != 1 {
			t.Errorf("%d services are left, want 1", got)
		}
	})
}
