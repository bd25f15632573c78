package routing

import "time"

// Announcements are gathered until none has come for a moment, so that a burst makes one table: briefly when the last
// table is old or was made quickly, longer when they keep coming and tables cost something, up to busyWait and so that
// making them takes a fifth of the time at most; and never beyond maxWait after the first.
const (
	quietWait = time.Millisecond
	busyWait  = 5 * time.Millisecond
	maxWait   = 50 * time.Millisecond
	busyFor   = 100 * time.Millisecond
)

// publication is when a table was published, and how long it took to make it.
type publication struct {
	at   time.Time
	took time.Duration
}

// pending is what was announced since the last table. The catalog's lock guards it.
type pending struct {
	services map[string]struct{}
	routes   map[routeKey]struct{}
	// forget names services that are not to be kept if nothing announces them.
	forget map[string]struct{}
	// configured says that settings changed, synced that a source has come into step for the first time.
	configured, synced bool
	// first and last are when the catalog heard of it, zero while nothing is pending; seen is when a source did at the
	// earliest, zero for what no source announced.
	first, last, seen time.Time
}

// routeKey is a route that belongs to no service.
type routeKey struct{ source, name string }

// due is when what is pending should become a table after the last one.
func (p *pending) due(last publication) time.Time {
	wait := quietWait
	if p.first.Sub(last.at) < busyFor {
		wait = min(max(wait, 4*last.took), busyWait)
	}
	due := p.last.Add(wait)
	if latest := p.first.Add(maxWait); latest.Before(due) {
		return latest
	}
	return due
}

// touch notes that something is pending that a source saw at the given time, zero for what is of no source. The catalog's lock is held, here and below.
func (c *Catalog) touch(seen time.Time) *pending {
	c.revision.Add(1)
	p := &c.pending
	now := time.Now()
	if p.first.IsZero() {
		*p = pending{services: map[string]struct{}{}, routes: map[routeKey]struct{}{}, forget: map[string]struct{}{},
			first: now}
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	p.last = now
	if !seen.IsZero() && (p.seen.IsZero() || seen.Before(p.seen)) {
		p.seen = seen
	}
	return p
}

func (c *Catalog) touchService(name string, seen time.Time) {
	c.touch(seen).services[name] = struct{}{}
}

func (c *Catalog) touchRoute(source, name string, seen time.Time) {
	c.touch(seen).routes[routeKey{source, name}] = struct{}{}
}

// take returns what is pending, and leaves nothing.
func (c *Catalog) take() pending {
	p := c.pending
	c.pending = pending{}
	return p
}
