package proxy

import (
	"sync"
	"time"

	"github.com/vietddude/load-balancer/proxy/upstream"
)

const (
	// lookEvery is the time between two looks at a client whose answer keeps us waiting; it may be twice as long.
	lookEvery = 250 * time.Millisecond
	// halfClosed is how long a client is still served that has ended its sending: one that closed its connection looks
	// the same, until it is sent something.
	halfClosed = time.Second
)

// absence tells when a client has left.
type absence struct {
	look  *upstream.Look
	since time.Time // it has ended its sending
}

// left reports whether the client has left.
func (a *absence) left(now time.Time) bool {
	ended, broken := a.look.Peer()
	switch {
	case broken:
		return true
	case !ended:
		return false
	case a.since.IsZero():
		a.since = now
	}
	return now.Sub(a.since) >= halfClosed
}

// watch looks at a client from time to time while nobody else does.
type watch struct {
	c    *engineConn
	gone chan struct{}

	mu      sync.Mutex // guards what follows
	absence absence
	timer   *time.Timer // nil once the watch has ended
}

func newWatch(c *engineConn) *watch {
	w := &watch{c: c, gone: make(chan struct{})}
	w.absence.look = upstream.NewLook(c.tcp)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(lookEvery, w.tick)
	return w
}

// tick is run by the timer.
func (w *watch) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.timer == nil:
	case w.c.e.cut.Load() || w.absence.left(time.Now()):
		close(w.gone)
		w.timer = nil
	default:
		w.timer.Reset(lookEvery)
	}
}

// strike has whoever waits for the client's leaving wait no longer. The watch is of no use afterwards.
func (w *watch) strike() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
		close(w.gone)
	}
}

// end ends the watch.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
