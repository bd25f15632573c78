package proxy

import (
	"context"
	"sync"
	"sync/atomic"
)

// tunnels are those under way. No server knows them: their connections were taken from it.
type tunnels struct {
	count atomic.Int64

	// mu guards what follows.
	mu  sync.Mutex
	all map[*tunnel]struct{}
	// over says that tunnels were cut and no new ones are taken.
	over bool
	// empty, if not nil, is closed when the last tunnel has ended.
	empty chan struct{}
}

// add takes a tunnel up, and reports false if there are to be none any more.
func (ts *tunnels) add(t *tunnel) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.over {
		return false
	}
	if ts.all == nil {
		ts.all = make(map[*tunnel]struct{})
	}
	ts.all[t] = struct{}{}
	ts.count.Add(1)
	return true
}

// remove forgets a tunnel that has ended.
func (ts *tunnels) remove(t *tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.all, t)
	ts.count.Add(-1)
	if len(ts.all) == 0 && ts.empty != nil {
		close(ts.empty)
		ts.empty = nil
	}
}

func (ts *tunnels) wasCut() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.over
}

// close waits until there are no tunnels, cuts those that are left when the context ends, and returns how many it cut.
func (ts *tunnels) close(ctx context.Context) (cut int) {
	if empty := ts.waiter(); empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
		}
	}
	ts.mu.Lock()
	ts.over = true
	cut = len(ts.all)
	for t := range ts.all {
		t.cut()
	}
	ts.mu.Unlock()
	if empty := ts.waiter(); empty != nil {
		<-empty // both connections are closed, so this is soon
	}
	return cut
}

// waiter returns a channel that is closed when there are no tunnels, nil if there are none now.
func (ts *tunnels) waiter() <-chan struct{} {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.all) == 0 {
		return nil
	}
	if ts.empty == nil {
		ts.empty = make(chan struct{})
	}
	return ts.empty
}
