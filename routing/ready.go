package routing

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
)

// Runtime is the mutable part of a service: counters, position of the pickers, and the set of backends that are ready
// now. It is shared from table to table. Its methods may be called concurrently.
type Runtime struct {
	Stats backend.Stats
	// Load counts the attempts under way at all backends of a service whose loads are bounded; see [ReadySet.Bounded].
	Load   atomic.Int64
	cursor balance.Cursor
	ready  atomic.Pointer[ReadySet]
	// defaultRequests counts for the default routes, which come and go.
	defaultRequests atomic.Uint64
	zones           zoneCounters

	judging judging

	// told is the method changed, made once for all records; of the builder.
	told func(*backend.State)

	// stale says that something changed since the ready set was last begun to be made.
	stale atomic.Bool
	// large says that making the ready set is left to a goroutine.
	large atomic.Bool
	// mu guards what follows, and the making of ready sets. It is let go of by unlock.
	mu sync.Mutex
	// service is what the latest table has; nil before the first and after the last.
	service *Service
	env     *environment
	// members are the service's backends of which this balancer uses any: all of them, or its subset.
	members []*Backend
	tables  tables
	ramps   ramps
}

// environment is what ready sets depend on besides a service: what the balancer knows of itself, whom it tells.
type environment struct {
	here     Here
	panicked func(service string, p Panic)
	// making holds a token for each table of consistent hashing that is being made; nil for no bound.
	making chan struct{}
}

// Here is what a balancer knows of itself. The zero value knows nothing.
type Here struct {
	// Zone is where the balancer stands; empty for nowhere in particular.
	Zone string
	// ID tells it from the other balancers that share its backends.
	ID string
	// Index is its number among them, from 0, and Of is how many there are; 0 if that is not known.
	Index, Of int
}

// maxInline is the greatest number of backends for which whoever changes the health, breaker or drain of one makes the
// new ready set, in about 10 µs. In larger services a goroutine does, for all the changes that came meanwhile.
const maxInline = 256

// Ready is the set of backends that new exchanges may go to now: those with a weight whose probes, breaker and drain
// allow it, without those that could not be connected to a moment ago, as long as others are left. It never returns nil.
//
// When fewer than the policy's share of the backends are ready, or none, the set is in panic: all take part but those that
// are not to (in drain, of weight 0) and those whose breaker is open, which has seen their answers; see [ReadySet.Panic].
//
// It is brought up to date before [backend.State]'s methods that change it return, unless that happens concurrently or
// the service has more than 256 backends; then it is within milliseconds. While a backend starts slowly it is made anew
// at each step of that.
func (r *Runtime) Ready() *ReadySet {
	if s := r.ready.Load(); s != nil {
		return s
	}
	return &nobody
}

var nobody ReadySet

// Members is how many of the service's backends this balancer uses any of: all, or its subset.
func (r *Runtime) Members() int {
	r.mu.Lock()
	defer r.unlock()
	return len(r.members)
}

// changed is called after a backend's availability did.
func (r *Runtime) changed(*backend.State) {
	pending := r.stale.Swap(true)
	if !r.large.Load() {
		r.settle()
	} else if !pending {
		go r.settle()
	}
}

// settle makes ready sets until none is stale. Whoever finds another at it leaves the work to that one: it looks at
// stale again after it has let go of the lock, so that no change is lost.
func (r *Runtime) settle() {
	for r.stale.Load() && r.mu.TryLock() {
		r.stale.Store(false) // before the states are read
		r.renewLocked()
		r.mu.Unlock()
	}
}

// install has the ready set made of a new table's service from now on, nil when the service is gone, and returns when
// it is. Without an environment the balancer knows nothing of itself and tells nobody.
func (r *Runtime) install(s *Service, env *environment) {
	if env == nil {
		env = &environment{}
	}
	r.mu.Lock()
	r.service, r.env = s, env
	r.members = nil
	if s != nil {
		r.members = subset(s.Backends, s.Policy.Subset, env.here)
		r.tables.want(r)
	}
	r.large.Store(len(r.members) > maxInline)
	r.stale.Store(false)
	r.renewLocked()
	r.unlock()
}

// unlock lets go of mu, and does what whoever found it taken has left to its holder.
func (r *Runtime) unlock() {
	r.mu.Unlock()
	r.settle()
}

// renewLocked makes the ready set of what is true now. One that would be the same is kept.
func (r *Runtime) renewLocked() {
	last := r.Ready()
	if r.service == nil {
		r.ramps.stop()
		r.tables = tables{}
		r.tellPanic(last, &nobody)
		r.ready.Store(&nobody)
		return
	}
	now := time.Now()
	policy := r.service.Policy
	next := &ReadySet{algorithm: policy.Algorithm, table: r.tables.current(policy.Algorithm), maxLoad: policy.Hash.MaxLoad}
	r.gatherLocked(next, now)
	next.weights = r.weighLocked(next, now)
	if last.picker != nil && next.equal(last) {
		return
	}
	next.picker = r.picker(next)
	r.tellPanic(last, next)
	r.ready.Store(next)
}

// gatherLocked finds who is in the set.
func (r *Runtime) gatherLocked(next *ReadySet, now time.Time) {
	next.Backends = make([]*Backend, 0, len(r.members))
	var avoided, all []*Backend
	for _, b := range r.members {
		if b.Weight <= 0 || b.State.Draining() || b.State.Failing() {
			continue
		}
		next.Taking++
		switch {
		case !b.State.Available(now):
			if b.Held || b.State.Health() == backend.Probing || b.State.Breaker.State(now) == breaker.Open {
				continue
			}
		case b.State.Avoided(now):
			avoided = append(avoided, b)
		default:
			next.Backends = append(next.Backends, b)
		}
		all = append(all, b)
	}
	healthy := len(next.Backends)
	if healthy == 0 {
		next.Backends = append(next.Backends, avoided...)
	}
	next.Healthy = next.Backends
	threshold := r.service.Policy.PanicThreshold
	if threshold < 0 || len(next.Backends) > 0 && float64(healthy) >= threshold*float64(next.Taking) {
		return
	}
	if next.Panic = len(all) > len(next.Backends); next.Panic {
		next.Backends = all
	}
}

// Panic is the state of a service that fell into panic, or came out of it.
type Panic struct {
	// On says that all backends take part.
	On bool
	// Healthy is how many of those that are to take part are ready, and Of how many that are.
	Healthy, Of int
}

func (r *Runtime) tellPanic(last, next *ReadySet) {
	if last.Panic != next.Panic && r.env != nil && r.env.panicked != nil && r.service != nil {
		r.env.panicked(r.service.Name, Panic{next.Panic, len(next.Healthy), next.Taking})
	}
}

// picker makes the picker over a set.
func (r *Runtime) picker(set *ReadySet) balance.Picker {
	candidates := make([]balance.Candidate, len(set.Backends))
	for i, b := range set.Backends {
		candidates[i] = balance.Candidate{Weight: b.Weight, InFlight: b.State.InFlightCounter(), Latency: &b.State.Latency, Member: -1}
	}
	algorithm := set.algorithm
	options := balance.Options{Cursor: &r.cursor}
	switch {
	case algorithm.Consistent() && set.table == nil:
		algorithm = balance.Random // until the first table is made
	case algorithm.Consistent():
		options.Table, options.MaxLoad, options.Total = set.table.table, set.maxLoad, &r.Load
		set.table.place(candidates, set)
	case set.weights != nil:
		for i := range candidates {
			candidates[i].Weight = set.weights[i]
		}
		if slices.Contains(set.weights, 0) {
			candidates = slices.DeleteFunc(candidates, func(c balance.Candidate) bool { return c.Weight == 0 })
			for i, w := range set.weights {
				if w > 0 {
					set.chosen = append(set.chosen, i)
				}
			}
		}
		if algorithm == balance.RoundRobin || algorithm == "" {
			algorithm = balance.WeightedRoundRobin
		}
	}
	p, err := balance.New(algorithm, candidates, options)
	if err != nil { // an algorithm that nobody knows; the catalog lets none through
		p, _ = balance.New(balance.RoundRobin, candidates, options)
	}
	return p
}

// ReadySet is an immutable set of backends and the picker over it. Health, breaker and drain changes replace a
// service's ready set by one atomic swap, without a new table. Its methods may be called concurrently and do not
// allocate.
type ReadySet struct {
	// Backends are in order of ID.
	Backends []*Backend
	// Panic says that too few backends are ready, so that those that are not take part too.
	Panic bool
	// Healthy are those that are ready apart from a panic, in order of ID.
	Healthy []*Backend
	// Taking is how many are to take part at all: those of the balancer's subset with a weight that are not in drain.
	Taking int

	picker    balance.Picker // nil only in the set that nothing was ever ready in
	algorithm balance.Algorithm
	// weights are those in force where they differ from the backends' own, by zone or for a slow start; else nil. Under
	// an algorithm that is consistent they are the parts of their keys that backends take.
	weights []int
	// chosen are the backends that the picker chooses among, by their index, where some have a weight in force of 0: those
	// of other zones, which are there for when nobody else is left. Nil if it is all of them.
	chosen  []int
	table   *consistentTable // of an algorithm that is consistent, once it is made
	maxLoad float64
	scan    atomic.Uint64 // where PickExcept looks first
}

// equal reports whether a set says and chooses the same as another one.
func (r *ReadySet) equal(o *ReadySet) bool {
	return r.algorithm == o.algorithm && r.Panic == o.Panic && r.Taking == o.Taking && r.table == o.table &&
		r.maxLoad == o.maxLoad && slices.Equal(r.Backends, o.Backends) && slices.Equal(r.Healthy, o.Healthy) && slices.Equal(r.weights, o.weights)
}

// Keyed reports whether the set chooses by a query's key.
func (r *ReadySet) Keyed() bool { return r.algorithm.Consistent() }

// Tabled reports whether keys decide by now: the first table of a service is made beside the request's way, and until it
// is there backends are chosen at random.
func (r *ReadySet) Tabled() bool { return r.table != nil }

// Bounded reports whether attempts are to be counted in [Runtime.Load] while they are under way.
func (r *ReadySet) Bounded() bool { return r.maxLoad > 0 && r.algorithm.Consistent() }

// Weighed reports whether weights in force are not the backends' own.
func (r *ReadySet) Weighed() bool { return r.weights != nil }

// Weight is the weight in force of the backend at an index, relative to the others of the set: where zones or a slow
// start change it, not what was announced.
func (r *ReadySet) Weight(i int) int {
	if r.weights != nil {
		return r.weights[i]
	}
	return r.Backends[i].Weight
}

// Pick returns the algorithm's next choice, nil if the set is empty.
func (r *ReadySet) Pick(q balance.Query) *Backend {
	if len(r.Backends) == 0 {
		return nil
	}
	i := r.picker.Pick(q)
	if r.chosen != nil {
		i = r.chosen[i]
	}
	return r.Backends[i]
}

// PickExcept returns a backend that is none of those tried, nil if there is no other. It takes the algorithm's choice
// where that comes up with one within a few picks, else the next one from a position that rotates.
func (r *ReadySet) PickExcept(tried []*Backend, q balance.Query) *Backend {
	if len(tried) == 0 || len(r.Backends) == 0 {
		return r.Pick(q)
	}
	for range 3 {
		if b := r.Pick(q); !among(tried, b) {
			return b
		}
		q.Skip++
	}
	start := int(r.scan.Add(1) % uint64(len(r.Backends)))
	for i := range r.Backends {
		if i += start; i >= len(r.Backends) {
			i -= len(r.Backends)
		}
		if b := r.Backends[i]; !among(tried, b) {
			return b
		}
	}
	return nil
}

// among compares records, not values: the same backend is another value in another table.
func among(tried []*Backend, b *Backend) bool {
	for _, t := range tried {
		if t.State == b.State {
			return true
		}
	}
	return false
}

// InPanic reports whether a backend of the set is in it only because of a panic.
func (r *ReadySet) InPanic(b *Backend) bool { return r.Panic && findBackend(r.Healthy, b.ID) == nil }

// Backend returns the backend with that ID, nil if it is not ready.
func (r *ReadySet) Backend(id string) *Backend { return findBackend(r.Backends, id) }
