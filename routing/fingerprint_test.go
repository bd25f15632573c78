package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
)

func TestTheFingerprintIsOfTheContentAlone(t *testing.T) {
	one := func() *Table {
		return tableOf(t, []discovery.Route{{Name: "r", Host: "r.test", Service: "web"}}, svc("web", "b1", "b2"), svc("api", "b1"))
	}
	want := one().Fingerprint()
	for name, c := range map[string]struct {
		table *Table
		same  bool
	}{
		"another process":    {one(), true},
		"another order":      {next(tableOf(t, nil, svc("api", "b1")), []discovery.Route{{Name: "r", Host: "r.test", Service: "web"}}, svc("web", "b1", "b2")), true},
		"there and back":     {next(next(one(), nil, svc("web", "b1")), nil, svc("web", "b1", "b2")), true},
		"another backend":    {next(one(), nil, svc("web", "b1", "b3")), false},
		"one backend less":   {next(one(), nil, svc("web", "b1")), false},
		"another route":      {tableOf(t, []discovery.Route{{Name: "r", Host: "q.test", Service: "web"}}, svc("web", "b1", "b2"), svc("api", "b1")), false},
		"another service":    {next(one(), nil, svc("www", "b1")), false},
		"swapped services":   {tableOf(t, []discovery.Route{{Name: "r", Host: "r.test", Service: "web"}}, svc("api", "b1", "b2"), svc("web", "b1")), false},
		"a backend's weight": {next(one(), nil, discovery.Service{Name: "api", Backends: []discovery.Backend{{ID: "b1", URL: "http://b1.test:80", Weight: 2}}}), false},
	} {
		if got := c.table.Fingerprint(); (got == want) != c.same {
			t.Errorf("%s: the fingerprint is %s beside %s, equal: want %t", name, got, want, c.same)
		}
	}
	table := one()
	table.Service("web").Backends[0].State.SetHealth(backend.Down)
	if table.Fingerprint() != want {
		t.Error("health is part of the fingerprint")
	}
	ch := change(svc("api", "b1"))
	ch.policy = &Policy{Algorithm: balance.Random}
	other, _ := build(one(), changes{settings: tableSettings{domain: "localhost"}, services: []serviceChange{ch}})
	if other.Fingerprint() == want {
		t.Error("a policy is no part of the fingerprint")
	}
}

func TestAServiceThatIsOnlyRememberedIsNoPartOfTheFingerprint(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.Sink("a").Service(svc("web", "b1"))
		w.settle()
		want := w.Table().Fingerprint()
		api := svc("api", "b1")
		api.Routes = []discovery.Route{{Name: "r", Host: "r.test", Service: "api"}}
		w.Sink("a").Service(api)
		w.settle()
		w.Sink("a").Service(discovery.Service{Name: "api"})
		w.settle()
		if s := w.Table().Service("api"); s == nil || !s.Past {
			t.Fatalf("api is %+v, want it remembered", s)
		}
		if got := w.Table().Fingerprint(); got != want {
			t.Errorf("with a remembered service the fingerprint is %s, want %s", got, want)
		}
		time.Sleep(2 * time.Hour)
		w.settle()
		if got := w.Table().Fingerprint(); got != want || w.Table().Service("api") != nil {
			t.Errorf("after it was forgotten the fingerprint is %s, want %s", got, want)
		}
	})
}

// Whatever way a table came about, its fingerprint is that of one built at once from what is announced in the end.
func TestTheFingerprintIsThatOfATableBuiltAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := map[string]discovery.Service{}
		table := tableOf(silent{}, nil)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			s := discovery.Service{Name: fmt.Sprint("s", rapid.IntRange(0, 3).Draw(t, "service"))}
			for i := range 4 {
				if rapid.Bool().Draw(t, "present") {
					b := be(fmt.Sprint("b", i))
					b.Weight = rapid.IntRange(0, 2).Draw(t, "weight")
					s.Backends = append(s.Backends, b)
				}
			}
			if rapid.Bool().Draw(t, "routed") {
				s.Routes = []discovery.Route{{Name: "r", Host: rapid.SampledFrom([]string{"x.test", "y.test"}).Draw(t, "host"), Service: s.Name}}
			}
			now[s.Name] = s
			table = next(table, nil, s)
		}
		var all []discovery.Service
		for _, s := range now {
			all = append(all, s)
		}
		rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		if want, got := tableOf(silent{}, nil, all...).Fingerprint(), table.Fingerprint(); got != want {
			t.Fatalf("the fingerprint is %s, that of a table built at once %s", got, want)
		}
	})
}

// silent is a test's helper where there is none at hand.
type silent struct{ testing.TB }

func (silent) Helper() {}

func BenchmarkHashBackend(b *testing.B) {
	d := be("service-1234-b7")
	var buf hasher
	b.ReportAllocs()
	for b.Loop() {
		hashBackend(&buf, "service-1234", &d)
	}
}
