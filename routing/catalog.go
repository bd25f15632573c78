package routing

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/discovery"
)

// Resolve makes the policy of a service from the policy texts that sources announce for it, the one of highest
// precedence first, laid over the configuration's. The text that cannot be read is left out and told as a problem. It is
// called from [Catalog.Run], and only when the texts have changed or after [Catalog.Configure].
type Resolve func(service string, texts []PolicyText) (Policy, []discovery.Problem)

// PolicyText is a policy block and the source that announced it.
type PolicyText struct {
	Source string
	Text   []byte
}

// Options configure a [Catalog].
type Options struct {
	// Sources are the names of the sources in order of precedence, the strongest first.
	Sources []string
	// Own is the source that is the configuration itself: it has no store to be out of step with; empty for none.
	Own string
	// Resolve makes policies. It must not be nil.
	Resolve Resolve
	// CatchAll is the service that answers what no route matches; empty for the one named default, if there is one.
	CatchAll string
	// DefaultDomain is the suffix of services' default host names; empty means localhost.
	DefaultDomain string
	// ForgetAfter is how long a service that nothing announces any more is kept, answering 503; 0 means 1 h, less
	// forgets it at once.
	ForgetAfter time.Duration
	// Merge says what becomes of services that several sources announce, MergeOf of single ones; empty means MergeUnion.
	Merge   MergeMode
	MergeOf map[string]MergeMode
	// Guard says when a source is not believed that most of what it announced is gone.
	Guard Guard
	// Guarded is told when a guard trips and when what it held is held no longer; nil for nobody. It is called from
	// [Catalog.Run] before the table that follows is published.
	Guarded func(GuardEvent)
	// Published is called with each new table and the one before (nil at first), in order, before the next can be
	// published. It must not block for long.
	Published func(next, prev *Table)
	// Here is what the balancer knows of itself.
	Here Here
	// Panicked is called when a service falls into panic and when it comes out of it. It must not block, and it may be
	// called concurrently. Nil means that nobody is told.
	Panicked func(service string, p Panic)
}

// Settings are the part of [Options] that may change at run time.
type Settings struct {
	Sources       []string
	Own           string
	CatchAll      string
	DefaultDomain string
	ForgetAfter   time.Duration
	Here          Here
	Merge         MergeMode
	MergeOf       map[string]MergeMode
	Guard         Guard
}

// mergeOf is the mode of one service.
func (s *Settings) mergeOf(service string) MergeMode {
	if m := s.MergeOf[service]; m != "" {
		return m
	}
	return s.Merge
}

func (s Settings) withDefaults() Settings {
	s.Guard = s.Guard.withDefaults()
	s.Sources = slices.Clone(s.Sources)
	s.Merge = cmp.Or(s.Merge, MergeUnion)
	if s.DefaultDomain == "" {
		s.DefaultDomain = "localhost"
	}
	if s.ForgetAfter == 0 {
		s.ForgetAfter = time.Hour
	}
	return s
}

func (s Settings) table() tableSettings {
	return tableSettings{catchAll: s.CatchAll, domain: s.DefaultDomain}
}

// Catalog is what all sources announce now, merged. It publishes a new table whenever that changes. All methods but Run
// may be called concurrently.
type Catalog struct {
	resolve   Resolve
	published func(next, prev *Table)
	guardedTo func(GuardEvent)
	panicked  func(service string, p Panic)
	making    chan struct{}
	table     atomic.Pointer[Table]
	// wake holds a token while something is pending.
	wake chan struct{}
	made time.Time
	// revision counts what may have changed the state that is to be kept.
	revision atomic.Uint64

	// mu guards what follows.
	mu       sync.Mutex
	settings Settings
	sources  map[string]*source // those of the settings
	admin    *source            // backends only
	// overrides are by service.
	overrides   map[string]override
	pending     pending
	guardEvents []GuardEvent // not yet told
	// index and of are what SetPlace was told; placed says that the settings know better.
	index, of int
	placed    bool
	// shadow holds by service what shadowed sources announce otherwise.
	shadow map[string][]Difference
	// past holds the services of the memory that nothing announces any more.
	past map[string]PastService
	// standing says that a table is published that holds what a source in step announced.
	standing       bool
	propagation    [len(backend.LatencyBounds) + 1]uint64
	propagationSum time.Duration

	// memory, env and policy, the last one that was made, belong to Run.
	memory memory
	policy *Policy
	env    *environment
}

// NewCatalog returns a catalog that knows nothing yet; its table is empty and not nil.
func NewCatalog(o Options) *Catalog {
	c := &Catalog{
		resolve: o.Resolve, published: o.Published, guardedTo: o.Guarded, panicked: o.Panicked, making: make(chan struct{}, 1), wake: make(chan struct{}, 1), made: time.Now(),
		sources: map[string]*source{}, admin: newSource(SourceAdmin), overrides: map[string]override{}, shadow: map[string][]Difference{},
		past:   map[string]PastService{},
		memory: memory{services: map[string]*remembered{}},
	}
	c.Configure(Settings{Sources: o.Sources, Own: o.Own, CatchAll: o.CatchAll, DefaultDomain: o.DefaultDomain, ForgetAfter: o.ForgetAfter,
		Merge: o.Merge, MergeOf: o.MergeOf, Guard: o.Guard, Here: o.Here})
	c.table.Store(&Table{settings: c.settings.table()})
	return c
}

// Table is the current table. It is never nil.
func (c *Catalog) Table() *Table { return c.table.Load() }

// Configure applies new settings and resolves all policies anew. What sources announced that are no longer named is
// gone, services that nothing else announces at once; the others' stays.
func (c *Catalog) Configure(s Settings) {
	s = s.withDefaults()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.placed = s.Here.Of > 0; !c.placed {
		s.Here.Index, s.Here.Of = c.index, c.of
	}
	p := c.touch(time.Time{})
	p.configured = true
	remerge := c.settings.Merge != s.Merge || !maps.Equal(c.settings.MergeOf, s.MergeOf) || !slices.Equal(c.settings.Sources, s.Sources)
	c.settings = s
	for name, old := range c.sources {
		if !slices.Contains(s.Sources, name) {
			for svc := range old.services {
				c.touchService(svc, time.Time{})
				p.forget[svc] = struct{}{}
			}
			if old.guard.held != nil {
				for svc := range old.guard.held.services {
					p.forget[svc] = struct{}{}
				}
				c.guardRelease(old, heldReleased)
			}
		} else if !c.guarded(old) {
			c.guardRelease(old, heldReleased)
			old.guard.forget()
		}
		if remerge {
			for svc := range old.services {
				c.touchService(svc, time.Time{})
			}
		}
		// Those that stay may have another rank.
		for route := range old.routes {
			c.touchRoute(name, route, time.Time{})
		}
	}
	maps.DeleteFunc(c.sources, func(name string, _ *source) bool { return !slices.Contains(s.Sources, name) })
	for _, name := range s.Sources {
		if c.sources[name] == nil {
			c.sources[name] = newSource(name)
		}
	}
}

// layersLocked is what is announced of a service, the strongest source first.
func (c *Catalog) layersLocked(service string) []layer {
	var layers []layer
	if s, ok := c.admin.services[service]; ok {
		layers = append(layers, layer{source: SourceAdmin, rank: -1, service: s, fixed: true})
	}
	authority := c.authorityLocked()
	for rank, name := range c.settings.Sources {
		if s, held, ok := c.sources[name].announcedLocked(service); ok {
			layers = append(layers, layer{source: name, rank: rank, service: s, held: held,
				fixed: name == c.settings.Own, first: name == authority})
		}
	}
	return layers
}

// Run builds and publishes tables until the context ends. It is called once.
func (c *Catalog) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last publication
	for {
		now := time.Now()
		due, waiting := c.due(last)
		if waiting && !now.Before(due) {
			if c.step(now) {
				last.at = time.Now()
				last.took = last.at.Sub(now)
			}
			continue
		}
		var wait <-chan time.Time
		if waiting {
			timer.Reset(due.Sub(now))
			wait = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-wait:
		}
	}
}

// due is when the next step is to be made: for what is pending or for what is to be forgotten.
func (c *Catalog) due(last publication) (time.Time, bool) {
	due, waiting := c.memory.nextForget()
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.guardDue(); ok && (!waiting || d.Before(due)) {
		due, waiting = d, true
	}
	if !c.pending.first.IsZero() {
		if d := c.pending.due(last); !waiting || d.Before(due) {
			return d, true
		}
	}
	return due, waiting
}
