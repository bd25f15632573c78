package affinity

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// key is what a remembered session is found by: a random identifier, an address in its 16-byte form, or a hash.
type key [16]byte

// bound is what is remembered of a session.
type bound struct {
	backend string
	home    string // the backend to return to; empty for none
	expires time.Time
	issued  time.Time // when the client was last sent the cookie
}

// idLen is the length of an identifier in base64url.
const idLen = 22

// memory remembers sessions, the least recently used of which go first. Its locks are sharded; a store for few sessions
// has a single shard, so that its order is exact where it can be noticed.
type memory struct {
	seed maphash.Seed
	// share is nil if it is this process's alone; what follows is of no use then.
	share   *share
	service string
	listed  atomic.Bool  // share.ready has it
	stands  atomic.Int64 // how many of its sessions the store has
	shards  atomic.Pointer[[]shard]
	active  atomic.Int64

	// cleaning reports whether the cleaner runs; it is written with mu held.
	cleaning atomic.Bool

	// mu guards what follows. The cleaner is nil while the store is empty and after stop.
	mu      sync.Mutex
	cleaner *time.Timer
	every   time.Duration
	stopped bool
}

type shard struct {
	mu      sync.Mutex
	entries map[key]*entry
	// recent is the ring's anchor: recent.next is the entry used last, recent.prev the one to go first.
	recent entry
	limit  int
	// dirty are sessions that are to be written to the shared store, at most limit of them; gone are those to be taken out
	// of it.
	dirty []key
	gone  []goneSession
	// moved says that the entries are in another set of shards now.
	moved bool
	_     [64]byte // keeps neighbours' locks off one cache line
}

type entry struct {
	key key
	bound
	prev, next *entry
	standing
}

func newMemory(limit int, every time.Duration) *memory {
	m := &memory{seed: maphash.MakeSeed(), every: every}
	s := makeShards(limit)
	m.shards.Store(&s)
	return m
}

func shardCount(limit int) int {
	if limit < 4096 {
		return 1
	}
	return 32
}

func makeShards(limit int) []shard {
	s := make([]shard, shardCount(limit))
	for i := range s {
		s[i].entries = make(map[key]*entry)
		s[i].recent.prev, s[i].recent.next = &s[i].recent, &s[i].recent
		s[i].limit = limit / len(s)
	}
	return s
}

// lock returns the key's shard, locked.
func (m *memory) lock(k key) *shard {
	for {
		shards := *m.shards.Load()
		s := &shards[m.index(k, len(shards))]
		s.mu.Lock()
		if !s.moved {
			return s
		}
		s.mu.Unlock()
	}
}

func (m *memory) index(k key, n int) int {
	if n == 1 {
		return 0
	}
	return int(maphash.Bytes(m.seed, k[:]) & uint64(n-1))
}

// get returns the session of that key unless it has expired.
func (m *memory) get(k key, now time.Time) (b bound, ok bool) {
	s := m.lock(k)
	defer s.mu.Unlock()
	e := s.entries[k]
	if e == nil || !now.Before(e.expires) {
		return bound{}, false
	}
	return e.bound, true
}

// put writes a session and makes it the one used last. The backend's ID must last.
func (m *memory) put(k key, b bound) {
	s := m.lock(k)
	e := s.use(k, m)
	if e.backend != b.backend {
		e.backend, e.moved = b.backend, true
	}
	if e.home != b.home {
		e.home, e.moved = strings.Clone(b.home), true // it may lie in a finding's buffer
	}
	e.expires, e.issued = b.expires, b.issued
	dirty := m.share != nil && s.used(e, m.share)
	s.trim(m)
	s.mu.Unlock()
	m.startCleaner()
	if dirty {
		m.share.wake(m)
	}
}

// use returns the key's entry, made if need be, as the one used last.
func (s *shard) use(k key, m *memory) *entry {
	e := s.entries[k]
	if e == nil {
		e = &entry{key: k}
		s.entries[k] = e
		m.active.Add(1)
	} else {
		e.unlink()
	}
	s.push(e)
	return e
}

func (e *entry) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

func (s *shard) push(e *entry) {
	e.prev, e.next = &s.recent, s.recent.next
	e.prev.next, e.next.prev = e, e
}

// trim drops the least recently used entries beyond the limit.
func (s *shard) trim(m *memory) {
	for len(s.entries) > s.limit {
		e := s.recent.prev
		if m.share != nil {
			s.evicted(e, m.share)
		}
		s.drop(e, m)
	}
}

func (s *shard) drop(e *entry, m *memory) {
	e.unlink()
	delete(s.entries, e.key)
	m.active.Add(-1)
	if e.queued {
		e.queued = false
		m.share.pending.Add(-1)
	}
}

// setLimit changes how many sessions are remembered; those that fit stay.
func (m *memory) setLimit(limit int) {
	old := *m.shards.Load()
	for i := range old {
		old[i].mu.Lock()
	}
	defer func() {
		for i := range old {
			old[i].mu.Unlock()
		}
	}()
	next := old
	if shardCount(limit) != len(old) {
		next = makeShards(limit)
		for i := range old {
			for e := old[i].recent.prev; e != &old[i].recent; e = old[i].recent.prev {
				e.unlink()
				s := &next[m.index(e.key, len(next))]
				s.entries[e.key] = e
				s.push(e)
				if e.queued {
					s.dirty = append(s.dirty, e.key)
				}
			}
			next[0].gone = append(next[0].gone, old[i].gone...)
			old[i].moved, old[i].entries, old[i].dirty, old[i].gone = true, nil, nil, nil
		}
	}
	for i := range next {
		next[i].limit = limit / len(next)
		next[i].trim(m)
	}
	m.shards.Store(&next)
	if m.share != nil {
		m.share.wake(m) // whoever took the dirty ones meanwhile has found none
	}
}

// clean drops what has expired. Entries are in order of use, and so of expiry but for a timeout that was changed
// meanwhile; all are looked at, a shard at a time.
func (m *memory) clean(now time.Time) {
	shards := *m.shards.Load()
	for i := range shards {
		s := &shards[i]
		s.mu.Lock()
		if !s.moved {
			for e := s.recent.prev; e != &s.recent; {
				before := e.prev
				if !now.Before(e.expires) {
					s.drop(e, m)
				}
				e = before
			}
		}
		s.mu.Unlock()
	}
}

// setEvery changes how often the store is cleaned.
func (m *memory) setEvery(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.every == d {
		return
	}
	m.every = d
	if m.cleaner != nil {
		m.cleaner.Reset(d)
	}
}

// startCleaner has the store cleaned from now on, until it is empty.
func (m *memory) startCleaner() {
	if m.cleaning.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cleaner == nil && !m.stopped {
		m.cleaning.Store(true)
		m.cleaner = time.AfterFunc(m.every, m.runCleaner)
	}
}

func (m *memory) runCleaner() {
	m.clean(time.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	m.cleaning.Store(false)
	if m.active.Load() > 0 { // also what was put while cleaning was still true
		m.cleaning.Store(true)
		m.cleaner.Reset(m.every)
		return
	}
	m.cleaner = nil
}

// stop ends the cleaning for good.
func (m *memory) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	if m.cleaner != nil {
		m.cleaner.Stop()
		m.cleaner = nil
	}
}
