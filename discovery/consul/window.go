package consul

import "time"

// fewServices is the number up to which all services are swept at every registration: that is cheap, and exact.
const fewServices = 64

// maxWindow bounds the writes between two looks at the list of services that are told apart.
const maxWindow = 1000

// window is the writes to the store between two states of the list of services. Each write has an index of its own, and
// whatever it changes carries it: when the services that were read on their own account for all of the window, nothing
// else changed in it, and no other service has to be looked at.
//
//	list of services at index 41, then at 43     web is new there, and is read: it was registered at 42
//	                                             api has another tag, and is read: it was changed at 43
//	                                             nothing else happened
//
// One write may still change several services (a transaction). It is seen by the look at all services that follows
// within [verifyAfter].
type window struct {
	from, to uint64
	at       time.Time       // of the first event in it
	known    map[uint64]bool // the indexes beyond from that are accounted for
}

// moved widens the window to an index of the list of services.
func (w *window) moved(to uint64, at time.Time) {
	if w.to == w.from {
		w.at = at
	}
	w.to = max(w.to, to)
}

// open reports whether there is something to account for.
func (w *window) open() bool { return w.to > w.from }

// explain notes the indexes in the reply about one service.
func (w *window) explain(res result) {
	note := func(index uint64) {
		if index > w.from && len(w.known) < 2*maxWindow {
			if w.known == nil {
				w.known = map[uint64]bool{}
			}
			w.known[index] = true
		}
	}
	note(res.meta.index) // that of a removal is nowhere else
	for _, e := range res.entries {
		if e == nil || e.Service == nil {
			continue
		}
		note(e.Service.CreateIndex)
		note(e.Service.ModifyIndex)
		for _, c := range e.Checks {
			if c != nil {
				note(c.CreateIndex)
				note(c.ModifyIndex)
			}
		}
	}
}

// close ends the window and reports whether all of it was accounted for, or at least its last write, which is what made
// the list of services be answered: the others mostly are of other things than services (coordinates, sessions, keys).
func (w *window) close() (whole, last bool) {
	whole, last = w.to-w.from <= maxWindow, w.known[w.to]
	for i := w.from + 1; whole && i <= w.to; i++ {
		whole = w.known[i]
	}
	w.from = w.to
	for i := range w.known {
		if i <= w.from {
			delete(w.known, i)
		}
	}
	return whole, last
}
