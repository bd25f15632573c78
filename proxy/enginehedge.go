package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
	"github.com/vietddude/load-balancer/proxy/upstream"
)

// rival makes an exchange's second attempt, in a goroutine of its own, while the connection's goroutine goes on with the
// first. It only reads what is the connection's, and is over before the door's try is.
type rival struct {
	c *engineConn
	a *attempt
	*leg
	limits http1.Limits
	over   chan struct{} // closed when it is
	gone   chan struct{} // closed by stop
	won    atomic.Bool   // it has a response that the first attempt is given up for

	mu      sync.Mutex // guards what follows
	stopped bool
	held    *upstream.Conn // to be closed by stop
}

var _ upstream.Caller = (*rival)(nil)

// hedge begins the second attempt, if there is to be one.
func (c *engineConn) hedge(a *attempt) {
	a.hedgeAt = time.Time{}
	if c.informed {
		return
	}
	second := a.hedger.hedge()
	if second == nil {
		return
	}
	c.gone() // so that there is a watch
	if c.spare == nil {
		c.spare = new(leg)
	}
	c.rival = &rival{c: c, a: second, leg: c.spare, over: make(chan struct{}), gone: make(chan struct{})}
	go c.rival.run()
}

// beaten reports whether the second attempt has a response that the first is to be given up for.
func (c *engineConn) beaten() bool { return c.rival != nil && c.rival.won.Load() }

// decide ends both attempts, of which the first is over or given up, and makes the response that counts the door's.
func (c *engineConn) decide(first *attempt) {
	r := c.rival
	switch {
	case first.kind == fine && first.hedger.settles(first.status), first.final():
		r.stop()
	default:
		first.over = time.Now()
		select {
		case <-r.over:
		case <-c.gone():
			if r.won.Load() { // which is what the watch tells of
				<-r.over
				break
			}
			if r.stop(); r.a.kind == fine || r.a.kind == beaten {
				r.a.kind = clientGone
			}
		}
	}
	c.rival = nil
	c.watch.end() // which may have told of the second attempt's response
	c.watch = nil
	if decide(first, r.a) {
		c.drop()
		c.letGoBack()
		c.leg, c.spare = r.leg, c.leg
		c.setBack(c.conn)
		c.beginResponse()
		return
	}
	if c.conn != nil {
		c.conn.ReadUntil = longAgo // it may have been moved
	}
	r.giveUp()
}

// giveUp closes the connection and gives the buffers away.
func (l *leg) giveUp() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
		l.detach()
	}
	l.letGoBack()
}

// run is the attempt's goroutine.
func (r *rival) run() {
	defer close(r.over)
	if !r.attempt(false) {
		r.giveUp()
		r.attempt(true)
	}
	if r.a.kind != fine || !r.c.x.settles(r.a.status) {
		return
	}
	r.won.Store(true)
	r.c.watch.strike() // if the first attempt is still connecting
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.back != nil {
		r.c.back.SetReadDeadline(longAgo)
	}
}

// attempt makes the attempt; see [engineConn.attempt] for what it reports.
func (r *rival) attempt(fresh bool) bool {
	c, a := r.c, r.a
	a.kind, a.sent, a.err = fine, false, nil
	conn, failed := c.e.p.opts.Upstream.Get(c.e.work, a.backend.State, a.policy, r, fresh)
	if failed != nil {
		a.sent = failed.Sent
		return r.fail(kindOf(failed.Kind), failed.Err)
	}
	if r.attach(conn); !r.hold(conn) {
		return r.fail(beaten, nil)
	}
	a.sent = true
	r.bw.Buf = c.req.AppendLine(r.bw.Buf, []byte(a.target))
	r.bw.Buf = c.toBackend.append(r.bw.Buf)
	r.bw.Buf = http1.AppendEnd(r.bw.Buf, http1.None, 0)
	r.bw.Begin(http1.None, 0)
	now := time.Now()
	until := a.deadline
	if limit := a.policy.Timeouts.ResponseHead; limit > 0 {
		until = earlier(now.Add(limit), a.deadline)
	}
	conn.ReadUntil = until
	conn.SetReadDeadline(until)
	if conn.Secure || len(r.bw.Buf) > mediumBuffer {
		conn.SetWriteDeadline(earlier(now.Add(largeHeadTime), a.deadline))
		r.bw.Flush() // what is wrong shows when the response is read
		conn.SetWriteDeadline(time.Time{})
	} else {
		r.bwire.out = &r.bw
	}
	return r.await(fresh)
}

// await waits for the response's head. Informational responses are dropped: the one that counts may be another's.
func (r *rival) await(fresh bool) bool {
	r.limits.Head = r.c.e.p.opts.Upstream.MaxHead()
	for interim := 0; ; interim++ {
		err := r.br.ReadResponse(&r.resp, r.c.method, &r.limits)
		var refused *http1.Error
		switch {
		case err == nil && !r.resp.Interim():
			if v := keepAliveOf(&r.resp.Head); v != nil {
				r.conn.KeepsFor(v)
			}
			if r.resp.Status == 101 {
				return r.fail(backendMalformed, errors.New("a switch of protocols that nobody asked for"))
			}
			r.a.status = r.resp.Status
			return true
		case err == nil && interim < maxInformational:
		case err == nil:
			return r.fail(backendMalformed, errInformational)
		case isTimeout(err) && r.c.late(time.Now()):
			return r.fail(exchangeTimeout, err)
		case isTimeout(err):
			return r.fail(headTimeout, err)
		case errors.As(err, &refused):
			return r.fail(backendMalformed, err)
		case r.conn.Reused && !fresh && err != io.ErrUnexpectedEOF && !r.isStopped():
			return false
		default:
			return r.fail(backendReset, err)
		}
	}
}

// fail ends the attempt; one that was stopped did not fail.
func (r *rival) fail(k kind, err error) bool {
	switch {
	case r.isStopped():
		k, err = beaten, nil
	case k == connectTimeout && r.c.late(time.Now()):
		k = exchangeTimeout
	}
	r.giveUp()
	r.a.kind, r.a.err = k, err
	return true
}

// hold has stop close the connection. It reports false if it came before.
func (r *rival) hold(conn *upstream.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = conn
	return !r.stopped
}

func (r *rival) isStopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

// stop ends the attempt, and waits until it is over.
func (r *rival) stop() {
	r.mu.Lock()
	r.stopped = true
	conn := r.held
	r.mu.Unlock()
	close(r.gone)
	if conn != nil {
		conn.Close()
	}
	<-r.over
}

// Gone, Deadline and Ends are for whoever makes the connection.
func (r *rival) Gone() <-chan struct{} { return r.gone }
func (r *rival) Deadline() time.Time   { return r.a.deadline }
func (r *rival) Ends() upstream.Ends   { return r.c.Ends() }

// early begins the second attempt while the first is still connecting.
type early struct {
	timer *time.Timer
	done  chan struct{} // closed when the timer has struck and the attempt has begun
}

// connecting has a connection that is to be made not keep the exchange waiting for longer than its hedge would.
func (c *engineConn) connecting() {
	if a := c.hedging; a != nil && !a.hedgeAt.IsZero() {
		e := &early{done: make(chan struct{})}
		e.timer = time.AfterFunc(time.Until(a.hedgeAt), func() {
			defer close(e.done)
			c.hedge(a)
		})
		c.early = e
	}
}

// connected ends that.
func (c *engineConn) connected() {
	if e := c.early; e != nil {
		c.early = nil
		if !e.timer.Stop() {
			<-e.done
		}
	}
}
