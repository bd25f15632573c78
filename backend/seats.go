package backend

import (
	"sync"
	"sync/atomic"
)

// Seats bound the attempts under way at a backend. Who finds none free may queue: seats that become free go to those who
// wait, first come, first served, and to newcomers only when nobody waits. The zero value is ready, and takes no memory where
// attempts are not bounded; all methods may be called concurrently. The number of seats is told with each call, since policies change; who holds a seat keeps it.
//
// With two seats, a and b hold them, c and d queue. When a leaves, c has its seat at once; e, who comes then, queues
// behind d.
type Seats struct{ lazy[seats] }

type seats struct {
	waiting  atomic.Int64
	timeouts atomic.Uint64

	mu          sync.Mutex // guards what follows
	taken       int
	first, last *Waiter
}

// Waiter is a place in the queue for a seat.
type Waiter struct {
	granted    chan struct{}
	prev, next *Waiter
	queued     bool // guarded by the seats' mu
}

// Granted is closed when the waiter has a seat.
func (w *Waiter) Granted() <-chan struct{} { return w.granted }

// Take takes a seat, of so many, if one is free. Otherwise it returns a place in the queue, nil if that is as long as it
// may be already. What was taken or granted goes back by Leave; who is tired of waiting calls Forsake.
func (s *Seats) Take(seats, queue int) (w *Waiter, taken bool) { return s.use().take(seats, queue) }

func (s *seats) take(seats, queue int) (w *Waiter, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.first == nil && s.taken < seats:
		s.taken++
		return nil, true
	case s.waiting.Load() >= int64(queue):
		return nil, false
	}
	w = &Waiter{granted: make(chan struct{}), prev: s.last, queued: true}
	if s.last != nil {
		s.last.next = w
	} else {
		s.first = w
	}
	s.last = w
	s.waiting.Add(1)
	s.grant(seats)
	return w, false
}

// Leave gives a seat back.
func (s *Seats) Leave(seats int) { s.use().leave(seats) }

func (s *seats) leave(seats int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.grant(seats)
}

// Forsake ends the waiting. It reports false if the waiter has a seat already.
func (s *Seats) Forsake(w *Waiter) bool { return s.use().forsake(w) }

func (s *seats) forsake(w *Waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.queued {
		return false
	}
	s.remove(w)
	return true
}

// TimedOut counts one who has waited for too long, or could not even queue.
func (s *Seats) TimedOut() { s.use().timeouts.Add(1) }

// Waiting is how many queue; Timeouts counts calls of TimedOut.
func (s *Seats) Waiting() int64 {
	if t := s.used(); t != nil {
		return t.waiting.Load()
	}
	return 0
}

func (s *Seats) Timeouts() uint64 {
	if t := s.used(); t != nil {
		return t.timeouts.Load()
	}
	return 0
}

// grant gives free seats to those who wait. It is called with mu held.
func (s *seats) grant(seats int) {
	for s.first != nil && s.taken < seats {
		w := s.first
		s.remove(w)
		s.taken++
		close(w.granted)
	}
}

// remove takes a waiter out of the queue. It is called with mu held.
func (s *seats) remove(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		s.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		s.last = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	s.waiting.Add(-1)
}
