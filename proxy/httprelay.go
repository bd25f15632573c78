package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

// copyBuffers are the buffers that bodies and tunnels go through.
var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// first is what of the response's body came along with its head.
type first struct {
	buf *[32 << 10]byte
	n   int
	err error
}

func (d *httpDoor) begin(a *attempt) kind {
	for name := range d.resp.Trailer { // now, since whoever reads the body adds to them
		d.announced = append(d.announced, name)
	}
	if a.status == http.StatusSwitchingProtocols || d.resp.Body == http.NoBody || d.r.Method == "HEAD" {
		return fine
	}
	f := &d.first
	f.buf = copyBuffers.Get().(*[32 << 10]byte)
	f.n, f.err = d.readFirst(f.buf[:])
	if f.err == nil || f.err == io.EOF || d.headOut {
		return fine
	}
	a.err = f.err
	return d.interrupted(backendReset)
}

// sendHead writes the response's head, which net/http holds back until it is flushed or pushed out by the body.
func (d *httpDoor) sendHead() {
	d.headOut = true
	resp := d.resp
	h := d.w.Header()
	maps.Copy(h, resp.Header)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // else net/http guesses one
	}
	for _, name := range d.announced {
		h.Add("Trailer", name)
	}
	if !d.call.isComplete() {
		d.closeAfter(h)
	}
	d.watch()
	d.w.WriteHeader(resp.StatusCode)
}

func (d *httpDoor) relay(a *attempt) kind {
	if a.status == http.StatusSwitchingProtocols {
		d.headOut = true
		return d.tunnel()
	}
	if !d.headOut {
		d.sendHead()
	}
	if d.first.buf != nil {
		if k := d.copyBody(); k != fine {
			return k
		}
	}
	d.copyTrailers()
	return fine
}

// copyBody streams the response's body: what has come goes out before more is waited for.
func (d *httpDoor) copyBody() kind {
	buf, n, err := d.first.buf, d.first.n, d.first.err
	for {
		if n > 0 {
			m, werr := d.write(buf[:n], err == nil && d.written+int64(n) != d.resp.ContentLength)
			d.written += int64(m)
			if werr != nil {
				// HTTP/2's writer may still be reading the buffer; what the next exchange puts there is not for this client.
				d.first.buf = nil
				return d.interrupted(clientGone)
			}
		}
		switch {
		case err == io.EOF:
			return fine
		case err != nil:
			return d.interrupted(brokenResponse)
		}
		n, err = d.readBody(buf[:])
	}
}

// readBody reads the response's body, for as long as the backend may be idle. While the request is still being sent, it
// may be waiting for the rest.
func (d *httpDoor) readBody(p []byte) (int, error) {
	if d.idle.cancel == nil || !d.call.isComplete() {
		return d.resp.Body.Read(p)
	}
	d.idle.begin()
	n, err := d.resp.Body.Read(p)
	d.idle.pause()
	return n, err
}

// clientTimer has writing to a client fail that takes nothing for too long. There is no deadline that could stand while
// nothing is written: HTTP/2 ends a stream by it whatever it waits for.
type clientTimer struct {
	timer *time.Timer

	mu      sync.Mutex               // guards what follows
	control *http.ResponseController // nil when the exchange has ended
	struck  bool
}

func newClientTimer(w http.ResponseWriter, idle time.Duration) *clientTimer {
	t := &clientTimer{control: http.NewResponseController(w)}
	t.timer = time.AfterFunc(idle, t.expire)
	return t
}

// expire is run by the timer.
func (t *clientTimer) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.control != nil {
		t.struck = true
		t.control.SetWriteDeadline(longAgo)
	}
}

// end sees to it that the client's connection is left alone from now on.
func (t *clientTimer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.control = nil
	t.timer.Stop()
}

func (t *clientTimer) hasStruck() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.struck
}

// write writes, and flushes if told.
func (d *httpDoor) write(p []byte, thenFlush bool) (n int, err error) {
	if idle := d.waits.ClientIdle; idle > 0 {
		if d.taker == nil {
			d.taker = newClientTimer(d.w, idle)
		} else {
			d.taker.timer.Reset(idle)
		}
		defer d.taker.timer.Stop()
	}
	if n, err = d.w.Write(p); err == nil && thenFlush {
		flush(d.w)
	}
	return n, err
}

// errIdle is the end of an attempt whose backend was idle for too long.
var errIdle = errors.New("the backend was idle for too long")

// backendTimer ends an attempt whose backend is idle for too long.
type backendTimer struct {
	timeout time.Duration
	timer   *time.Timer
	ctx     context.Context
	cancel  context.CancelCauseFunc // nil for no bound
}

// watch is the context of an attempt.
func (t *backendTimer) watch(ctx context.Context, timeout time.Duration) context.Context {
	t.end()
	if timeout <= 0 {
		return ctx
	}
	t.timeout = timeout
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	return t.ctx
}

// begin begins a wait for the backend, pause ends it.
func (t *backendTimer) begin() {
	if t.timer == nil {
		cancel := t.cancel
		t.timer = time.AfterFunc(t.timeout, func() { cancel(errIdle) })
	} else {
		t.timer.Reset(t.timeout)
	}
}

func (t *backendTimer) pause() { t.timer.Stop() }

// struck reports whether the attempt ended by the timer.
func (t *backendTimer) struck() bool { return t.ctx != nil && context.Cause(t.ctx) == errIdle }

// end ends the attempt's context. Whether the timer struck can still be asked.
func (t *backendTimer) end() {
	if t.cancel == nil {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.cancel(nil)
	t.cancel = nil
}

// interrupted is the kind of a relay that ended early for that reason, unless it was the client's leaving or the
// exchange's deadline that made it look so.
func (d *httpDoor) interrupted(k kind) kind {
	switch {
	case d.idle.struck():
		return backendIdle
	case timedOut(d.ctx): // first, since it makes net/http believe that the client has left
		return exchangeTimeout
	case d.taker != nil && d.taker.hasStruck():
		return clientIdle
	case d.r.Context().Err() != nil:
		return clientGone
	}
	return k
}

// copyTrailers passes the trailers on, announced ones by their names, others by net/http's prefix.
func (d *httpDoor) copyTrailers() {
	trailer := d.resp.Trailer
	if len(trailer) == 0 {
		return
	}
	flush(d.w) // a body that net/http still held would be sent with its length, and without trailers
	h := d.w.Header()
	for name, values := range trailer {
		if len(trailer) != len(d.announced) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// headDelay is how long a response's head waits for the first of its body, to go out with it. A body that breaks off
// within that time costs an attempt, not the exchange.
const headDelay = time.Millisecond

// headTimer sends the head of a response whose body keeps us waiting. It is made once for a door and used again.
type headTimer struct {
	timer *time.Timer
	fired chan struct{}
}

// readFirst reads the first of the body. If that takes longer than headDelay, the head goes out meanwhile.
func (d *httpDoor) readFirst(p []byte) (int, error) {
	t := &d.head
	if t.timer == nil {
		t.fired = make(chan struct{})
		t.timer = time.AfterFunc(time.Hour, d.headLate)
		t.timer.Stop()
	}
	t.timer.Reset(d.p.headDelay)
	n, err := d.readBody(p)
	if !t.timer.Stop() {
		<-t.fired // only one of us may write
	}
	return n, err
}

// headLate is run by the head's timer.
func (d *httpDoor) headLate() {
	d.sendHead()
	flush(d.w)
	d.head.fired <- struct{}{}
}

// flush sends what is buffered. An error shows at the next write.
func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
		return
	}
	http.NewResponseController(w).Flush() // also finds what is wrapped
}
