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
	es := s.events.use()
	es.mu.Lock()
	defer es.mu.Unlock()
	if len(es.last) == maxEvents {
		es.last = append(es.last[:0], es.last[1:]...)
	}
	es.last = append(es.last, e)
}

// Events are the last few changes, the latest first. The slice is the caller's.
func (s *State) Events() []Event {
	es := s.events.used()
	if es == nil {
		return nil
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	out := slices.Clone(es.last)
	slices.Reverse(out)
	return out
}
