package consul

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/internal/backoff"
)

// errIndexReset says that an index went backwards: the agent's history is another one, and nothing that was compared
// by index holds any more.
var errIndexReset = errors.New("consul: the index went backwards")

// pollPause separates the replies of one long poll, so that changes in a row are taken together.
const pollPause = 5 * time.Millisecond

// The long polls of a session.
const (
	pollCatalog  = iota // names and tags of services: moves with every registration
	pollNodes           // moves with addresses and meta of nodes, and with registrations on them
	pollCritical        // critical checks
	pollWarning         // warning checks
	polls
)

// event is a reply to a long poll, or its end.
type event struct {
	poll    int
	at      time.Time
	changed bool // the index moved; without it the reply is but a sign of life
	meta    meta
	catalog map[string][]string // of pollCatalog
	checks  api.HealthChecks    // of pollCritical and pollWarning
	nodes   map[string]uint64   // of pollNodes, if it changed: the nodes with their indexes; nil if they cannot be read
	err     error               // ends the session
}

// ask makes one request of a long poll.
func (c *client) ask(ctx context.Context, poll int, index uint64) (e event) {
	e.poll = poll
	switch poll {
	case pollCatalog:
		e.catalog, e.meta, e.err = c.catalog(ctx, index)
	case pollNodes:
		if _, e.meta, e.err = c.nodes(ctx, index); e.err == nil && e.meta.index > index {
			e.nodes, e.err = c.readNodes(ctx)
		}
	case pollCritical:
		e.checks, e.meta, e.err = c.checks(ctx, index, api.HealthCritical)
	case pollWarning:
		e.checks, e.meta, e.err = c.checks(ctx, index, api.HealthWarning)
	}
	e.at = time.Now()
	return e
}

// readNodes is [client.nodeIndexes], nil if the agent answers and does not tell.
func (c *client) readNodes(ctx context.Context) (map[string]uint64, error) {
	nodes, _, err := c.nodeIndexes(ctx)
	var item itemError
	switch {
	case errors.As(err, &item):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return nodes, nil
}

// poll asks for changes after an index until the context ends or something is wrong.
func (c *client) poll(ctx context.Context, poll int, index uint64, events chan<- event) {
	spin := backoff.Backoff{Min: 2 * pollPause, Max: time.Second}
	for {
		index = max(index, 1) // an index of 0 would not wait; Consul's own begin at 1
		began := time.Now()
		e := c.ask(ctx, poll, index)
		if e.err == nil && e.meta.index < index && index > 1 {
			e.err = errIndexReset
		}
		e.changed = e.meta.index > index
		index = e.meta.index
		select {
		case events <- e:
		case <-ctx.Done():
			return
		}
		pause := backoff.Backoff{Min: pollPause, Max: pollPause}
		switch {
		case e.err != nil:
			return
		case !e.changed && e.at.Sub(began) < c.o.Wait/2: // a reply that should have waited
			if !spin.Wait(ctx) {
				return
			}
		default:
			spin.Reset()
			if !pause.Wait(ctx) {
				return
			}
		}
	}
}
