package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/internal/backoff"
)

const (
	// maxFetches bounds the requests about single services under way.
	maxFetches = 16
	// auditEvery is the time between looks at all services without an event that asks for it.
	auditEvery = time.Minute
	// verifyAfter is the time after a change that seems to be accounted for until all services are looked at.
	verifyAfter = 10 * time.Second
	// doubtAfter is the same in a small catalog, and for a change of which the last write is accounted for and others are not.
	doubtAfter = 100 * time.Millisecond
	// sweepPace times its services is the least time from one sweep to the next, so that a large and busy catalog makes
	// a bounded number of requests, about a thousand a second.
	sweepPace = time.Millisecond
)

// session follows the agent from one full listing to the first failure. All but requests happens in its own goroutine.
type session struct {
	*state
	client  *client
	ctx     context.Context
	events  chan event
	results chan result
	wg      sync.WaitGroup
	synced  func() // called after each full listing

	// unhealthy are the checks in the last replies of pollCritical and pollWarning, with the service or node of each.
	unhealthy [polls]map[checkKey]bool

	// nodes are those of the last reply of pollNodes, each with its index; nil if they could not be read.
	nodes map[string]uint64

	urgent   []*record // to be read as soon as may be, in order
	inFlight int
	reading  int  // of them, those that were asked for by name
	likely   int  // of them, those of a sweep that have just changed
	relist   bool // the full listing is under way
	listing  int  // its services that have not been read yet
	alive    bool // the list of services was heard of since Synced

	// epoch counts the events after which any service may have changed; a service is stale until it was looked at in
	// the current one.
	epoch   uint64
	certain bool // since the last search by nodes something surely changed
	window  window
	noNodes bool      // the agent cannot be asked by nodes
	since   time.Time // when the epoch's first event came that no sweep has followed yet
	sweep   sweep
	audit   time.Time        // when a new epoch begins without an event
	again   map[*record]bool // the services to be read again at their time: they cannot be read, or have nobody to serve
}

// checkKey identifies a check, and says whom it concerns.
type checkKey struct{ node, id, serviceID, service string }

// result is the reply about one service.
type result struct {
	record  *record
	entries []*api.ServiceEntry
	meta    meta
	away    *away // what other datacenters have, where its own has nobody to serve; nil if they were not asked
	same    bool  // the index has not moved, nothing was read
	err     error

	located *located // instead of all but err: the reply of a search by nodes
}

// session lists everything and then follows changes until the context ends or something fails. The function synced is
// called when the listing is complete.
func (s *Source) session(ctx context.Context, c *client, st *state, reason string, synced func()) error {
	ctx, cancel := context.WithCancel(ctx)
	n := &session{
		state: st, client: c, ctx: ctx, synced: synced, again: map[*record]bool{},
		events: make(chan event), results: make(chan result, maxFetches),
		epoch: 1, sweep: sweep{target: 1, all: 1}, audit: time.Now().Add(auditEvery),
	}
	defer n.wg.Wait()
	defer cancel()
	if err := c.reload(); err != nil {
		return err
	}
	if err := n.list(reason); err != nil {
		return err
	}
	return n.follow()
}

// list begins a full listing: it takes the first reply of each poll and starts to wait for the next.
func (n *session) list(reason string) error {
	var first [polls]event
	var wg sync.WaitGroup
	for poll := range polls {
		wg.Go(func() { first[poll] = n.client.ask(n.ctx, poll, 0) })
	}
	wg.Wait()
	for _, e := range first {
		if e.err != nil {
			return e.err
		}
	}
	catalog := first[pollCatalog]
	if err := n.readable(catalog, false); err != nil {
		return err
	}
	n.sink.Resync(reason)
	if catalog.meta.filtered {
		n.sink.Incomplete(discovery.CodeFiltered, filteredDetail)
	}
	n.relist = true
	for _, r := range n.records {
		r.begin()
	}
	for _, name := range n.names(catalog.catalog, true) {
		r := n.record(name)
		r.listed, r.tags = true, sorted(catalog.catalog[name])
	}
	for _, r := range n.byName() {
		if !r.listed && !catalog.meta.filtered && r.borrowed == "" {
			continue // not named, it goes when the listing is complete
		}
		r.seen, r.pending = catalog.at, true
		n.enqueue(r)
		n.listing++
	}
	n.nodes = first[pollNodes].nodes
	n.window = window{from: catalog.meta.index, to: catalog.meta.index}
	n.unhealthy[pollCritical], n.unhealthy[pollWarning] = keys(first[pollCritical].checks), keys(first[pollWarning].checks)
	for poll, e := range first {
		n.wg.Go(func() { n.client.poll(n.ctx, poll, e.meta.index, n.events) })
	}
	return nil
}

// readable reports an empty list that tells of a token without rights rather than of an empty catalog. One that may
// read just some services may see all of them go while the source runs; then they are asked for one by one.
func (n *session) readable(e event, running bool) error {
	switch m := e.meta; {
	case len(e.catalog) > 0, !m.filtered && !m.denies, running && m.filtered:
		return nil
	}
	return fmt.Errorf("consul: the token may not read any service at %s; %s", n.client.o.Address, tokenHint)
}

// follow takes events and results until the context ends or something fails.
func (n *session) follow() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(n.dispatch(time.Now())))
		n.settle()
		select {
		case <-n.ctx.Done():
			return n.ctx.Err()
		case e := <-n.events:
			if err := n.event(e); err != nil {
				return err
			}
		case r := <-n.results:
			if err := n.result(r); err != nil {
				return err
			}
		case <-timer.C:
		}
	}
}

// event takes the reply of a long poll.
func (n *session) event(e event) error {
	if e.err != nil {
		return e.err
	}
	n.alive = n.alive || e.poll == pollCatalog
	switch {
	case !e.changed:
	case e.poll == pollCatalog:
		if err := n.readable(e, true); err != nil {
			return err
		}
		n.catalog(e)
		n.window.moved(e.meta.index, e.at)
	case e.poll == pollNodes:
		n.moved(e)
	default:
		n.checks(e)
	}
	return nil
}

// catalog compares a list of services with the one before.
func (n *session) catalog(e event) {
	for _, r := range n.records {
		r.listed = false
	}
	for _, name := range n.names(e.catalog, false) {
		r, known := n.records[name]
		if !known {
			r = n.record(name)
		}
		r.listed = true
		if tags := sorted(e.catalog[name]); !known || !slices.Equal(tags, r.tags) {
			r.tags = tags
			n.look(r, e.at)
		}
	}
	for _, r := range n.byName() {
		if !r.listed { // believed when it has been read to be empty
			n.look(r, e.at)
		}
	}
}

// checks compares a list of unhealthy checks with the one before and looks at the services of those that came or went.
func (n *session) checks(e event) {
	old, now := n.unhealthy[e.poll], keys(e.checks)
	n.unhealthy[e.poll] = now
	names, nodes := map[string]bool{}, map[string]bool{}
	note := func(k checkKey) {
		if k.service != "" {
			names[k.service] = true
		} else {
			nodes[k.node] = true
		}
	}
	for k := range now {
		if !old[k] {
			note(k)
		}
	}
	for k := range old {
		if !now[k] {
			note(k)
		}
	}
	for name := range names {
		if r := n.records[name]; r != nil {
			n.look(r, e.at)
		}
	}
	n.lookOn(nodes, e.at)
}

// moved compares the nodes with those before and looks at the services of those that changed.
func (n *session) moved(e event) {
	old := n.nodes
	if n.nodes = e.nodes; old == nil || e.nodes == nil {
		n.advance(e.at, true)
		return
	}
	changed := map[string]bool{}
	for node, index := range e.nodes {
		if was, known := old[node]; !known || was != index {
			changed[node] = true
		}
	}
	for node := range old {
		if _, left := e.nodes[node]; !left {
			changed[node] = true
		}
	}
	n.lookOn(changed, e.at)
}

// lookOn has the services with instances on these nodes read.
func (n *session) lookOn(nodes map[string]bool, at time.Time) {
	if len(nodes) == 0 {
		return
	}
	for _, r := range n.records {
		for node := range r.nodes {
			if nodes[node] {
				n.look(r, at)
				break
			}
		}
	}
}

// look has a service read as soon as may be.
func (n *session) look(r *record, at time.Time) {
	if r.seen.IsZero() {
		r.seen = at
	}
	if r.busy {
		r.again = true
		return
	}
	n.enqueue(r)
}

func (n *session) enqueue(r *record) {
	if !r.queued {
		r.queued = true
		n.urgent = append(n.urgent, r)
	}
}

// result takes the reply about one service.
func (n *session) result(res result) error {
	n.inFlight--
	if res.located != nil {
		return n.located(res)
	}
	r := res.record
	r.busy = false
	if r.reading {
		r.reading = false
		n.reading--
	}
	if r.likely {
		r.likely = false
		n.likely--
	}
	var item itemError
	switch {
	case res.err != nil && !errors.As(res.err, &item):
		return res.err
	case res.err != nil:
		if r.failure == nil {
			n.log.Warn("a service cannot be read; it stays as it was", "service", r.name, "error", res.err)
		}
		r.failure, r.retry = res.err, time.Now().Add(r.backoff.Next())
		n.again[r] = true
		n.mark(r, discovery.Stale{Part: discovery.StaleService, Reason: item.code, Detail: clip(item.Error())}, r.pending)
	default:
		if r.failure != nil {
			n.log.Info("the service can be read again", "service", r.name)
		}
		r.failure, r.backoff = nil, backoff.Backoff{Max: maxBackoff}
		if !res.same {
			if delete(n.again, r); res.away != nil {
				n.again[r], r.retry = true, time.Now().Add(failoverEvery)
			}
			n.take(r, res, r.pending)
			n.window.explain(res)
		}
		r.seen = time.Time{}
	}
	if r.pending {
		r.pending = false
		n.listing--
	}
	switch {
	case r.again:
		r.again, r.seen = false, time.Now()
		n.enqueue(r)
	case !r.listed && res.err == nil && !res.same && !res.meta.filtered && r.announced.Empty():
		delete(n.again, r)
		n.forget(r)
	}
	return nil
}
