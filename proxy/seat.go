package proxy

import (
	"time"

	"github.com/vietddude/load-balancer/backend"
)

// seat takes one of the backend's seats, waiting for it in the queue if there is none. Whoever is answered fine leaves it.
func (x *exchange) seat(s *backend.State) kind {
	c := &x.svc.Policy.Connections
	w, taken := s.Seats.Take(c.MaxConns, c.MaxQueue)
	if taken {
		return fine
	}
	if w == nil {
		s.Seats.TimedOut()
		return queueFull
	}
	patience, k := c.QueueTimeout, queueTimeout
	if !x.deadline.IsZero() {
		if left := time.Until(x.deadline); left < patience {
			patience, k = left, exchangeTimeout
		}
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-w.Granted():
		return fine
	case <-x.d.gone():
		k = clientGone
	case <-t.C:
	}
	if !s.Seats.Forsake(w) { // granted in the last moment
		if k != clientGone {
			return fine
		}
		s.Seats.Leave(c.MaxConns)
	}
	if k == queueTimeout {
		s.Seats.TimedOut()
	}
	return k
}

// full reports whether one more attempt would have to queue, or is more than the backend is found to be able to take.
func (x *exchange) full(s *backend.State) bool {
	if s.Limited() {
		return true
	}
	seats := x.svc.Policy.Connections.MaxConns
	return seats > 0 && s.InFlight() >= int64(seats)
}
