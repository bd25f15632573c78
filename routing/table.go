package routing

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
)

// MaxProblems bounds what [Table.Problems] returns, and the problems of a [SourceStatus].
const MaxProblems = 1000

// Table is the immutable snapshot that requests are routed by. What is mutable hangs off it by pointer and outlives it:
// a backend's [backend.State], a service's ready set.
type Table struct {
	generation uint64
	settings   tableSettings

	// entries holds each service by name, and what routes lead to it.
	entries pmap[*entry]
	// named holds the routes that belong to no service's announcement, by key.
	named pmap[*claim]
	// The routes by host, then by path: exact hosts, suffixes of wildcards, any host.
	exact, wild pmap[*pathNode]
	any         *pathNode
	catchAll    *Route
	// problems are kept by what they are about, so that it replaces them.
	problems pmap[[]discovery.Problem]
	// touched names the services that differ from the table before.
	touched []string
	// sum is that of all entries.
	sum fingerprint
	// rules are those for breakers that were made last: most services have the same.
	rules *breaker.Rules
}

// tableSettings are the part of the settings that a table depends on.
type tableSettings struct {
	catchAll, domain string
}

// entry is a service and the routes that lead to it.
type entry struct {
	service *Service // nil for one that is not known but led to
	claims  []*claim // in order of key
	routes  []*Route // one for each claim while the service is known, or its default routes
	sum     fingerprint
}

// Generation counts published tables from 1.
func (t *Table) Generation() uint64 { return t.generation }

// Header gives the values of a request's header fields by canonical name. http.Header's Values satisfies it.
type Header interface{ Values(name string) []string }

// Request is what a match looks at.
type Request struct {
	Host   string // as received: case and port are taken care of
	Path   string // without the query
	Method string
	Header Header // nil for none
}

// Service returns the service of that name, nil if there is none.
func (t *Table) Service(name string) *Service {
	if e := t.entries.at(name); e != nil {
		return e.service
	}
	return nil
}

// Services returns all services in order of name. The slice is the caller's.
func (t *Table) Services() []*Service {
	all := make([]*Service, 0, t.entries.len())
	for _, e := range t.entries.all() {
		if e.service != nil {
			all = append(all, e.service)
		}
	}
	slices.SortFunc(all, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Routes returns all routes that can match, in order of precedence, the default ones and the catch-all included. The
// slice is the caller's.
func (t *Table) Routes() []*Route {
	var all []*Route
	for _, e := range t.entries.all() {
		all = append(all, e.routes...)
	}
	slices.SortFunc(all, func(a, b *Route) int { return a.claim.compare(b.claim) })
	all = slices.CompactFunc(all, func(a, b *Route) bool { return a.claim.match == b.claim.match })
	if t.catchAll != nil {
		all = append(all, t.catchAll)
	}
	return all
}

// Problems returns what was rejected when the table was built, in order of source and key, at most [MaxProblems]. The
// slice is the caller's.
func (t *Table) Problems() []discovery.Problem {
	var all []discovery.Problem
	for _, ps := range t.problems.all() {
		all = append(all, ps...)
	}
	slices.SortFunc(all, compareProblems)
	return all[:min(len(all), MaxProblems)]
}

func compareProblems(a, b discovery.Problem) int {
	return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Key, b.Key), strings.Compare(a.Code, b.Code),
		strings.Compare(a.Detail, b.Detail))
}

// Changes yields the services that differ between a table and an earlier one, which may be nil: both forms of each,
// before and after, nil where there is none. For a table and the one before it the work is proportional to the change.
func (t *Table) Changes(prev *Table) iter.Seq2[*Service, *Service] {
	return func(yield func(before, after *Service) bool) {
		names := t.touched
		if prev == nil {
			prev = &Table{}
		}
		if prev.generation+1 != t.generation {
			names = names[:0:0]
			for _, from := range []*Table{prev, t} {
				for name := range from.entries.all() {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			names = slices.Compact(names)
		}
		for _, name := range names {
			if before, after := prev.Service(name), t.Service(name); before != after && !yield(before, after) {
				return
			}
		}
	}
}

// Route is a match and the service that it leads to.
type Route struct {
	// Route is as announced, but with its host in lower case, its path without a slash at the end, and its header names
	// canonical. It is never nil, and what it points to does not change.
	*discovery.Route
	// Source is the name of the source that announced the route; "default" for a service's host name, "catch-all" for
	// what answers everything.
	Source string
	// Target is never nil.
	Target *Service
	// Requests counts exchanges by this route; it is kept from table to table by the route's name.
	Requests *atomic.Uint64

	headers []headerMatch // the claim's, which is not looked at to match
	claim   *claim
}

// Service is a named set of backends under one policy, as one table has it.
type Service struct {
	Name string
	// Policy is complete and does not change.
	Policy *Policy
	// Backends are all the service's backends, ready or not, in order of ID.
	Backends []*Backend
	// Past reports whether nothing announces the service any more: it is kept for an answer of 503.
	Past bool
	// Runtime is what outlives the table.
	Runtime *Runtime

	// rules are the policy's for breakers.
	rules *breaker.Rules

	policySum, sum fingerprint
}

// Backend returns the backend with that ID, nil if there is none.
func (s *Service) Backend(id string) *Backend { return findBackend(s.Backends, id) }

// findBackend looks for an ID in backends in order of ID.
func findBackend(bs []*Backend, id string) *Backend {
	i := sort.Search(len(bs), func(i int) bool { return bs[i].ID >= id })
	if i < len(bs) && bs[i].ID == id {
		return bs[i]
	}
	return nil
}

// Backend is one backend as one table has it: weight and drain are those in force, an operator's overrides included.
type Backend struct {
	discovery.Backend
	// Sources are the names of the sources that announce it, in order of precedence.
	Sources []string
	// Held reports whether no source announces it any more, and a guard does not believe that yet: it serves for as long
	// as its checks succeed, see [Guard].
	Held bool
	// State is the record that outlives the table.
	State *backend.State
	// ZoneRequests counts attempts at backends of this zone, of this service.
	ZoneRequests *atomic.Uint64

	sum fingerprint
}
