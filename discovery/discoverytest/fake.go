package discoverytest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// Fake is a source whose store is the test. What it is told to announce it remembers, and names again at every resync.
// Its methods may be called concurrently and before, while and after [Fake.Run]; each returns when the sink has taken
// what follows from it. The sink must not call back into the Fake.
type Fake struct {
	name    string
	started chan struct{}

	// mu guards what follows and is held during calls of the sink, so that they never overlap.
	mu       sync.Mutex
	sink     discovery.Sink // nil while not running
	services map[string]discovery.Service
	routes   map[string]discovery.Route
	problems map[string]discovery.Problem
	outage   error // not nil while the store cannot be reached
	stop     chan error
}

var _ discovery.Source = (*Fake)(nil)

// NewFake returns a source of that name that announces nothing yet.
func NewFake(name string) *Fake {
	return &Fake{
		name:     name,
		started:  make(chan struct{}),
		services: map[string]discovery.Service{},
		routes:   map[string]discovery.Route{},
		problems: map[string]discovery.Problem{},
		stop:     make(chan error, 1),
	}
}

// Name is the name given to [NewFake].
func (f *Fake) Name() string { return f.name }

// Run resyncs with the reason start, or fails when [Fake.Fail] was called before, and then follows the test's calls.
// One Run may follow another.
func (f *Fake) Run(ctx context.Context, sink discovery.Sink) error {
	f.mu.Lock()
	if f.sink != nil {
		f.mu.Unlock()
		return errors.New("discoverytest: the fake runs already")
	}
	f.sink = sink
	if f.outage != nil {
		sink.Failed(f.outage)
	} else {
		f.resyncLocked("start")
	}
	select {
	case <-f.started:
	default:
		close(f.started)
	}
	f.mu.Unlock()

	var err error
	select {
	case <-ctx.Done():
	case err = <-f.stop:
	}
	f.mu.Lock()
	f.sink = nil
	f.mu.Unlock()
	return err
}

// Started is closed when the first [Fake.Run] has told its sink how it starts.
func (f *Fake) Started() <-chan struct{} { return f.started }

// Stop makes the current or next Run return err, as a source does that cannot ever work.
func (f *Fake) Stop(err error) { f.stop <- err }

// Announce says that this is the state of the service now. Backends are put in order, and a zero Seen becomes the
// present time. During an outage it is only remembered.
func (f *Fake) Announce(s discovery.Service) {
	s.Backends = slices.SortedFunc(slices.Values(s.Backends), func(a, b discovery.Backend) int {
		return strings.Compare(a.ID, b.ID)
	})
	if s.Seen.IsZero() {
		s.Seen = time.Now()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services[s.Name] = s
	if s.Empty() {
		delete(f.services, s.Name)
	}
	if f.liveLocked() {
		f.sink.Service(s)
	}
}

// Withdraw says that nothing is announced under the name any more.
func (f *Fake) Withdraw(service string) { f.Announce(discovery.Service{Name: service}) }

// Lose forgets a service without telling, as when its withdrawal was missed; the next resync does not name it.
func (f *Fake) Lose(service string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.services, service)
}

// Route announces a route that belongs to no service's announcement.
func (f *Fake) Route(r discovery.Route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[r.Name] = r
	if f.liveLocked() {
		f.sink.Route(r)
	}
}

// RemoveRoute withdraws a route of [Fake.Route].
func (f *Fake) RemoveRoute(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.routes, name)
	if f.liveLocked() {
		f.sink.RemoveRoute(name)
	}
}

// Reject tells of an item that cannot be taken.
func (f *Fake) Reject(p discovery.Problem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems[p.Key] = p
	if f.liveLocked() {
		f.sink.Reject(p)
	}
}

// Accept withdraws a rejection.
func (f *Fake) Accept(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.problems, key)
	if f.liveLocked() {
		f.sink.Accept(key)
	}
}

// Fail begins an outage, or tells of another reason for the one that lasts.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outage = err
	if f.sink != nil {
		f.sink.Failed(err)
	}
}

// Resync names everything again, between Resync with the reason and Synced. It ends an outage.
func (f *Fake) Resync(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outage = nil
	if f.sink != nil {
		f.resyncLocked(reason)
	}
}

// BreakOff begins a resync, names the first n services in order of name, and then fails: an outage that [Fake.Resync]
// ends.
func (f *Fake) BreakOff(reason string, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outage = err
	if f.sink == nil {
		return
	}
	f.sink.Resync(reason)
	for i, name := range slices.Sorted(maps.Keys(f.services)) {
		if i == n {
			break
		}
		f.sink.Service(f.services[name])
	}
	f.sink.Failed(err)
}

// Synced gives a sign of life.
func (f *Fake) Synced() { f.Do(func(s discovery.Sink) { s.Synced() }) }

// Do calls the sink in any way the other methods cannot; it does nothing while the Fake does not run.
func (f *Fake) Do(calls func(discovery.Sink)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sink != nil {
		calls(f.sink)
	}
}

func (f *Fake) liveLocked() bool { return f.sink != nil && f.outage == nil }

func (f *Fake) resyncLocked(reason string) {
	f.sink.Resync(reason)
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		f.sink.Service(f.services[name])
	}
	for _, name := range slices.Sorted(maps.Keys(f.routes)) {
		f.sink.Route(f.routes[name])
	}
	for _, key := range slices.Sorted(maps.Keys(f.problems)) {
		f.sink.Reject(f.problems[key])
	}
	f.sink.Synced()
}
