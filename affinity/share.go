package affinity

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Shared is a store that replicas share sessions through. Its methods are called concurrently.
type Shared interface {
	// Write makes the changes, each by itself, and tells in the same order what stands there then. With an error some of
	// them may have been made. No two are of one session.
	Write(ctx context.Context, changes []Change) ([]Result, error)
	// Follow tells the feed what stands in the store, until the context ends.
	Follow(ctx context.Context, feed Feed)
}

// Session is a session in a shared store, where it is found by the service and a hash of what the client is told by.
type Session struct {
	Service string
	Key     [16]byte
	// Backend is the ID of the session's backend, Home that of the one to return to; empty for none.
	Backend, Home string
	// Until is when the session has surely ended, to the millisecond.
	Until time.Time
	// Rev is the revision of what stands there, which grows with each change; 0 for nothing.
	Rev int64
}

// Change is what is to stand of a session: it is written if Rev is the revision of what stands there. A session without
// a backend is to be taken out.
type Change Session

// Result is what became of a change.
type Result struct {
	// Written reports whether it was made. If not, the session is what stands there instead.
	Written bool
	Session
}

// Feed takes what a store tells. Its functions are called one at a time.
type Feed struct {
	// Listed takes all sessions that there are: at first, and after history was lost.
	Listed func([]Session)
	// Changed takes a session that was written, or with Rev 0 taken out. Created says that there was none before.
	Changed func(s Session, created bool)
	// InStep says that what was told is what stands there, OutOfStep that it may not be any more, and why.
	InStep    func()
	OutOfStep func(error)
}

// Bounds of what is written at a time.
const (
	maxBatch = 508 // four transactions of etcd
	// maxGone bounds the sessions of a shard that are to be taken out of the store.
	maxGone = 1024
	// crowd is how many times a service's MaxSessions the store may hold, before no more are added.
	crowd = 2
	// lastWords bounds the writing of what is left at the end.
	lastWords = time.Second
)

// Retries of what could not be written wait from the least to the most, doubling each time.
const (
	leastWait = 50 * time.Millisecond
	mostWait  = 5 * time.Second
)

// share is what is to be written to the shared store: the memories with sessions that are dirty.
type share struct {
	signal chan struct{} // holds a token while ready has something

	// mu guards ready.
	mu    sync.Mutex
	ready []*memory

	sharing                     atomic.Bool // somebody writes
	inStep                      atomic.Bool
	pending                     atomic.Int64 // sessions that are to be written
	dropped, written, overtaken atomic.Uint64
}

func newShare() *share { return &share{signal: make(chan struct{}, 1)} }

// wake has a memory's sessions written.
func (h *share) wake(m *memory) {
	if m.listed.Swap(true) {
		return
	}
	h.mu.Lock()
	h.ready = append(h.ready, m)
	h.mu.Unlock()
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// standing is what an entry knows of the store.
type standing struct {
	rev    int64 // of what stands there; 0 for nothing
	until  int64 // in Unix milliseconds, as it stands there
	used   bool  // an exchange of this process has used the session
	moved  bool  // it has another backend or home here than there
	queued bool  // it is to be written
}

// unwritten reports whether the store is to be told of a session: when it does not have it, has it elsewhere, or might end
// it before its time. What was only heard of is for others to keep.
func (e *entry) unwritten() bool {
	return e.used && (e.rev == 0 || e.moved || e.until < e.expires.UnixMilli())
}

// used notes the use of a session, and reports whether it is to be written.
func (s *shard) used(e *entry, h *share) bool {
	e.used = true
	return s.enqueue(e, h)
}

func (s *shard) enqueue(e *entry, h *share) bool {
	if e.queued || !e.unwritten() || !h.sharing.Load() {
		return false
	}
	if len(s.dirty) >= s.limit {
		h.dropped.Add(1) // it comes again with its next exchange
		return false
	}
	s.dirty = append(s.dirty, e.key)
	e.queued = true
	h.pending.Add(1)
	return true
}

type goneSession struct {
	key key
	rev int64
}

// evicted has the store lose a session that there is no room for, so that it is bounded as the memory is.
func (s *shard) evicted(e *entry, h *share) {
	switch {
	case e.queued:
		h.dropped.Add(1)
	case !e.used || e.rev == 0: // others', or not there
	case len(s.gone) < maxGone:
		s.gone = append(s.gone, goneSession{e.key, e.rev})
	default:
		h.dropped.Add(1)
	}
}

// take returns the sessions to be written, and those to be taken out, which are no longer noted.
func (m *memory) take() (dirty []key, gone []goneSession) {
	m.listed.Store(false)
	shards := *m.shards.Load()
	for i := range shards {
		s := &shards[i]
		s.mu.Lock()
		dirty = append(dirty, s.dirty...)
		gone = append(gone, s.gone...)
		if cap(s.dirty) > 4*maxBatch {
			s.dirty = nil // what an outage has gathered
		}
		s.dirty, s.gone = s.dirty[:0], s.gone[:0]
		s.mu.Unlock()
	}
	return dirty, gone
}

// change is what is to be written of a session; none if that has become needless, or there is no room in the store.
func (m *memory) change(k key, now time.Time) (c Change, ok bool) {
	s := m.lock(k)
	defer s.mu.Unlock()
	e := s.entries[k]
	if e == nil || !e.queued {
		return c, false
	}
	full := e.rev == 0 && m.stands.Load() >= crowd*int64(s.limit*len(*m.shards.Load()))
	if !e.unwritten() || !now.Before(e.expires) || full {
		e.queued = false
		m.share.pending.Add(-1)
		if full {
			m.share.dropped.Add(1)
		}
		return c, false
	}
	return Change{
		Service: m.service, Key: k, Backend: e.backend, Home: e.home, Rev: e.rev,
		// Half as long again, so that a session that is used is written but now and then.
		Until: e.expires.Add(e.expires.Sub(now) / 2),
	}, true
}

// settle takes what became of a change.
func (m *memory) settle(c *Change, r *Result) {
	s := m.lock(c.Key)
	e := s.entries[c.Key]
	if e == nil {
		if r.Written && len(s.gone) < maxGone { // there was no room for it meanwhile
			s.gone = append(s.gone, goneSession{c.Key, r.Rev})
		}
		s.mu.Unlock()
		return
	}
	if e.queued {
		e.queued = false
		m.share.pending.Add(-1)
	}
	switch {
	case r.Rev == 0: // it was taken out
		e.rev, e.until = 0, 0
	case r.Rev < e.rev: // the feed was faster
	case r.Written:
		e.rev, e.until = r.Rev, c.Until.UnixMilli()
		e.moved = e.backend != c.Backend || e.home != c.Home
	default:
		e.adopt(&r.Session)
	}
	dirty := s.enqueue(e, m.share)
	s.mu.Unlock()
	if dirty {
		m.share.wake(m)
	}
}

// adopt takes over what stands in the store: who wrote first is right.
func (e *entry) adopt(o *Session) {
	if e.backend != o.Backend {
		e.backend = o.Backend
	}
	e.home, e.rev, e.until, e.moved = o.Home, o.Rev, o.Until.UnixMilli(), false
	if o.Until.After(e.expires) {
		e.expires = o.Until
	}
}

// hear takes a session that stands in the store.
func (m *memory) hear(o *Session, listing bool, now time.Time) {
	if !now.Before(o.Until) {
		return
	}
	s := m.lock(o.Key)
	if e := s.entries[o.Key]; e != nil && o.Rev <= e.rev && !listing {
		s.mu.Unlock()
		return
	}
	s.use(o.Key, m).adopt(o)
	s.trim(m)
	s.mu.Unlock()
	m.startCleaner()
}

// lose takes that a session stands in the store no more. One that was used here goes on, and is written again with its
// next exchange.
func (m *memory) lose(k key) {
	s := m.lock(k)
	defer s.mu.Unlock()
	if e := s.entries[k]; e != nil {
		s.lost(e, m)
	}
}

func (s *shard) lost(e *entry, m *memory) {
	if e.used {
		e.rev, e.until = 0, 0
	} else {
		s.drop(e, m)
	}
}

// missing takes that of the store's sessions just these are left. What was used here is written again.
func (m *memory) missing(left map[key]bool) {
	shards := *m.shards.Load()
	dirty := false
	for i := range shards {
		s := &shards[i]
		s.mu.Lock()
		if !s.moved {
			for e := s.recent.prev; e != &s.recent; {
				before := e.prev
				if !left[e.key] {
					s.lost(e, m)
					if e.used && s.enqueue(e, m.share) {
						dirty = true
					}
				}
				e = before
			}
		}
		s.mu.Unlock()
	}
	if dirty {
		m.share.wake(m)
	}
}

// Share has sessions of services with store "etcd" written to a shared store, behind the exchanges, and takes over what
// stands there, until the context ends; what is left to write then is given a second. Failed is told of what does not
// work, again and again while it does not. It is called once.
func (m *Manager) Share(ctx context.Context, to Shared, failed func(error)) {
	m.share.sharing.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { to.Follow(ctx, m.feed(failed)) })
	wg.Go(func() { m.writeShared(ctx, to, failed) })
	wg.Wait()
}

// feed is what follows the store.
func (m *Manager) feed(failed func(error)) Feed {
	return Feed{
		Listed:  func(all []Session) { m.heardAll(all, time.Now()) },
		Changed: func(s Session, created bool) { m.heard(&s, created, time.Now()) },
		InStep:  func() { m.share.inStep.Store(true) },
		OutOfStep: func(err error) {
			m.share.inStep.Store(false)
			failed(err)
		},
	}
}

// sharedMemory is the memory of a service's shared sessions, which may be heard of before the service is.
func (m *Manager) sharedMemory(service string) *memory {
	m.mu.Lock()
	s := m.serviceLocked(service)
	m.mu.Unlock()
	return s.store(&s.shared, s.config.Load())
}

func (m *Manager) heard(o *Session, created bool, now time.Time) {
	mem := m.sharedMemory(o.Service)
	if o.Rev == 0 {
		mem.stands.Add(-1)
		mem.lose(o.Key)
		return
	}
	if created {
		mem.stands.Add(1)
	}
	mem.hear(o, false, now)
}

func (m *Manager) heardAll(all []Session, now time.Time) {
	left := map[*memory]map[key]bool{}
	m.mu.Lock()
	for _, s := range m.services {
		if mem := s.shared.Load(); mem != nil {
			left[mem] = map[key]bool{}
		}
	}
	m.mu.Unlock()
	for i := range all {
		mem := m.sharedMemory(all[i].Service)
		if left[mem] == nil {
			left[mem] = map[key]bool{}
		}
		left[mem][all[i].Key] = true
		mem.hear(&all[i], true, now)
	}
	for mem, keys := range left {
		mem.stands.Store(int64(len(keys)))
		mem.missing(keys)
	}
}

// backlog is what a writer has still to write.
type backlog struct {
	share *share
	dirty []pendingKey
	gone  []pendingGone
	seen  map[pendingKey]bool // in the batch under way
}

type pendingKey struct {
	memory *memory
	key    key
}

type pendingGone struct {
	memory *memory
	goneSession
}

// batch is the next changes to write, none if there is nothing left, and the memories that they are of.
func (b *backlog) batch(now time.Time) (changes []Change, of []*memory) {
	clear(b.seen)
	var later backlog // a session that was evicted and came back has two
	for len(changes) < maxBatch {
		switch {
		case len(b.gone) > 0:
			p := b.gone[0]
			b.gone = b.gone[1:]
			if b.first(p.memory, p.key) {
				changes = append(changes, Change{Service: p.memory.service, Key: p.key, Rev: p.rev})
				of = append(of, p.memory)
			} else {
				later.gone = append(later.gone, p)
			}
			continue
		case len(b.dirty) > 0:
			p := b.dirty[0]
			b.dirty = b.dirty[1:]
			if !b.first(p.memory, p.key) {
				later.dirty = append(later.dirty, p)
			} else if c, ok := p.memory.change(p.key, now); ok {
				changes, of = append(changes, c), append(of, p.memory)
			}
			continue
		}
		if !b.refill() {
			break // the loop
		}
	}
	b.dirty, b.gone = append(b.dirty, later.dirty...), append(b.gone, later.gone...)
	return changes, of
}

// first reports whether the batch has no change of that session yet.
func (b *backlog) first(m *memory, k key) bool {
	p := pendingKey{m, k}
	if b.seen[p] {
		return false
	}
	b.seen[p] = true
	return true
}

// refill takes what is dirty now, and reports whether anything may be.
func (b *backlog) refill() bool {
	b.share.mu.Lock()
	ready := b.share.ready
	b.share.ready = nil
	b.share.mu.Unlock()
	for _, m := range ready {
		dirty, gone := m.take()
		for _, k := range dirty {
			b.dirty = append(b.dirty, pendingKey{m, k})
		}
		for _, g := range gone {
			b.gone = append(b.gone, pendingGone{m, g})
		}
	}
	return len(ready) > 0
}

// write makes one batch of changes, and reports whether there is more to do.
func (b *backlog) write(ctx context.Context, to Shared) (more bool, err error) {
	changes, of := b.batch(time.Now())
	if len(changes) == 0 {
		return false, nil
	}
	results, err := to.Write(ctx, changes)
	if err != nil {
		for i := range changes { // they are read anew before the next try
			if c := &changes[i]; c.Backend != "" {
				b.dirty = append(b.dirty, pendingKey{of[i], c.Key})
			} else {
				b.gone = append(b.gone, pendingGone{of[i], goneSession{c.Key, c.Rev}})
			}
		}
		return true, err
	}
	for i := range results {
		c, r := &changes[i], &results[i]
		if r.Written {
			b.share.written.Add(1)
		} else {
			b.share.overtaken.Add(1)
		}
		if c.Backend != "" {
			of[i].settle(c, r)
		}
	}
	return true, nil
}

func (m *Manager) newBacklog() *backlog {
	return &backlog{share: m.share, seen: map[pendingKey]bool{}}
}

// writeShared writes what is dirty until the context ends, and then what is left.
func (m *Manager) writeShared(ctx context.Context, to Shared, failed func(error)) {
	b := m.newBacklog()
	wait := leastWait
	for {
		more, err := b.write(ctx, to)
		var pause <-chan time.Time
		switch {
		case ctx.Err() != nil:
			m.writeLast(ctx, b, to)
			return
		case err != nil:
			failed(err)
			t := time.NewTimer(wait/2 + rand.N(wait/2))
			pause, wait = t.C, min(2*wait, mostWait)
		case more:
			wait = leastWait
			continue
		}
		signal := m.share.signal
		if pause != nil {
			signal = nil
		}
		select {
		case <-ctx.Done():
		case <-pause:
		case <-signal:
		}
	}
}

// writeLast writes what is left when the context has ended, as far as it can be soon.
func (m *Manager) writeLast(ctx context.Context, b *backlog, to Shared) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = b.write(ctx, to); err != nil {
			return
		}
	}
}

// Sharing tells of the shared sessions.
type Sharing struct {
	// On reports whether there is a store, InStep whether what stands there is known.
	On, InStep bool
	// Pending are sessions that are to be written now.
	Pending int64
	// Written and Overtaken count changes that were made, and that were not since another replica was first. Dropped are
	// those that there was no room for.
	Written, Overtaken, Dropped uint64
}

// Sharing tells of the shared sessions of all services.
func (m *Manager) Sharing() Sharing {
	h := m.share
	return Sharing{
		On: h.sharing.Load(), InStep: h.inStep.Load(), Pending: h.pending.Load(),
		Written: h.written.Load(), Overtaken: h.overtaken.Load(), Dropped: h.dropped.Load(),
	}
}
