package discoverytest

import (
	"context"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// patience bounds every wait of the suite; it is met only by a source that is broken.
const patience = 30 * time.Second

// Harness is a store under test, empty and reachable at first, and sources of it. The suite makes one for each of its
// tests. Its methods end the test on an error of their own.
//
// What a store can do beyond this it says by implementing [Drainer], [Spoiler], [Breaker], [Amnesiac], [PolicyKeeper]
// and [RouteKeeper]; the suite skips what a store cannot do.
type Harness interface {
	// Source returns a new source that follows the store.
	Source(t *testing.T) discovery.Source
	// Put announces a backend in the store, or replaces the one of the same service and ID. Only ID, URL and Weight are
	// set; the suite compares only these and Draining.
	Put(t *testing.T, service string, b discovery.Backend)
	// Remove withdraws a backend that was put, or spoiled.
	Remove(t *testing.T, service, id string)
}

// Drainer can have a backend drained by the store. An announcement by Put ends the drain.
type Drainer interface {
	Drain(t *testing.T, service string, b discovery.Backend)
}

// Spoiler can put something in the place of a backend that cannot be read.
type Spoiler interface {
	// Spoil returns the key of the problem that the source is to tell of.
	Spoil(t *testing.T, service, id string) (key string)
	// KeepsLast reports whether a backend that was good before it was spoiled stays as it was, marked as stale with the code
	// of the problem and why. A source that does not keep it withdraws it.
	KeepsLast() bool
}

// Breaker can cut the store off from sources, while Put and Remove go on to work.
type Breaker interface {
	Break(t *testing.T)
	Heal(t *testing.T)
}

// Amnesiac can restart the store empty and with its counters reset.
type Amnesiac interface {
	Forget(t *testing.T)
}

// PolicyKeeper can announce a policy for a service; nil takes it back.
type PolicyKeeper interface {
	PutPolicy(t *testing.T, service string, policy []byte)
	// Policies returns two different policies that are good, and one that the source rejects, or nil when it rejects
	// none.
	Policies() (a, b, bad []byte)
}

// RouteKeeper can announce routes that belong to no service's announcement.
type RouteKeeper interface {
	PutRoute(t *testing.T, r discovery.Route)
	RemoveRoute(t *testing.T, name string)
}

// Start runs a source into a sink until the returned function is called, or the test ends. That function waits until
// Run has returned and fails the test when its error is not nil.
func Start(t testing.TB, src discovery.Source, sink discovery.Sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, sink) }()
	stopped := false
	stop = func() {
		t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run returned %v though its context ended it, want nil", err)
			}
		case <-time.After(patience):
			t.Errorf("Run did not return within %v of the end of its context", patience)
		}
	}
	t.Cleanup(stop)
	return stop
}

// Backend returns a backend of weight 1 at an address as [discovery.ParseURL] reads it. It panics when that cannot be.
func Backend(id, addr string) discovery.Backend {
	u, err := discovery.ParseURL(addr)
	if err != nil {
		panic(err)
	}
	return discovery.Backend{ID: id, URL: u, Weight: 1}
}

// Service returns a service of these backends.
func Service(name string, backends ...discovery.Backend) discovery.Service {
	return discovery.Service{Name: name, Backends: backends, Seen: time.Now()}
}
