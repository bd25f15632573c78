package consul

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// sweep is a walk through the services that may have changed: all that are stale, or, while another of all would
// come too soon, the few that changed last, since changes come in rows.
type sweep struct {
	target uint64    // services that were not looked at since this epoch are
	seen   time.Time // when the event came that it follows
	queue  []*record // still to be looked at
	active bool

	all       uint64    // the target of the last sweep of all
	allAfter  time.Time // no sweep of all begins before
	peekAfter time.Time // no sweep of a few begins before
}

// rowWithin is how soon after a change of a service another one is expected.
const rowWithin = time.Second

// patience bounds how long services that are being read hold up the look at all others.
const patience = time.Second

// advance begins a new epoch: any service may have changed. Some surely has if it is for certain, and is to be found soon;
// else what is told of meanwhile goes first.
func (n *session) advance(at time.Time, certain bool) {
	n.epoch++
	n.certain = n.certain || certain
	if n.since.IsZero() {
		n.since = at
	}
}

// account sees whether what was read on its own accounts for how the list of services moved. If it does not, any service
// may have changed, and all are looked at: at once if not even the write is known that moved the list last, else a moment
// later, when what is known has reached the traffic. If it does, one may still have been changed by the same write, and
// all are looked at too, in a great catalog a while later.
func (n *session) account(now time.Time) {
	at := n.window.at
	reading := len(n.urgent) > 0 || n.reading > 0
	if !n.window.open() || n.relist || reading && now.Sub(at) < patience {
		return
	}
	switch whole, last := n.window.close(); {
	case !last:
		n.advance(at, true)
	case whole && len(n.records) > fewServices:
		n.audit = earlier(n.audit, now.Add(verifyAfter))
	default:
		n.audit = earlier(n.audit, now.Add(doubtAfter))
	}
}

// dispatch starts the requests that are due, the urgent first, and returns when it is to be called at the latest.
func (n *session) dispatch(now time.Time) time.Time {
	n.account(now)
	if !now.Before(n.audit) {
		n.advance(now, false)
		n.audit = now.Add(auditEvery)
	}
	next := n.audit
	for r := range n.again {
		switch {
		case r.busy || r.queued:
		case now.Before(r.retry):
			next = earlier(next, r.retry)
		default:
			n.enqueue(r)
		}
	}
	for ; len(n.urgent) > 0 && n.inFlight < maxFetches; n.urgent = n.urgent[1:] {
		r := n.urgent[0]
		if r.queued && n.records[r.name] == r {
			r.reading = true
			n.reading++
			n.start(r, 0)
		}
	}
	return earlier(next, n.dispatchSweep(now))
}

// dispatchSweep does the same for a sweep, which takes what the urgent leave over.
func (n *session) dispatchSweep(now time.Time) time.Time {
	w := &n.sweep
	n.endSweep()
	if !w.active && w.all < n.epoch {
		n.beginSweep(now)
	}
	for ; len(w.queue) > 0 && len(n.urgent) == 0 && n.inFlight < maxFetches; w.queue = w.queue[1:] {
		r := w.queue[0]
		if r.queued || r.busy || r.failure != nil || r.epoch >= w.target || n.records[r.name] != r {
			continue
		}
		if r.seen.IsZero() {
			r.seen = w.seen
		}
		// One that has just changed is likely to be the one that did again: it is read at once, and the others wait for it.
		r.likely = now.Sub(r.changed) < rowWithin
		if !r.likely && n.likely > 0 {
			break
		}
		index := r.index
		if r.likely {
			n.likely++
			index = 0
		}
		n.start(r, index)
	}
	n.endSweep()
	switch {
	case w.active, w.all == n.epoch, n.inFlight > 0, len(n.urgent) > 0: // a reply comes first
		return n.audit
	case w.target < n.epoch:
		return earlier(w.peekAfter, w.allAfter)
	}
	return w.allAfter
}

func (n *session) beginSweep(now time.Time) {
	w := &n.sweep
	all := !now.Before(w.allAfter)
	if n.byNodes() {
		// What is being read would be found changed, and be read again.
		if busy := len(n.urgent) > 0 || n.inFlight > maxFetches/2; !all || busy && now.Sub(w.allAfter) < patience {
			w.peekAfter = w.allAfter
			return
		}
		w.active, w.target, w.seen, w.queue = true, n.epoch, n.since, nil
		n.since, w.allAfter = time.Time{}, now
		n.locate(now)
		return
	}
	if !all && (w.target == n.epoch || now.Before(w.peekAfter)) {
		return
	}
	w.active, w.target, w.seen, w.queue = true, n.epoch, n.since, n.stale()
	if !all {
		w.queue = w.queue[:min(len(w.queue), maxFetches)]
		w.peekAfter = now.Add(time.Duration(len(w.queue)) * sweepPace)
		return
	}
	w.all, n.since = n.epoch, time.Time{}
	w.allAfter = now.Add(time.Duration(len(w.queue)) * sweepPace)
}

// endSweep notes the end of a sweep when nothing of it is left.
func (n *session) endSweep() {
	if len(n.sweep.queue) == 0 && n.inFlight == 0 {
		n.sweep.active = false
	}
}

// stale are the services that were not looked at in this epoch, those that changed last first. What is being read now
// is read once more.
func (n *session) stale() []*record {
	var stale []*record
	for _, r := range n.records {
		switch {
		case r.epoch >= n.epoch || r.queued || r.failure != nil:
		case r.busy:
			r.again = true
		default:
			stale = append(stale, r)
		}
	}
	slices.SortFunc(stale, func(a, b *record) int {
		return cmp.Or(b.changed.Compare(a.changed), strings.Compare(a.name, b.name))
	})
	return stale
}

// start reads a service. With an index it is read only if its index is another one by now.
func (n *session) start(r *record, index uint64) {
	r.queued, r.busy, r.epoch = false, true, n.epoch
	n.inFlight++
	n.wg.Go(func() {
		res := n.read(r, r.name, index)
		var item itemError
		if res.err != nil && !errors.As(res.err, &item) {
			// A connection may have died of its own. If it is the agent, the next request and the polls tell so.
			res = n.read(r, r.name, index)
		}
		n.results <- res
	})
}

// read makes the requests about one service. It runs beside the session and touches nothing of it that changes.
func (n *session) read(r *record, name string, index uint64) result {
	res := result{record: r}
	if index > 0 {
		now, err := n.client.index(n.ctx, name)
		if err != nil || now == index {
			res.err, res.same = err, true
			return res
		}
	}
	res.entries, res.meta, res.err = n.client.service(n.ctx, name)
	if res.err == nil && n.client.o.fails() && !n.decoder.serves(name, res.entries) {
		res.away = n.client.elsewhere(n.ctx, n.decoder, name)
	}
	return res
}

// settle tells the sink where the source stands, after everything at hand was taken.
func (n *session) settle() {
	if n.relist {
		if n.listing > 0 {
			return
		}
		n.relist, n.alive = false, false
		maps.DeleteFunc(n.records, func(_ string, r *record) bool {
			return !r.listed && !r.busy && !r.queued && r.failure == nil && r.index == 0
		})
		n.sink.Synced()
		n.synced()
	}
	if n.alive && n.inFlight == 0 && len(n.urgent) == 0 && n.sweep.all == n.epoch {
		n.alive = false
		n.sink.Synced()
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// keys are the checks of a list.
func keys(checks api.HealthChecks) map[checkKey]bool {
	m := make(map[checkKey]bool, len(checks))
	for _, c := range checks {
		if c != nil {
			m[checkKey{node: c.Node, id: c.CheckID, serviceID: c.ServiceID, service: c.ServiceName}] = true
		}
	}
	return m
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
