package routing

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
)

func TestSharesOfTheComment(t *testing.T) {
	for _, c := range []struct {
		name  string
		own   string
		zones []zoneLoad
		want  map[string]float64
	}{
		{"all ready", "a", []zoneLoad{{"a", 10, 10}, {"b", 10, 10}, {"c", 10, 10}}, map[string]float64{"a": 1}},
		{"four of ten", "a", []zoneLoad{{"a", 4, 10}, {"b", 10, 10}, {"c", 10, 10}}, map[string]float64{"a": 0.56, "b": 0.22, "c": 0.22}},
		{"the others keep theirs", "b", []zoneLoad{{"a", 4, 10}, {"b", 10, 10}, {"c", 10, 10}}, map[string]float64{"b": 1}},
		{"five of seven", "a", []zoneLoad{{"a", 5, 7}, {"b", 7, 7}}, map[string]float64{"a": 1}},
		{"a small zone", "a", []zoneLoad{{"a", 2, 2}, {"b", 10, 10}, {"c", 10, 10}}, map[string]float64{"a": 0.382, "b": 0.309, "c": 0.309}},
		{"none of its own", "x", []zoneLoad{{"a", 10, 10}, {"b", 10, 10}}, map[string]float64{"a": 0.5, "b": 0.5}},
		{"its own is down", "a", []zoneLoad{{"a", 0, 10}, {"b", 10, 10}}, map[string]float64{"b": 1}},
		{"half is down everywhere", "a", []zoneLoad{{"a", 5, 10}, {"b", 5, 10}}, map[string]float64{"a": 0.85, "b": 0.15}},
	} {
		got := spread(c.own, c.zones)
		for _, z := range c.zones {
			if math.Abs(got[z.name]-c.want[z.name]) > 0.001 {
				t.Errorf("%s: zone %s gets %.3f, want %.3f", c.name, z.name, got[z.name], c.want[z.name])
			}
		}
	}
}

// Whatever is ready, everything that comes in is served, and no zone gets more than it can bear while another can bear
// more.
func TestNoZoneIsOverloadedWhileAnotherIsNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}[:rapid.IntRange(2, 4).Draw(t, "zones")]
		var zones []zoneLoad
		var all, ready float64
		for _, name := range names {
			n := rapid.IntRange(1, 20).Draw(t, "backends")
			up := rapid.IntRange(0, n).Draw(t, "ready")
			zones = append(zones, zoneLoad{name, float64(up), float64(n)})
			all, ready = all+float64(n), ready+float64(up)
		}
		if ready == 0 {
			return
		}
		got := map[string]float64{}
		for _, own := range names {
			sum := 0.0
			for name, share := range spread(own, zones) {
				if share < 0 {
					t.Fatalf("%s gets %f", name, share)
				}
				sum += share
				got[name] += share / float64(len(names))
			}
			if math.Abs(sum-1) > 1e-9 {
				t.Fatalf("the shares from %s sum to %f", own, sum)
			}
		}
		enough := Overprovisioning*ready >= all
		for _, z := range zones {
			if capacity := Overprovisioning * z.ready / all; enough && got[z.name] > capacity+1e-9 {
				t.Fatalf("zone %s of %v gets %f of the whole and can bear %f", z.name, zones, got[z.name], capacity)
			}
		}
	})
}

// zoned is a service with four backends in zone a and four in b.
func zoned(t *testing.T, here Here, policy Policy) *Service {
	t.Helper()
	s := svc("s", "a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")
	for i := range s.Backends {
		s.Backends[i].Zone = s.Backends[i].ID[:1]
	}
	ch := change(s)
	ch.policy = &policy
	table, _ := build(&Table{}, changes{services: []serviceChange{ch}})
	(&Catalog{env: &environment{here: here}}).publish(table, &Table{}, nil)
	return table.Service("s")
}

// shares is how 10,000 picks are spread by the zone of the backend.
func shares(s *Service) map[string]int {
	got := map[string]int{}
	for range 10_000 {
		got[s.Runtime.Ready().Pick(balance.Query{}).Zone]++
	}
	return got
}

func TestTheOwnZoneIsPreferredByEveryAlgorithmButTheConsistentOnes(t *testing.T) {
	for _, a := range balance.Algorithms {
		if a.Consistent() {
			continue
		}
		s := zoned(t, Here{Zone: "b"}, Policy{Algorithm: a})
		if got := shares(s); got["b"] != 10_000 {
			t.Errorf("%s: picked by zone %v, want b alone", a, got)
		}
	}
}

func TestAZoneThatLosesHealthSpillsOver(t *testing.T) {
	for _, a := range []balance.Algorithm{balance.RoundRobin, balance.Random} {
		s := zoned(t, Here{Zone: "a"}, Policy{Algorithm: a})
		s.Backend("a1").State.SetHealth(backend.Down)
		s.Backend("a2").State.SetHealth(backend.Down)
		if got := shares(s); got["a"] < 6700 || got["a"] > 7300 { // 1.4 · 2/8 of the whole, of the half that comes in
			t.Errorf("%s: picked by zone %v, want 70 %% of a", a, got)
		}
	}
}

func TestZonesCanBeIgnored(t *testing.T) {
	for name, s := range map[string]*Service{
		"by policy":              zoned(t, Here{Zone: "a"}, Policy{IgnoreZones: true}),
		"by a balancer anywhere": zoned(t, Here{}, Policy{}),
	} {
		if got := shares(s); got["a"] != 5000 {
			t.Errorf("%s: picked by zone %v, want both alike", name, got)
		}
	}
}

func TestAnotherZonesBackendsAreThereForARetry(t *testing.T) {
	s := zoned(t, Here{Zone: "a"}, Policy{})
	tried := s.Backends[:4]
	if b := s.Runtime.Ready().PickExcept(tried, balance.Query{}); b == nil || b.Zone != "b" {
		t.Errorf("after all of its own zone comes %v", b)
	}
}

func TestZonesAreCountedUpToABound(t *testing.T) {
	var r Runtime
	for i := range 2 * maxZones {
		r.zones.at(string(rune('A' + i))).Add(1)
	}
	got := r.ZoneRequests()
	if len(got) != maxZones+1 || got[OtherZone] != maxZones {
		t.Errorf("%d zones are counted, %d attempts elsewhere", len(got), got[OtherZone])
	}
}

func TestABalancerThatMovesToAnotherZoneChoosesAnew(t *testing.T) {
	inWorld(t, Options{Here: Here{Zone: "a"}}, func(w *world) {
		s := svc("s", "x", "y")
		s.Backends[0].Zone, s.Backends[1].Zone = "a", "b"
		sink := w.Sink("a")
		sink.Service(s)
		sink.Synced()
		w.settle()
		if got := shares(w.Table().Service("s")); got["a"] != 10_000 {
			t.Errorf("in zone a it picks %v", got)
		}
		w.Configure(Settings{Sources: []string{"a", "b"}, Here: Here{Zone: "b"}})
		w.settle()
		if got := shares(w.Table().Service("s")); got["b"] != 10_000 {
			t.Errorf("in zone b it picks %v", got)
		}
	})
}
