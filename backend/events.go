package backend

import (
	"slices"
	"sync"
	"time"
)

// Event is a change of what is thought of a backend, for people to read.
type Event struct {
	At time.Time
	// What became of it: "up", "down", "breaker open", "ejected", …
	What string
	// Why is what is known of the reason; it may be empty.
	Why string
}

// maxEvents is how many events of a backend are kept.
const maxEvents = 8

// events are the last of a backend.
type events struct {
	mu   sync.Mutex
	last []Event // guarded by mu; the latest last
}

func (s *State) note(e Event) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if len(s.events.last) == maxEvents {
		s.events.last = append(s.events.last[:0], s.events.last[1:]...)
	}
	s.events.last = append(s.events.last, e)
}

// Events are the last few changes, the latest first. The slice is the caller's.
func (s *State) Events() []Event {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	out := slices.Clone(s.events.last)
	slices.Reverse(out)
	return out
}
