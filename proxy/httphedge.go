package proxy

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// httpHedge makes an exchange's second attempt, in the goroutine of a timer, while the door's goes on with the first. It is
// over before the door's try is.
type httpHedge struct {
	d     *httpDoor
	timer *time.Timer

	mu     sync.Mutex // guards what follows
	late   bool       // the first attempt is over
	call   *call      // of the first attempt
	giveUp context.CancelFunc
	begun  *httpSecond // nil if there is none
}

// httpSecond is the second attempt. What it gave is read when it is over.
type httpSecond struct {
	a    *attempt
	over chan struct{} // closed when it is
	won  bool          // it has a response that the first attempt was given up for

	call   *call
	idle   backendTimer
	cancel context.CancelFunc
	resp   *http.Response
}

// stop ends the attempt if told and if it is not over, and reports whether it did.
func (s *httpSecond) stop(told bool) bool {
	if !told {
		return false
	}
	select {
	case <-s.over:
		return false
	default:
	}
	if s.cancel != nil { // else it has not begun, and finds that it is late
		s.cancel()
	}
	return true
}

// armHedge has the attempt that is about to be made not keep the exchange waiting for longer than its hedge would.
func (d *httpDoor) armHedge(a *attempt) {
	d.hedge = nil
	if a.hedgeAt.IsZero() {
		return
	}
	d.context(a.deadline) // so that it is there
	h := &httpHedge{d: d}
	d.hedge = h
	h.timer = time.AfterFunc(time.Until(a.hedgeAt), func() { h.strike(a) })
}

// watch is the context of a call of the first attempt.
func (h *httpHedge) watch(ctx context.Context, c *call) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.call, h.giveUp = c, cancel; h.begun != nil {
		c.endInformational()
	}
	return ctx, cancel
}

// strike is run by the timer.
func (h *httpHedge) strike(a *attempt) {
	s := h.begin(a)
	if s == nil {
		return
	}
	defer close(s.over)
	d := h.d
	ctx, cancel := context.WithCancel(d.ctx)
	h.mu.Lock()
	late := h.late
	s.cancel = cancel
	h.mu.Unlock()
	if late {
		cancel()
	}
	s.call = newCall(d.w, d.r)
	s.call.endInformational() // the response that counts may be another's
	s.resp = d.answerOf(s.a, ctx, s.call, &s.idle)
	if s.a.kind != fine || !a.hedger.settles(s.a.status) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late { // the first attempt is over, perhaps with a response that is kept
		return
	}
	s.won = true
	if h.giveUp != nil {
		h.giveUp()
	}
}

// begin asks for the second attempt, unless the first is over or something of its response has gone out.
func (h *httpHedge) begin(a *attempt) *httpSecond {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late {
		return nil
	}
	if c := h.call; c != nil {
		c.infoMu.Lock()
		defer c.infoMu.Unlock()
		if c.informed > 0 {
			return nil
		}
	}
	second := a.hedger.hedge()
	if second == nil {
		return nil
	}
	if h.call != nil {
		h.call.w = nil // no informational response of the first attempt, which may not count
	}
	h.begun = &httpSecond{a: second, over: make(chan struct{})}
	return h.begun
}

// decide ends both attempts, of which the first is over or given up, and makes the response that counts the door's.
func (h *httpHedge) decide(first *attempt) {
	h.timer.Stop()
	h.mu.Lock()
	h.late = true
	s := h.begun
	if s == nil {
		h.mu.Unlock()
		return
	}
	d := h.d
	if s.won && d.ctx.Err() == nil { // answered or not, its call has been ended
		first.kind, first.err = beaten, nil
	}
	stopped := s.stop(first.kind == fine && first.hedger.settles(first.status) || first.final())
	h.mu.Unlock()
	first.over = time.Now()
	<-s.over
	if stopped && s.a.kind != fine && d.ctx.Err() == nil {
		s.a.kind, s.a.err = beaten, nil
	}
	if decide(first, s.a) {
		d.drop()
		d.call, d.idle, d.cancelCall, d.resp = s.call, s.idle, s.cancel, s.resp
		return
	}
	if s.resp != nil {
		s.resp.Body.Close()
	}
	s.idle.end()
	s.call.Close()
	s.cancel()
}
