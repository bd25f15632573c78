package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/discovery"
)

var guardStart = time.Unix(1_700_000_000, 0)

// many is a service with the backends from to to-1.
func many(name string, from, to int) discovery.Service {
	s := discovery.Service{Name: name}
	for i := from; i < to; i++ {
		s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprintf("b%03d", i), URL: fmt.Sprintf("http://%s-%d.test:80", name, i), Weight: 1})
	}
	return s
}

// guardWorld drives a guard as a sink does.
type guardWorld struct {
	guard
	o    Guard
	now  time.Time
	says map[string]discovery.Service
	down map[string]bool
}

func newGuardWorld(o Guard) *guardWorld {
	return &guardWorld{o: o.withDefaults(), now: guardStart, says: map[string]discovery.Service{}, down: map[string]bool{}}
}

func (w *guardWorld) dead(service, id string) bool { return w.down[service+"/"+id] }

// announce tells of a service, and reports whether the guard trips.
func (w *guardWorld) announce(s discovery.Service) bool {
	old := w.says[s.Name]
	if s.Empty() {
		delete(w.says, s.Name)
	} else {
		w.says[s.Name] = s
	}
	w.change(w.now, w.o, old, s, w.dead)
	w.settle()
	return w.judge(w.now, w.o, false, w.dead)
}

// withdraw ends a listing that named nothing of these services.
func (w *guardWorld) withdraw(names ...string) bool {
	tripped := false
	for _, n := range names {
		tripped = w.announce(discovery.Service{Name: n}) || tripped
	}
	return w.judge(w.now, w.o, w.total == 0, w.dead) || tripped
}

func (w *guardWorld) heldOf(name string) []string {
	_, ids := w.over(name, w.says[name])
	return ids
}

func TestTheGuardTripsWhenMostIsGone(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Guard
		do   func(w *guardWorld) bool // tells whether it trips
		trip bool
	}{
		{"half of it is believed", Guard{}, func(w *guardWorld) bool {
			w.announce(many("a", 0, 5))
			return w.announce(many("b", 0, 5))
		}, false},
		{"more than half of two services is not", Guard{}, func(w *guardWorld) bool {
			w.announce(many("a", 0, 5))
			return w.announce(many("b", 0, 4))
		}, true},
		{"one service scaled to zero is believed, however great", Guard{}, func(w *guardWorld) bool {
			w.announce(many("a", 0, 1000))
			return w.announce(discovery.Service{Name: "a"})
		}, false},
		{"one service that scales down is believed", Guard{}, func(w *guardWorld) bool {
			w.announce(many("a", 0, 1000))
			return w.announce(many("a", 0, 1))
		}, false},
		{"everything gone event by event is not believed", Guard{}, func(w *guardWorld) bool {
			return w.announce(discovery.Service{Name: "a"}) || w.announce(discovery.Service{Name: "b"})
		}, true},
		{"a listing that comes back empty is not believed", Guard{}, func(w *guardWorld) bool { return w.withdraw("a", "b") }, true},
		{"nor is that of a single service", Guard{}, func(w *guardWorld) bool {
			w.announce(discovery.Service{Name: "b"})
			w.now = w.now.Add(time.Minute)
			return w.withdraw("a")
		}, true},
		{"few backends are believed to be gone", Guard{MinBackends: 21}, func(w *guardWorld) bool { return w.withdraw("a", "b") }, false},
		{"a loss over more than the window is believed", Guard{}, func(w *guardWorld) bool {
			for n := 9; n >= 0; n-- {
				w.now = w.now.Add(2500 * time.Millisecond)
				if w.announce(many("a", 0, n)) || w.announce(many("b", 0, n)) {
					return w.total > 8 // of the last few any loss is most
				}
			}
			return false
		}, false},
		{"a deployment that brings as many as it takes is believed", Guard{}, func(w *guardWorld) bool {
			for i := range 10 {
				if w.announce(many("a", i, 11+i)) || w.announce(many("a", i+1, 11+i)) ||
					w.announce(many("b", i, 11+i)) || w.announce(many("b", i+1, 11+i)) {
					return true
				}
			}
			return false
		}, false},
		{"blue and green are believed", Guard{}, func(w *guardWorld) bool {
			w.announce(many("green", 0, 10))
			return w.announce(discovery.Service{Name: "a"})
		}, false},
		{"another share", Guard{MaxRemoval: 0.2}, func(w *guardWorld) bool {
			w.announce(many("a", 0, 8))
			return w.announce(many("b", 0, 7))
		}, true},
		{"what comes back within the window is no loss", Guard{}, func(w *guardWorld) bool {
			w.announce(many("a", 0, 1))
			w.announce(many("a", 0, 10))
			return w.announce(many("b", 0, 1))
		}, false},
		{"what was dead already is not held", Guard{}, func(w *guardWorld) bool {
			for i := range 10 {
				w.down[fmt.Sprintf("a/b%03d", i)], w.down[fmt.Sprintf("b/b%03d", i)] = true, true
			}
			return w.withdraw("a", "b")
		}, false},
	} {
		w := newGuardWorld(c.o)
		w.announce(many("a", 0, 10))
		w.announce(many("b", 0, 10))
		w.now = w.now.Add(time.Hour)
		if got := c.do(w); got != c.trip {
			t.Errorf("%s: trips: %t, want %t", c.name, got, c.trip)
		}
	}
}

// The example of the guard's comment, and how an incident goes on and ends.
func TestWhatIsHeldAndForHowLong(t *testing.T) {
	w := newGuardWorld(Guard{})
	for _, name := range []string{"a", "b", "c"} {
		w.announce(many(name, 0, 10))
	}
	w.now = w.now.Add(time.Hour)
	at := func(second int) { w.now = guardStart.Add(time.Hour).Add(time.Duration(second) * time.Second) }
	var got strings.Builder
	say := func() {
		fmt.Fprintf(&got, "%2.0f a=%d b=%d c=%d\n", w.now.Sub(guardStart.Add(time.Hour)).Seconds(), len(w.heldOf("a")), len(w.heldOf("b")), len(w.heldOf("c")))
	}
	step := func(second int, s discovery.Service) {
		at(second)
		w.announce(s)
		say()
	}
	step(0, discovery.Service{Name: "b"})
	step(2, many("a", 0, 12))
	step(4, many("c", 0, 3))
	step(5, many("a", 0, 11))
	step(6, many("c", 0, 5))
	w.fail("b", "b003", "http://b-3.test:80")
	w.fail("b", "b004", "http://elsewhere.test:80") // another backend than is held
	say()
	other := many("b", 7, 8)
	other.Backends[0].ID = "renamed"
	step(7, other) // b007 by another name
	if due, ok := w.due(); !ok || !due.Equal(guardStart.Add(time.Hour+64*time.Second)) {
		t.Errorf("the hold ends at %v, want a minute after it began", due)
	}
	w.release(heldExpired)
	say()
	want := ` 0 a=0 b=0 c=0
 2 a=0 b=0 c=0
 4 a=0 b=10 c=7
 5 a=1 b=10 c=7
 6 a=1 b=10 c=5
 6 a=1 b=9 c=5
 7 a=1 b=8 c=5
 7 a=0 b=0 c=0
`
	if got.String() != want {
		t.Errorf("held is\n%swant\n%s", got.String(), want)
	}
	if w.ended != [heldReasons]uint64{heldReturned: 3, heldFailed: 1, heldExpired: 14} || w.incidents != 1 {
		t.Errorf("ended are %v of %d incidents", w.ended, w.incidents)
	}
}

func TestPolicyAndRoutesStayWithWhatIsHeld(t *testing.T) {
	w := newGuardWorld(Guard{})
	a := many("a", 0, 10)
	a.Policy, a.Routes = []byte("p"), []discovery.Route{{Name: "r", Service: "a"}}
	w.announce(a)
	w.announce(many("b", 0, 10))
	w.withdraw("a", "b")
	s, _ := w.over("a", discovery.Service{})
	if !s.Equal(a) {
		t.Errorf("in force is %+v, want all of what was announced", s)
	}
	changed := discovery.Service{Name: "a", Policy: []byte("q")}
	s, _ = w.over("a", changed)
	if string(s.Policy) != "q" || len(s.Routes) != 0 || len(s.Backends) != 10 {
		t.Errorf("in force is %+v, want what is announced and the backends", s)
	}
}

// The guard says at every moment what one that remembers everything says.
func TestTheGuardAgreesWithOneThatRemembersAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newGuardWorld(Guard{Window: 4 * time.Second, Hold: 6 * time.Second, MinBackends: 4})
		type moment struct {
			at   time.Time
			says map[string]discovery.Service
		}
		history := []moment{{w.now.Add(-time.Hour), map[string]discovery.Service{}}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
			if due, ok := w.due(); ok && !w.now.Before(due) {
				w.release(heldExpired)
				history = []moment{{w.now, maps.Clone(w.says)}}
			}
			name := fmt.Sprint("s", rapid.IntRange(0, 2).Draw(t, "service"))
			s := discovery.Service{Name: name}
			for i, b := range many(name, 0, 6).Backends {
				if rapid.Bool().Draw(t, fmt.Sprint("has", i)) {
					s.Backends = append(s.Backends, b)
				}
			}
			wasHeld, old := w.held != nil, w.says[name]
			var heldBefore map[string]bool
			if wasHeld {
				heldBefore = set(w.heldOf(name))
			}
			tripped := w.announce(s)

			if wasHeld {
				// All that goes is held, all that comes is not, everything else stays.
				for _, b := range missing(old.Backends, s.Backends) {
					heldBefore[b.ID] = true
				}
				for _, b := range s.Backends {
					delete(heldBefore, b.ID)
				}
				if w.held != nil && !maps.Equal(heldBefore, set(w.heldOf(name))) {
					t.Fatalf("of %s is held %v, want %v", name, w.heldOf(name), heldBefore)
				}
				if w.held == nil {
					history = []moment{{w.now, maps.Clone(w.says)}}
				}
				continue
			}
			history = append(history, moment{w.now, maps.Clone(w.says)})
			loss, losing, total := 0, 0, 0
			for i := range 3 {
				name := fmt.Sprint("s", i)
				peak := 0
				for k, m := range history {
					// A moment lasts until the next.
					if k+1 == len(history) || !history[k+1].at.Before(w.now.Add(-w.o.Window)) {
						peak = max(peak, len(m.says[name].Backends))
					}
				}
				n := len(w.says[name].Backends)
				total += n
				if loss += peak - n; peak > n {
					losing++
				}
			}
			want := losing >= 2 && total+loss >= w.o.MinBackends && float64(loss) > w.o.MaxRemoval*float64(total+loss)
			if tripped != want {
				t.Fatalf("trips: %t, want %t: lost %d of %d in %d services", tripped, want, loss, total+loss, losing)
			}
			if tripped {
				if w.held.backends != loss {
					t.Fatalf("held are %d, want the %d lost", w.held.backends, loss)
				}
				continue
			}
			if w.loss != loss || w.losing != losing || w.total != total {
				t.Fatalf("counted are %d lost of %d in %d, want %d of %d in %d", w.loss, w.total, w.losing, loss, total, losing)
			}
		}
	})
}

func set(ids []string) map[string]bool {
	m := map[string]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// announceFleet has source a announce two services of ten backends each, and waits until it is in force for long.
func announceFleet(w *world) discovery.Sink {
	a := w.Sink("a")
	a.Resync("start")
	a.Service(many("web", 0, 10))
	a.Service(many("api", 0, 10))
	a.Route(discovery.Route{Name: "r", Host: "r.test", Service: "web"})
	a.Synced()
	time.Sleep(time.Hour)
	return a
}

func TestAListingThatComesBackEmptyChangesNothingUntilTheHoldIsOver(t *testing.T) {
	var events []GuardEvent
	inWorld(t, Options{Guarded: func(e GuardEvent) { events = append(events, e) }}, func(w *world) {
		a := announceFleet(w)
		state := w.Table().Service("web").Backends[0].State
		a.Resync("index-reset")
		a.Synced()
		tripped := time.Now()
		w.settle()
		if len(w.ready("web")) != 10 || len(w.ready("api")) != 10 {
			t.Fatalf("ready are %v and %v", w.ready("web"), w.ready("api"))
		}
		w.wantMatch("r.test", "/", "web")
		b := w.Table().Service("web").Backends[0]
		if !b.Held || b.State != state {
			t.Errorf("held: %t, same record: %t", b.Held, b.State == state)
		}
		if g := w.source("a").Guard; g.Held != 20 || g.Services != 2 || g.Routes != 1 || g.Incidents != 1 || !g.Until.Equal(tripped.Add(time.Minute)) {
			t.Errorf("the guard is %+v", g)
		}
		if d := w.Diff(); len(d.Held) != 21 || d.Held[0].Service != "api" || d.Held[20].Route != "r" {
			t.Errorf("the difference is %+v", d.Held)
		}
		// A check fails: that one goes at once, alone.
		w.DropHeld(b.State.Key())
		w.DropHeld(backend.Key{Service: "web", ID: "b001", URL: "http://other.test:80"})
		w.settle()
		if got := w.ready("web"); len(got) != 9 || slices.Contains(got, b.ID) || !state.Retired() {
			t.Errorf("after a failed check ready are %v", got)
		}
		// What is announced again is simply back.
		a.Service(many("web", 4, 6))
		w.settle()
		if got := w.Table().Service("web"); got.Backend("b004").Held || !got.Backend("b006").Held {
			t.Error("what is announced again is held, or the rest is not")
		}
		time.Sleep(time.Minute)
		w.settle()
		if got := w.ready("web"); !slices.Equal(got, []string{"b004", "b005"}) || len(w.ready("api")) != 0 {
			t.Errorf("after the hold ready are %v and %v", got, w.ready("api"))
		}
		if s := w.Table().Service("api"); s == nil || !s.Past {
			t.Error("the service is not remembered after the hold")
		}
		w.wantMatch("r.test", "/", "")
	})
	if len(events) != 2 {
		t.Fatalf("told was %+v, want two events", events)
	}
	if events[0].Until = (time.Time{}); events[0] != (GuardEvent{Source: "a", Tripped: true, Of: 20, Lost: 20, Held: 20}) || events[1] != (GuardEvent{Source: "a"}) {
		t.Errorf("told was %+v", events)
	}
}

func TestWhatWentBeforeTheGuardTrippedComesBack(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		a := announceFleet(w)
		a.Service(discovery.Service{Name: "web"})
		w.settle()
		if got := w.ready("web"); len(got) != 0 {
			t.Fatalf("one service alone is believed, but ready are %v", got)
		}
		time.Sleep(2 * time.Second)
		a.Service(many("api", 0, 9))
		w.settle()
		if web, api := w.ready("web"), w.ready("api"); len(web) != 10 || len(api) != 10 {
			t.Errorf("ready are %v and %v, want all", web, api)
		}
	})
}

func TestAStrictGuardWaitsForAnOperator(t *testing.T) {
	inWorld(t, Options{Guard: Guard{Mode: GuardStrict}}, func(w *world) {
		a := announceFleet(w)
		a.Resync("reconnect")
		a.Synced()
		time.Sleep(24 * time.Hour)
		w.settle()
		if len(w.ready("web")) != 10 {
			t.Fatalf("after a day ready are %v", w.ready("web"))
		}
		if _, err := w.ReleaseGuard("nobody"); err == nil {
			t.Error("a source that is not known is released")
		}
		if n, err := w.ReleaseGuard("a"); n != 20 || err != nil {
			t.Errorf("released are %d, %v", n, err)
		}
		w.settle()
		if len(w.ready("web")) != 0 {
			t.Errorf("after the release ready are %v", w.ready("web"))
		}
		if n, err := w.ReleaseGuard(""); n != 0 || err != nil {
			t.Errorf("released again are %d, %v", n, err)
		}
	})
}

func TestTheGuardIsOfEachSourceAndNotOfTheConfiguration(t *testing.T) {
	inWorld(t, Options{Sources: []string{"config", "a", "b"}, Own: "config"}, func(w *world) {
		announceFleet(w)
		for _, name := range []string{"config", "b"} {
			s := w.Sink(name)
			s.Service(many("one-"+name, 0, 10))
			s.Service(many("two-"+name, 0, 10))
		}
		time.Sleep(time.Hour)
		for _, name := range []string{"config", "b"} {
			s := w.Sink(name)
			s.Resync("changed")
			s.Synced()
		}
		w.settle()
		if len(w.ready("one-config")) != 0 || len(w.ready("one-b")) != 10 || w.source("a").Guard.Held != 0 {
			t.Errorf("ready are %v and %v; of a is held %d", w.ready("one-config"), w.ready("one-b"), w.source("a").Guard.Held)
		}
		w.Configure(Settings{Sources: []string{"config", "a", "b"}, Own: "config", Guard: Guard{Mode: GuardOff}})
		w.settle()
		if len(w.ready("one-b")) != 0 {
			t.Errorf("with the guard off ready are %v", w.ready("one-b"))
		}
	})
}

func TestASourceThatIsTakenOutTakesWhatIsHeldAlong(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		a := announceFleet(w)
		a.Resync("reconnect")
		a.Synced()
		w.settle()
		w.Configure(Settings{Sources: []string{"b"}})
		w.settle()
		if s := w.Table().Service("web"); s != nil {
			t.Errorf("web is still known: %+v", s)
		}
	})
}

func BenchmarkGuardAChangeInAGreatFleet(b *testing.B) {
	w := newGuardWorld(Guard{})
	for i := range 10_000 {
		w.announce(many(fmt.Sprint("s", i), 0, 10))
	}
	full, less := many("s7", 0, 10), many("s7", 0, 9)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.now = w.now.Add(time.Millisecond)
		if i%2 == 0 {
			w.announce(less)
		} else {
			w.announce(full)
		}
	}
}

func TestARegistryThatFindsEverythingUnfitIsNotBelievedAtOnce(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		a := announceFleet(w)
		state := w.Table().Service("web").Backends[0].State
		for _, name := range []string{"web", "api"} {
			s := many(name, 0, 10)
			for i := range s.Backends {
				s.Backends[i].Failing = true
			}
			a.Service(s)
		}
		w.settle()
		if b := w.Table().Service("web").Backends; len(b) != 10 || !b[0].Held || b[0].State != state || state.Failing() {
			t.Fatalf("%d backends, %+v", len(b), b[0])
		}
		if len(w.ready("web")) != 10 || len(w.ready("api")) != 10 {
			t.Errorf("ready are %v and %v", w.ready("web"), w.ready("api"))
		}
		a.Service(many("web", 0, 2))
		w.settle()
		if b := w.Table().Service("web").Backend("b000"); b == nil || b.Held {
			t.Error("what passes again is still held")
		}
		time.Sleep(time.Minute)
		w.settle()
		if len(w.ready("web")) != 2 || len(w.ready("api")) != 0 || !w.Table().Service("api").Backends[0].State.Failing() {
			t.Errorf("after the hold ready are %v and %v", w.ready("web"), w.ready("api"))
		}
	})
}

func TestWhatIsHeldOfAGreatServiceComesBackOneByOne(t *testing.T) {
	const n = 5000
	w := newGuardWorld(Guard{})
	w.announce(many("a", 0, n))
	w.announce(many("b", 0, 10))
	w.announce(discovery.Service{Name: "b"})
	w.announce(discovery.Service{Name: "a"})
	if w.held == nil || w.held.backends != n+10 {
		t.Fatalf("held is %+v", w.status())
	}
	for i := 1; i <= n; i += 499 {
		w.announce(many("a", 0, i))
		if got := len(w.heldOf("a")); got != n-i {
			t.Fatalf("after %d have come back %d are held", i, got)
		}
	}
	w.announce(many("a", 0, 10)) // what goes meanwhile is held as well
	if got := len(w.heldOf("a")); got != n-10 {
		t.Errorf("%d are held at last", got)
	}
}
