package backend

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func granted(w *Waiter) bool {
	select {
	case <-w.Granted():
		return true
	default:
		return false
	}
}

func TestSeatsAreGrantedInTheOrderOfArrival(t *testing.T) {
	var s Seats
	if _, ok := s.Take(1, 10); !ok {
		t.Fatal("no seat although none is taken")
	}
	a, _ := s.Take(1, 10)
	b, _ := s.Take(1, 10)
	s.Leave(1)
	if !granted(a) || granted(b) {
		t.Error("the seat did not go to the first")
	}
	if _, ok := s.Take(1, 10); ok {
		t.Error("a newcomer went before who waits")
	}
	if !s.Forsake(b) || s.Forsake(a) {
		t.Error("Forsake does not know who has a seat")
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	var s Seats
	s.Take(1, 1)
	if w, ok := s.Take(1, 1); w == nil || ok {
		t.Fatal("could not queue")
	}
	if w, ok := s.Take(1, 1); w != nil || ok {
		t.Error("two wait in a queue of one")
	}
	if w, ok := s.Take(1, 0); w != nil || ok {
		t.Error("waits without a queue")
	}
}

func TestMoreSeatsServeThoseWhoWait(t *testing.T) {
	var s Seats
	s.Take(1, 9)
	a, _ := s.Take(1, 9)
	b, _ := s.Take(3, 9) // the policy has changed
	if !granted(a) || !granted(b) {
		t.Error("seats are free and somebody waits")
	}
}

// The seats compared with lists: who holds one, and who waits in which order.
func TestSeatsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seats, queue := rapid.IntRange(1, 3).Draw(t, "seats"), rapid.IntRange(0, 3).Draw(t, "queue")
		var s Seats
		holding := 0
		var waiting []*Waiter
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				w, ok := s.Take(seats, queue)
				switch {
				case holding < seats && len(waiting) == 0:
					if holding++; !ok {
						t.Fatal("no seat")
					}
				case len(waiting) < queue:
					if w == nil || ok {
						t.Fatal("not queued")
					}
					waiting = append(waiting, w)
				case w != nil || ok:
					t.Fatal("taken or queued beyond the bounds")
				}
			},
			"leave": func(t *rapid.T) {
				if holding == 0 {
					return
				}
				s.Leave(seats)
				if holding--; len(waiting) > 0 {
					if !granted(waiting[0]) {
						t.Fatal("the first did not get the seat")
					}
					holding, waiting = holding+1, waiting[1:]
				}
			},
			"forsake": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				if !s.Forsake(waiting[i]) {
					t.Fatal("has a seat")
				}
				waiting = slices.Delete(waiting, i, i+1)
			},
			"": func(t *rapid.T) {
				if s.use().taken != holding || s.Waiting() != int64(len(waiting)) || slices.ContainsFunc(waiting, granted) {
					t.Fatalf("%d taken, %d wait; want %d and %d", s.use().taken, s.Waiting(), holding, len(waiting))
				}
			},
		})
	})
}

func TestSeatsAreNeverMoreThanThereAre(t *testing.T) {
	var s Seats
	var held atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				w, ok := s.Take(3, 100)
				if !ok {
					if i%5 == 0 && s.Forsake(w) {
						continue
					}
					<-w.Granted()
				}
				if n := held.Add(1); n > 3 {
					t.Errorf("%d hold a seat", n)
				}
				held.Add(-1)
				s.Leave(3)
			}
		})
	}
	wg.Wait()
	if s.use().taken != 0 || s.Waiting() != 0 {
		t.Errorf("%d taken, %d wait", s.use().taken, s.Waiting())
	}
}
