package routing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/discovery"
)

// SourceStatus is what the catalog knows of one source.
type SourceStatus struct {
	Name string
	// Up reports whether the source is in step with its store.
	Up bool
	// Err is why not; nil when up or not heard of yet.
	Err error
	// Synced is when the source was last in step; zero if never.
	Synced time.Time
	// Services, Backends and Routes count what it announces.
	Services, Backends, Routes int
	// Resyncs counts full listings begun, by reason; Rejected counts rejections ever made, by code. A rejection that is
	// repeated word for word is counted once.
	Resyncs, Rejected map[string]uint64
	// Problems are the items rejected now, at most [MaxProblems], in order of key.
	Problems []discovery.Problem
	// StaleItems counts what is older than what the store holds, and Stale lists it, at most [MaxProblems], in order of
	// service and route.
	StaleItems int
	Stale      []StaleItem
	// Restored reports whether what is known of the source is of before the process began: it has not been in step since.
	Restored bool
	// Guard is what the source's guard does.
	Guard GuardStatus
	// Differences counts what the source announces otherwise than the strongest one, where it is shadowed.
	Differences int
	// Own reports whether the source is the configuration itself, which is always in step.
	Own bool
}

// StaleItem is a part of what a source announces that is older than what its store holds.
type StaleItem struct {
	Service string `json:"service,omitempty"`
	// Route is a route that belongs to no service's announcement.
	Route string `json:"route,omitempty"`
	discovery.Stale
}

// Staleness is how long ago the source was last known to be in step with its store, at a time; since the catalog was
// made, if it never was.
func (s *SourceStatus) Staleness(now, made time.Time) time.Duration {
	switch {
	case s.Own:
		return 0
	case s.Synced.IsZero():
		return max(now.Sub(made), 0)
	}
	return max(now.Sub(s.Synced), 0)
}

// Status is a reading of the catalog.
type Status struct {
	// Made is when the catalog was.
	Made    time.Time
	Sources []SourceStatus
	// Propagation counts table changes by the time from the source's event to the table's publication, in the buckets
	// of backend.LatencyBounds.
	Propagation    [15]uint64
	PropagationSum time.Duration
}

// Status reads the state of all sources, in order of precedence. It may be called at any time.
func (c *Catalog) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Made: c.made, Propagation: c.propagation, PropagationSum: c.propagationSum}
	differences := c.differencesLocked()
	for _, name := range c.settings.Sources {
		s := c.sources[name].status()
		s.Differences = differences[name]
		s.Own = name == c.settings.Own
		st.Sources = append(st.Sources, s)
	}
	return st
}

func (s *source) status() SourceStatus {
	st := SourceStatus{
		Name: s.name, Restored: s.restored, Up: s.up, Err: s.err, Synced: s.synced, Services: len(s.services), Backends: s.backends, Routes: len(s.routes) + s.owned,
		Resyncs: maps.Clone(s.resyncs), Rejected: maps.Clone(s.rejected), Guard: s.guard.status(),
	}
	for name := range s.stale {
		for _, m := range s.services[name].Stale {
			st.Stale = append(st.Stale, StaleItem{Service: name, Stale: m})
		}
	}
	for _, r := range s.routes {
		if r.Stale.Reason != "" {
			st.Stale = append(st.Stale, StaleItem{Service: r.Service, Route: r.Name, Stale: r.Stale})
		}
	}
	slices.SortFunc(st.Stale, func(a, b StaleItem) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Route, b.Route), strings.Compare(a.Part, b.Part), strings.Compare(a.ID, b.ID))
	})
	st.StaleItems = len(st.Stale)
	st.Stale = st.Stale[:min(len(st.Stale), MaxProblems)]
	st.Problems = slices.SortedFunc(maps.Values(s.problems), compareProblems)
	st.Problems = st.Problems[:min(len(st.Problems), MaxProblems)]
	return st
}

// Ready reports whether a table stands that comes from at least one source, and names the sources that are not in step
// with their stores and why. It may be called at any time.
func (c *Catalog) Ready() (ready bool, reasons []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.settings.Sources {
		switch s := c.sources[name]; {
		case s.up:
		case s.restored:
			text := fmt.Sprintf("source %s has not been in step since the start; what the snapshot holds of it serves", name)
			if s.err != nil {
				text += fmt.Sprintf(": %v", s.err)
			}
			reasons = append(reasons, text)
		case s.err != nil:
			reasons = append(reasons, fmt.Sprintf("source %s is out of step: %v", name, s.err))
		default:
			reasons = append(reasons, fmt.Sprintf("source %s has not been in step yet", name))
		}
	}
	if len(c.settings.Sources) == 0 {
		reasons = append(reasons, "no source is configured")
	}
	return c.standing, reasons
}

// observeLocked counts the propagation of one table change.
func (c *Catalog) observeLocked(d time.Duration) {
	i := 0
	for i < len(backend.LatencyBounds) && d > backend.LatencyBounds[i] {
		i++
	}
	c.propagation[i]++
	c.propagationSum += d
}
