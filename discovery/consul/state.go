package consul

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/internal/backoff"
)

// state is what is known of the catalog and was told to the sink. It outlives the session that learned it, so that a
// service that cannot be read is announced as it was. It belongs to the goroutine of Run.
type state struct {
	sink    discovery.Sink
	decoder decoder
	log     *slog.Logger
	// records are by name: of all services listed, and of those that were announced and are not known to be gone.
	records map[string]*record
	// badNames are the listed names that cannot be a service's.
	badNames map[string]bool
}

// record is what is known of one service.
type record struct {
	name   string
	listed bool     // in the last list of services
	tags   []string // from there, sorted

	// announced is the state that the sink was told last; problems are what it was told beside.
	announced discovery.Service
	problems  []discovery.Problem
	nodes     map[string]bool // where instances stand
	instances []instanceRef   // in the last reply, whether they serve or not
	index     uint64          // of the last reply; 0 for none
	borrowed  string          // the datacenter that its backends are of, empty for its own
	awayErr   string          // why the prepared query told of none, as it was logged; empty if it did

	// changed is when the state was last seen to change. What changes is likely to change again soon.
	changed time.Time
	// seen is when the event came that made the service to be looked at, zero without one.
	seen time.Time
	// epoch is the session's when the service was last looked at.
	epoch uint64

	// pending: the full listing waits for it. queued: it is among the urgent. busy: a request is under way. again: what
	// that request reads may be out of date already.
	// reading: that request is because of the service itself. likely: it is a sweep's, and the service has just changed.
	pending, queued, busy, again, reading, likely bool
	// failure is why the service cannot be read, nil if it can; it is tried again at retry.
	failure error
	backoff backoff.Backoff
	retry   time.Time
}

// instanceRef is an instance as it was last seen.
type instanceRef struct {
	node, id               string
	modified, nodeModified uint64
}

// begin forgets what a session that ended was about to do, and what it compared by index.
func (r *record) begin() {
	r.listed, r.pending, r.queued, r.busy, r.again, r.reading, r.likely = false, false, false, false, false, false, false
	r.failure, r.retry, r.seen = nil, time.Time{}, time.Time{}
	r.index, r.epoch = 0, 0
}

// record returns the record of a service, a new one if need be.
func (st *state) record(name string) *record {
	r := st.records[name]
	if r == nil {
		r = &record{name: name, announced: discovery.Service{Name: name}, backoff: backoff.Backoff{Max: maxBackoff}}
		st.records[name] = r
	}
	return r
}

// byName are the records in order of name.
func (st *state) byName() []*record {
	return slices.SortedFunc(maps.Values(st.records), func(a, b *record) int { return strings.Compare(a.name, b.name) })
}

// take makes the reply about a service its state. One that was filtered by ACLs takes nothing away: what it lacks may
// be what the token may not read any more.
func (st *state) take(r *record, reply result, relist bool) {
	d := st.decoder
	d.known = r.announced.Backends
	next, problems := d.service(r.name, reply.entries)
	r.index = reply.meta.index
	r.nodes, r.instances = map[string]bool{}, make([]instanceRef, 0, len(reply.entries))
	for _, e := range reply.entries {
		if e == nil || e.Node == nil {
			continue
		}
		r.nodes[e.Node.Node] = true
		if e.Service != nil && st.decoder.takes(r.name, e) {
			r.instances = append(r.instances, instanceRef{e.Node.Node, e.Service.ID, e.Service.ModifyIndex, e.Node.ModifyIndex})
		}
	}
	switch a := reply.away; {
	case a == nil:
		r.borrowed = ""
	case a.datacenter != "":
		r.borrowed = a.datacenter
		next = st.decoder.borrow(next, a)
	case a.unknown(r.borrowed) != nil: // which may have some still
		next.Backends, next.Policy, next.Routes = r.announced.Backends, r.announced.Policy, r.announced.Routes
		next.Stale = []discovery.Stale{{Part: discovery.StaleService, Reason: discovery.CodeQueryFailed, Detail: clip(a.unknown(r.borrowed).Error())}}
	default:
		r.borrowed = ""
	}
	st.tellAway(r, reply.away)
	if reply.meta.filtered {
		next = keep(next, r.announced)
	}
	st.announce(r, next, problems, relist)
}

// tellAway logs once that the prepared query does not tell where else a service is.
func (st *state) tellAway(r *record, a *away) {
	why := ""
	if a != nil && a.err != nil {
		why = a.err.Error()
	}
	if why != "" && why != r.awayErr {
		st.log.Warn("nobody serves here, and where else cannot be asked", "service", r.name, "error", why)
	}
	r.awayErr = why
}

// filteredDetail tells why something is stale that the token may not read.
const filteredDetail = "the agent left out what the token may not read; " + tokenHint

// keep adds to a service what it lacks of an older state, marked as stale. Of a service of which nothing may be read,
// nothing is known from here, and all of it stays.
func keep(s, old discovery.Service) discovery.Service {
	mark := func(part, id string) {
		s.Stale = append(s.Stale, discovery.Stale{Part: part, ID: id, Reason: discovery.CodeFiltered, Detail: filteredDetail})
	}
	if s.Empty() {
		s.Backends, s.Policy, s.Routes = old.Backends, old.Policy, old.Routes
		mark(discovery.StaleService, "")
		return s
	}
	for _, b := range old.Backends {
		i, found := slices.BinarySearchFunc(s.Backends, b.ID, compareID)
		if !found {
			s.Backends = slices.Insert(s.Backends, i, b)
			mark(discovery.StaleBackend, b.ID)
		}
	}
	if s.Policy == nil && old.Policy != nil {
		s.Policy = old.Policy
		mark(discovery.StalePolicy, "")
	}
	if len(s.Routes) == 0 {
		s.Routes = old.Routes
	}
	return s
}

// announce tells the sink of a service's state and problems where they are new, or all when everything is listed.
func (st *state) announce(r *record, next discovery.Service, problems []discovery.Problem, relist bool) {
	next.Name, next.Seen = r.name, r.seen
	if next.Seen.IsZero() {
		next.Seen = time.Now()
	}
	r.seen = time.Time{}
	old := map[string]discovery.Problem{}
	for _, p := range r.problems {
		old[p.Key] = p
	}
	for _, p := range problems {
		if known, ok := old[p.Key]; !ok || known != p || relist {
			st.sink.Reject(p)
		}
		delete(old, p.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		st.sink.Accept(key)
	}
	r.problems = problems
	if !next.Equal(r.announced) && !(next.Empty() && r.announced.Empty()) {
		r.changed = next.Seen
		st.sink.Service(next)
	} else if relist && !next.Empty() {
		st.sink.Service(next)
	}
	r.announced = next
}

// mark tells the sink that a service stays as it was, and why.
func (st *state) mark(r *record, why discovery.Stale, relist bool) {
	seen, next := r.seen, r.announced
	next.Stale = []discovery.Stale{why}
	st.announce(r, next, r.problems, relist)
	r.seen = seen
}

// forget drops a service that is not in the catalog any more.
func (st *state) forget(r *record) {
	st.announce(r, discovery.Service{}, nil, false)
	delete(st.records, r.name)
}

// names takes the names of a list of services: it rejects those that cannot be, and returns the others that are wanted.
func (st *state) names(catalog map[string][]string, relist bool) []string {
	var names []string
	bad := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(catalog)) {
		if !st.decoder.wants(name, catalog[name]) {
			continue
		}
		err := discovery.CheckName(name)
		if err == nil {
			names = append(names, name)
			continue
		}
		p := badName(name, err)
		if bad[p.Key] = true; relist || !st.badNames[p.Key] {
			st.sink.Reject(p)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(st.badNames)) {
		if !bad[key] {
			st.sink.Accept(key)
		}
	}
	st.badNames = bad
	return names
}

// badName is the problem of a service whose name cannot be one.
func badName(name string, err error) discovery.Problem {
	key := clip(name)
	if key == "" {
		key = "(empty)"
	}
	return discovery.Problem{Key: key, Code: discovery.CodeBadName, Detail: err.Error()}
}
