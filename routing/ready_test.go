package routing

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
)

func wantReady(t interface {
	Helper()
	Errorf(string, ...any)
}, s *Service, want ...string) {
	t.Helper()
	if got := ids(s.Runtime.Ready().Backends); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("ready are %v, want %v", got, want)
	}
}

func TestReadySetFollowsHealthAndDrainWithoutANewTable(t *testing.T) {
	s := tableOf(t, nil, svc("s", "a", "b", "c")).Service("s")
	wantReady(t, s, "a", "b", "c")
	s.Backend("b").State.SetHealth(backend.Down)
	wantReady(t, s, "a", "c")
	s.Backend("c").State.SetDraining(true)
	wantReady(t, s, "a")
	s.Backend("b").State.SetHealth(backend.Up)
	wantReady(t, s, "a", "b")
	never := *testPolicy
	never.PanicThreshold = -1
	s.Policy = &never
	s.Backend("a").State.SetHealth(backend.Down)
	s.Backend("b").State.SetHealth(backend.Down)
	wantReady(t, s)
	if b := s.Runtime.Ready().Pick(balance.Query{}); b != nil {
		t.Errorf("picked %s of none", b.ID)
	}
	if b := s.Runtime.Ready().PickExcept([]*Backend{s.Backends[0]}, balance.Query{}); b != nil {
		t.Errorf("picked %s of none", b.ID)
	}
}

func TestWeightZeroIsNotReady(t *testing.T) {
	announced := svc("s", "a", "b")
	announced.Backends[0].Weight = 0
	wantReady(t, tableOf(t, nil, announced).Service("s"), "b")
}

func TestReadySetFollowsTheTable(t *testing.T) {
	table := tableOf(t, nil, svc("s", "a", "b"))
	rt := table.Service("s").Runtime
	table.Service("s").Backend("a").State.SetHealth(backend.Down)
	heavier := svc("s", "a", "b", "c")
	heavier.Backends[1].Weight = 9
	table = next(table, nil, heavier)
	wantReady(t, table.Service("s"), "b", "c")
	if b := rt.Ready().Backend("b"); b != table.Service("s").Backend("b") || b.Weight != 9 {
		t.Errorf("the ready backend b is %+v, want the new table's", b)
	}
	table.Service("s").Backend("a").State.SetHealth(backend.Up)
	if b := rt.Ready().Backend("a"); b != table.Service("s").Backend("a") {
		t.Errorf("the backend that came back is %+v, want the new table's", b)
	}
	if b := rt.Ready().Backend("nobody"); b != nil {
		t.Errorf("found %+v", b)
	}
}

func TestAGoneServiceHasNobodyReady(t *testing.T) {
	table := tableOf(t, nil, svc("s", "a"))
	s := table.Service("s")
	out, retired := build(table, changes{settings: table.settings, services: []serviceChange{{name: "s", gone: true}}})
	(&Catalog{}).publish(out, table, retired)
	wantReady(t, s)
	s.Backends[0].State.SetHealth(backend.Down) // a late verdict disturbs nobody
	wantReady(t, s)
	if !s.Backends[0].State.Retired() {
		t.Error("its backend is not retired")
	}
}

func TestAnEqualReadySetIsKept(t *testing.T) {
	s := tableOf(t, nil, svc("s", "a", "b")).Service("s")
	before := s.Runtime.Ready()
	s.Runtime.changed(nil)
	if s.Runtime.Ready() != before {
		t.Error("a change that changes nothing made another ready set")
	}
}

func TestAZeroRuntimeHasAnEmptyReadySet(t *testing.T) {
	if r := new(Runtime).Ready(); r == nil || r.Pick(balance.Query{}) != nil {
		t.Error("want an empty set")
	}
}

func TestPositionSurvivesAReadySet(t *testing.T) {
	s := tableOf(t, nil, svc("s", "a", "b", "c", "d")).Service("s")
	s.Runtime.Ready().Pick(balance.Query{})
	s.Runtime.Ready().Pick(balance.Query{})
	s.Backend("a").State.SetHealth(backend.Down)
	s.Backend("a").State.SetHealth(backend.Up)
	if b := s.Runtime.Ready().Pick(balance.Query{}); b.ID != "c" {
		t.Errorf("after a and b comes %s, want c", b.ID)
	}
}

func TestPickExceptFindsTheOneThatWasNotTried(t *testing.T) {
	for _, a := range balance.Algorithms {
		ch := change(svc("s", "a", "b", "c", "d", "e", "f", "g", "h"))
		ch.policy = &Policy{Algorithm: a}
		table, _ := build(&Table{}, changes{services: []serviceChange{ch}})
		(&Catalog{}).publish(table, &Table{}, nil)
		all := table.Service("s").Backends
		for i := range all {
			tried := slices.Delete(slices.Clone(all), i, i+1)
			for range 20 {
				if b := table.Service("s").Runtime.Ready().PickExcept(tried, balance.Query{}); b != all[i] {
					t.Fatalf("%s: picked %v, only %s is left", a, b, all[i].ID)
				}
			}
		}
		if b := table.Service("s").Runtime.Ready().PickExcept(all, balance.Query{}); b != nil {
			t.Errorf("%s: picked %s though all were tried", a, b.ID)
		}
	}
}

func TestPickExceptKnowsABackendOfAnEarlierTable(t *testing.T) {
	table := tableOf(t, nil, svc("s", "a", "b"))
	tried := []*Backend{table.Service("s").Backend("a")}
	heavier := svc("s", "a", "b")
	heavier.Backends[0].Weight = 2
	table = next(table, nil, heavier)
	for range 10 {
		if b := table.Service("s").Runtime.Ready().PickExcept(tried, balance.Query{}); b.ID != "b" {
			t.Fatal("picked what was tried")
		}
	}
}

func TestPickingAndLookingUpDoNotAllocate(t *testing.T) {
	set := tableOf(t, nil, svc("s", "a", "b", "c")).Service("s").Runtime.Ready()
	id := "b"
	if got := testing.AllocsPerRun(100, func() {
		tried := [2]*Backend{set.Pick(balance.Query{}), set.Pick(balance.Query{})}
		set.PickExcept(tried[:], balance.Query{})
		set.Backend(id)
	}); got != 0 {
		t.Errorf("%.1f allocations", got)
	}
}

// Whatever changes at the same time, the ready set is right once all is quiet.
func TestNoChangeIsLostAmongConcurrentOnes(t *testing.T) {
	for _, n := range []int{8, maxInline + 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				names := make([]string, n)
				for i := range names {
					names[i] = fmt.Sprintf("b%04d", i)
				}
				table := tableOf(t, nil, svc("s", names...))
				for round := range 20 {
					var wg sync.WaitGroup
					service := table.Service("s")
					for i, b := range service.Backends {
						wg.Go(func() {
							b.State.SetHealth(backend.Down)
							b.State.SetDraining(i%3 == 0)
							b.State.SetHealth(backend.Health((i + round) % 2))
						})
					}
					wg.Go(func() { // and the table changes meanwhile
						changed := svc("s", names...)
						changed.Backends[round%n].Weight = 2 + round
						ch := change(changed)
						out, retired := build(table, changes{settings: table.settings, services: []serviceChange{ch}})
						for _, b := range out.Service("s").Backends {
							b.Draining = b.State.Draining()
						}
						out.Service("s").Runtime.install(out.Service("s"), nil)
						if table = out; len(retired) > 0 {
							t.Error("backends were retired")
						}
					})
					wg.Wait()
					synctest.Wait()
					var want []string
					for _, b := range table.Service("s").Backends {
						if b.State.Health() == backend.Up && !b.State.Draining() {
							want = append(want, b.ID)
						}
					}
					wantReady(t, table.Service("s"), want...)
					for _, b := range table.Service("s").Runtime.Ready().Backends {
						if b != table.Service("s").Backend(b.ID) {
							t.Fatalf("ready backend %s is not the table's", b.ID)
						}
					}
				}
			})
		})
	}
}

func TestNoChangeIsLostWhileATableIsInstalled(t *testing.T) {
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprintf("b%03d", i)
	}
	s := tableOf(t, nil, svc("s", names...)).Service("s")
	first := s.Backends[0].State // read first, so that a change is soon too late to be seen
	for round := range 2000 {
		var wg sync.WaitGroup
		wg.Go(func() { s.Runtime.install(s, nil) })
		wg.Go(func() { first.SetHealth(backend.Health(1 - round%2)) })
		wg.Wait()
		want := 200 - (1 - round%2)
		if got := len(s.Runtime.Ready().Backends); got != want {
			t.Fatalf("round %d: %d backends are ready, want %d", round, got, want)
		}
	}
}

func TestReadySetAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		announced := svc("s", "a", "b", "c", "d")
		table := next(&Table{}, nil, announced)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			service := table.Service("s")
			b := service.Backends[rapid.IntRange(0, 3).Draw(t, "backend")]
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				b.State.SetHealth(backend.Health(rapid.IntRange(0, 1).Draw(t, "health")))
			case 1, 2:
				changed := announced
				changed.Backends = slices.Clone(announced.Backends)
				i := slices.IndexFunc(changed.Backends, func(o discovery.Backend) bool { return o.ID == b.ID })
				changed.Backends[i].Weight = rapid.IntRange(0, 2).Draw(t, "weight")
				changed.Backends[i].Draining = rapid.Bool().Draw(t, "draining")
				announced = changed
				table = next(table, nil, announced)
			case 3:
				b.State.SetDraining(!b.State.Draining())
				b.State.SetDraining(!b.State.Draining())
			}
			var want, taking []string
			for _, b := range table.Service("s").Backends {
				if b.Weight > 0 && !b.Draining {
					if taking = append(taking, b.ID); b.State.Health() == backend.Up {
						want = append(want, b.ID)
					}
				}
			}
			if len(want) == 0 {
				want = taking
			}
			wantReady(t, table.Service("s"), want...)
		}
	})
}

func TestAChangeThatFindsSomebodyAtTheReadySetIsNotLost(t *testing.T) {
	s := tableOf(t, nil, svc("s", "a", "b")).Service("s")
	for name, visit := range map[string]func(){
		"members":   func() { s.Runtime.Members() },
		"judgement": func() { s.Runtime.Judge(time.Now(), true) },
		"table":     s.Runtime.tableRested,
	} {
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
					visit()
				}
			}
		}()
		for range 1000 {
			s.Backend("a").State.SetHealth(backend.Down)
			s.Backend("a").State.SetHealth(backend.Up)
		}
		s.Backend("a").State.SetHealth(backend.Down)
		close(stop)
		<-ended
		if got := ids(s.Runtime.Ready().Backends); !slices.Equal(got, []string{"b"}) {
			t.Errorf("%s: ready are %v, want b alone", name, got)
		}
		s.Backend("a").State.SetHealth(backend.Up)
	}
}
