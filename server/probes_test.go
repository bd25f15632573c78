package server

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/probe"
	"github.com/vietddude/load-balancer/routing"
)

// probed is a catalog whose tables are followed by probes that nobody runs: tests report in the prober's place.
type probed struct {
	t        *testing.T
	catalog  *routing.Catalog
	sink     discovery.Sink
	probes   *probes
	interval time.Duration // of the service's probes; the catalog reads it when it is configured
}

// withProbes runs a test with a service "web" of one backend "a" that is probed.
func withProbes(t *testing.T, test func(*probed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &probed{t: t, probes: newProbes(slog.New(slog.DiscardHandler), func(*backend.State, error) {}), interval: time.Second}
		p.catalog = routing.NewCatalog(routing.Options{
			Sources: []string{"test"},
			Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) {
				return routing.Policy{Algorithm: "round-robin", Probe: probe.Options{Interval: p.interval}}, nil
			},
			Published: p.probes.follow,
		})
		p.sink = p.catalog.Sink("test")
		p.sink.Resync("start")
		p.announce("a")
		p.sink.Synced()
		go p.catalog.Run(t.Context())
		p.settle()
		test(p)
	})
}

func (p *probed) announce(ids ...string) {
	s := discovery.Service{Name: "web"}
	for _, id := range ids {
		s.Backends = append(s.Backends, discovery.Backend{ID: id, URL: "http://127.0.0.1:1", Weight: 1})
	}
	p.sink.Service(s)
}

// probeEvery changes the interval of probes.
func (p *probed) probeEvery(d time.Duration) {
	p.interval = d
	p.catalog.Configure(routing.Settings{Sources: []string{"test"}})
	p.settle()
}

// settle waits until what was announced is published.
func (p *probed) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (p *probed) state(id string) *backend.State {
	p.t.Helper()
	b := p.catalog.Table().Service("web").Backend(id)
	if b == nil {
		p.t.Fatalf("the table has no backend %s", id)
	}
	return b.State
}

// key is the one target's, as the prober knows it.
func (p *probed) key() string {
	p.t.Helper()
	if len(p.probes.states) != 1 || len(p.probes.keys) != 1 || p.probes.prober.Stats().Targets != 1 {
		p.t.Fatalf("there are %d states, %d keys and %d targets; want one of each",
			len(p.probes.states), len(p.probes.keys), p.probes.prober.Stats().Targets)
	}
	for key := range p.probes.states {
		return key
	}
	return ""
}

func down() probe.Result { return probe.Result{Err: errors.New("refused")} }

func TestAVerdictReachesTheBackendAndStaysFromTableToTable(t *testing.T) {
	withProbes(t, func(p *probed) {
		p.probes.report(p.key(), down())
		if p.state("a").Health() != backend.Down {
			t.Fatal("the backend is up after a verdict of down")
		}
		key := p.key()
		p.announce("a", "b")
		p.settle()
		p.announce("a")
		p.settle()
		if p.key() != key || p.state("a").Health() != backend.Down {
			t.Errorf("target %s and health %v after a change of others, want %s and down", p.key(), p.state("a").Health(), key)
		}
	})
}

func TestABackendThatComesBackOwesNothingToItsFormerProbe(t *testing.T) {
	withProbes(t, func(p *probed) {
		before := p.key()
		p.announce("b")
		p.settle()
		p.announce("a")
		p.settle()
		p.probes.report(before, down()) // one that was just being reported when its target was removed
		if p.state("a").Health() != backend.Up {
			t.Error("a result of the former target took the new backend down")
		}
		p.probes.report(p.key(), down())
		if p.state("a").Health() != backend.Down {
			t.Error("the new target's verdict does not reach the backend")
		}
	})
}

func TestProbesSwitchedOffLeaveTheBackendUpForGood(t *testing.T) {
	withProbes(t, func(p *probed) {
		key, state := p.key(), p.state("a")
		p.probes.report(key, down())
		p.probeEvery(0)
		if p.state("a") != state || state.Health() != backend.Up {
			t.Fatal("a backend that is no longer probed is still down")
		}
		p.probes.report(key, down())
		if state.Health() != backend.Up {
			t.Error("a late result took a backend down that nobody probes any more")
		}
		if n := p.probes.prober.Stats().Targets; n != 0 || len(p.probes.keys) != 0 {
			t.Errorf("%d targets and %d keys are left", n, len(p.probes.keys))
		}
		p.probeEvery(time.Second)
		p.probes.report(p.key(), down())
		if state.Health() != backend.Down {
			t.Error("probes that were switched on again have no effect")
		}
	})
}

func TestNoTargetLeavesWhileItsVerdictIsOnTheWay(t *testing.T) {
	p := newProbes(slog.New(slog.DiscardHandler), func(*backend.State, error) {})
	told := false
	s := backend.New(backend.Key{}, breaker.Options{}, func(*backend.State) {
		told = true
		if p.mu.TryLock() {
			p.mu.Unlock()
			t.Error("the target could have left, with nobody to take the verdict back")
		}
	})
	p.keys[s], p.states["1"] = probeKey{name: "1"}, s
	p.report("1", down())
	if !told {
		t.Error("the verdict did not reach the record")
	}
}
