package proxy

import (
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
	"github.com/vietddude/load-balancer/proxy/upstream"
	"github.com/vietddude/load-balancer/routing"
)

// leg is what an attempt works in.
type leg struct {
	// conn is the attempt's connection, nil for none; br and bw read and write it.
	conn  *upstream.Conn
	br    http1.Reader
	bwire backWire
	bw    http1.Writer
	brBuf []byte
	bwBuf []byte
	resp  http1.Response
}

// doorState is what an engineConn has as the door of an exchange.
type doorState struct {
	toBackend, toClient wireFields

	// leg is that of the latest attempt, or of the one whose response is relayed; it is one of own and spare.
	*leg
	own    leg
	spare  *leg       // of hedges; nil before the first
	answ   http1.Body // the response's
	first  []byte     // what of it was read before its head went out; firstBuf holds it
	fBuf   []byte
	limits http1.Limits // of responses

	deadline time.Time // of the exchange
	waits    routing.Timeouts
	silent   time.Time // the backend has sent nothing of its response since then; zero if it did lately
	method   string
	upload   *upload // nil for a body that took no goroutine
	waiting  bool    // for the client to be told to send its body
	touched  bool    // something of the body was read
	informed bool    // an informational response has gone out
	headOut  bool    // the response's head has gone out, or part of it
	tunneled bool
	fromPeer int64 // what came from the client through a tunnel
	written  int64
	lingers  bool // the client may still be sending what nobody reads
	abort    bool // the connection is to be closed without ado

	absence absence
	watch   *watch

	hedging *attempt // the one under way, if it may ask for a second one
	early   *early
	rival   *rival // nil if there is no second attempt
}

var (
	_ door            = (*engineConn)(nil)
	_ upstream.Caller = (*engineConn)(nil)
)

// exchange carries the request that was read. It reports whether another one can follow.
func (c *engineConn) exchange() bool {
	q := &c.req
	c.body.Begin(&c.in, &q.Head, &c.e.limits)
	c.describe(&c.x.req)
	r := &c.x.req
	c.keep = q.Persists() && r.Method != "CONNECT" && !c.e.closing.Load()
	if c.served++; c.served == c.e.opts.Requests && c.keep {
		c.e.p.Strike(Requests)
		c.keep = false
	}
	c.method = r.Method
	c.absence.since = time.Time{}
	c.toBackend.reset(&q.Head)
	c.toBackend.dropDisguised()
	r.Header = &c.toBackend
	c.holdOut()
	if local := c.e.opts.Local; local != nil {
		if h := local(r.Method, r.Path); h != nil {
			c.local(h)
			c.x.reset()
			return c.keep
		}
	}
	c.x.p, c.x.d, c.x.upgradable = c.e.p, c, q.Minor == 1
	k := c.x.run()
	c.finish(k)
	c.x.reset()
	return c.keep
}

// describe fills in the exchange's view of the request.
func (c *engineConn) describe(r *request) {
	q := &c.req
	if t := q.Target(); string(t) != c.lastTarget {
		c.lastTarget = string(t)
		c.lastPath = ""
		path, _, _ := strings.Cut(string(q.Path()), "?")
		if strings.IndexByte(path, '%') >= 0 {
			if plain, err := url.PathUnescape(path); err == nil {
				path = plain
			}
		}
		if path == "" || path == "*" {
			path = "/"
		}
		c.lastPath = path
	}
	if h := q.Host(); string(h) != c.lastHost {
		c.lastHost = string(h)
	}
	r.Target, r.Path, r.Host = c.lastTarget, c.lastPath, c.lastHost
	r.Method = methodOf(q.Method())
	r.Proto = "HTTP/1.1"
	if q.Minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	r.Peer, r.TLS, r.Bodiless = c.peer, c.version, q.Framing == http1.None
}

// methodOf is a method as a string that does not point into the buffer.
func methodOf(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	case "PUT":
		return "PUT"
	case "DELETE":
		return "DELETE"
	case "PATCH":
		return "PATCH"
	case "OPTIONS":
		return "OPTIONS"
	}
	return string(b)
}

func (c *engineConn) outgoing() fields { return &c.toBackend }
func (c *engineConn) incoming() fields { return &c.toClient }
func (c *engineConn) again() bool      { return !c.touched && !c.informed }

func (c *engineConn) transferred() (in, out int64) {
	if c.tunneled {
		return c.fromPeer, c.written
	}
	return c.body.Count(), c.written
}

func (c *engineConn) gone() <-chan struct{} {
	if c.watch == nil {
		c.watch = newWatch(c)
	}
	return c.watch.gone
}

// setBack makes a connection, or none, the one of the attempt. It closes it if the client's has been cut.
func (c *engineConn) setBack(conn *upstream.Conn) {
	c.conn = conn
	c.mu.Lock()
	c.back = conn
	c.mu.Unlock()
	if conn != nil && c.e.cut.Load() {
		conn.Close()
	}
}

// drop ends the attempt and gives its connection up.
func (c *engineConn) drop() {
	if c.conn == nil {
		return
	}
	conn := c.conn
	c.setBack(nil)
	conn.Close()
	c.endBack()
}

// attach has the leg use a connection.
func (l *leg) attach(conn *upstream.Conn) {
	if l.brBuf == nil {
		l.brBuf = getMedium()
	}
	if l.bwBuf == nil {
		l.bwBuf = getMedium()
	}
	l.conn = conn
	if conn.Secure {
		l.br.Reset(conn, l.brBuf)
		l.bw.Reset(conn, l.bwBuf)
	} else {
		l.bwire = backWire{conn: conn}
		l.br.Reset(&l.bwire, l.brBuf)
		l.bw.Reset(&l.bwire, l.bwBuf)
	}
	l.brBuf, l.bwBuf = nil, nil
}

// detach takes the leg's buffers back.
func (l *leg) detach() {
	l.br.Discard(len(l.br.Buffered()))
	l.brBuf, l.bwBuf = l.br.Detach(), l.bw.Detach()
}

// endBack takes the buffers of the attempt back.
func (c *engineConn) endBack() {
	c.detach()
	if c.fBuf != nil {
		putBuffer(c.fBuf)
		c.fBuf, c.first = nil, nil
	}
}

// letGoBack gives the buffers for backends away.
func (l *leg) letGoBack() {
	if l.brBuf != nil {
		putBuffer(l.brBuf)
		l.brBuf = nil
	}
	if l.bwBuf != nil {
		putBuffer(l.bwBuf)
		l.bwBuf = nil
	}
}

// release gives the connection back to its pool if nothing is left in it or on its way, else closes it.
func (c *engineConn) release() {
	conn := c.conn
	if conn == nil {
		return
	}
	clean := c.resp.Persists() && c.answ.Done() && c.answ.Err() == nil && len(c.br.Buffered()) == 0 && !c.waiting &&
		c.bw.Err() == nil && c.bw.Ended() && c.body.Done() && (c.upload == nil || c.upload.complete())
	if clean && conn.Secure {
		clean = c.nothingDecrypted(conn)
	}
	if !clean {
		c.drop()
		return
	}
	c.setBack(nil)
	if c.e.cut.Load() {
		conn.Close()
	} else {
		conn.Release(time.Now())
	}
	c.endBack()
}

// backWire is what a backend's bytes are read from, if there is no TLS. What waits to be sent goes out with the first read,
// which then waits without reading in vain.
type backWire struct {
	conn    *upstream.Conn
	out     *http1.Writer // nil once nothing waits
	gathers bool          // nobody else moves the deadline for reading
}

// Raw is the socket.
func (w *backWire) Raw() syscall.RawConn { return w.conn.Raw() }

// Gather waits until n bytes have come, or as many as are worth waiting for.
func (w *backWire) Gather(n int) {
	if w.gathers {
		w.conn.Gather(n)
	}
}

// Write writes.
func (w *backWire) Write(p []byte) (int, error) { return w.conn.TCP.Write(p) }

// Read sends what waits, and reads.
func (w *backWire) Read(p []byte) (int, error) {
	out := w.out
	if w.out = nil; out == nil {
		return w.conn.TCP.Read(p)
	}
	sent, n, werr, err := w.conn.Ask(out.Pending(), p)
	out.Sent(sent, werr)
	switch {
	case sent == 0 && werr == nil && err != nil: // the deadline had passed before
		w.out = out
		return 0, err
	case n > 0 || err != nil:
		return n, err
	}
	out.Flush() // what is wrong shows when the response is read
	return w.conn.TCP.Read(p)
}

// nothingDecrypted reports whether TLS holds no bytes that came behind the response and were not read.
func (c *engineConn) nothingDecrypted(conn *upstream.Conn) bool {
	var one [1]byte
	conn.ReadUntil = longAgo
	conn.SetReadDeadline(longAgo)
	n, err := conn.Read(one[:])
	return n == 0 && isTimeout(err)
}

// finish lets go of all that the exchange holds and finds out whether the connection can go on.
func (c *engineConn) finish(k kind) {
	c.stopUpload()
	c.drop()
	if c.watch != nil {
		c.watch.end()
		c.watch = nil
	}
	if !c.tunneled && len(c.out.Buf) > 0 && k != clientGone {
		c.out.Flush() // an answer of ours, which waited until it was counted
	}
	if k != fine && (c.headOut || k == clientGone) || c.tunneled {
		c.keep, c.abort = false, true
	}
	if c.out.Err() != nil {
		c.keep, c.abort = false, true
	}
	c.upload, c.deadline, c.silent = nil, time.Time{}, time.Time{}
	c.waiting, c.touched, c.informed, c.headOut = false, false, false, false
	c.written = 0
	c.toClient.reset(nil)
}

func (c *engineConn) try(a *attempt) {
	c.stopUpload()
	c.drop()
	c.deadline, c.waits = a.deadline, a.policy.Timeouts
	if a.hedger != nil {
		c.hedging = a
	}
	if !c.attempt(a, false) {
		c.drop()
		c.attempt(a, true)
	}
	if c.hedging = nil; c.rival != nil {
		c.decide(a)
	}
}

// attempt makes one attempt. It reports false if it failed because an idle connection had ended in the moment in which it
// was taken, and nothing keeps us from another one.
func (c *engineConn) attempt(a *attempt, fresh bool) bool {
	a.kind, a.status, a.sent, a.err = fine, 0, false, nil
	if !c.connect(a, fresh) {
		return true
	}
	a.sent = true
	q := &c.req
	framing, length := q.Framing, q.Length
	c.bw.Buf = q.AppendLine(c.bw.Buf, []byte(a.target))
	c.bw.Buf = c.toBackend.append(c.bw.Buf)
	c.bw.Buf = http1.AppendEnd(c.bw.Buf, framing, length)
	c.bw.Begin(framing, length)
	whole := c.wholeBody()
	if len(c.bw.Buf) > mediumBuffer {
		// A backend that does not read could make such a head wait, with nobody to look after it.
		c.conn.SetWriteDeadline(earlier(time.Now().Add(largeHeadTime), a.deadline))
		defer func(conn *upstream.Conn) { conn.SetWriteDeadline(time.Time{}) }(c.conn)
	}
	switch {
	case (c.body.Done() || whole && c.bw.Gather(&c.body)) && !c.conn.Secure && len(c.bw.Buf) <= mediumBuffer:
		c.touched = q.Framing != http1.None
		c.bwire.out = &c.bw // it goes out when the response is asked for
	case c.body.Done():
		c.bw.Flush() // what is wrong shows when the response is read
	case !whole && !c.touched && q.ExpectsContinue():
		c.waiting = true
		c.bw.Flush()
	default:
		c.sendBody(whole)
	}
	return c.await(a, fresh)
}

// largeHeadTime bounds the sending of a head that may not fit in the system's buffers.
const largeHeadTime = 30 * time.Second

// connect gets a connection to the backend.
func (c *engineConn) connect(a *attempt, fresh bool) bool {
	conn, err := c.e.p.opts.Upstream.Get(c.e.work, a.backend.State, a.policy, c, fresh)
	c.connected()
	if err != nil {
		a.kind, a.sent, a.err = kindOf(err.Kind), err.Sent, err.Err
		switch {
		case c.e.cut.Load():
			a.kind = clientGone
		case c.beaten():
			a.kind = beaten
		case c.late(time.Now()):
			a.kind = exchangeTimeout
		}
		return false
	}
	c.attach(conn)
	c.setBack(conn)
	return true
}

// Gone, Deadline and Ends are for whoever makes the connection.
func (c *engineConn) Gone() <-chan struct{} {
	gone := c.gone()
	c.connecting()
	return gone
}

func (c *engineConn) Deadline() time.Time { return c.deadline }

func (c *engineConn) Ends() (e upstream.Ends) {
	if a, ok := c.net.RemoteAddr().(*net.TCPAddr); ok {
		e.Client = a.AddrPort()
	}
	if a, ok := c.net.LocalAddr().(*net.TCPAddr); ok {
		e.Local = a.AddrPort()
	}
	return e
}

func (c *engineConn) late(now time.Time) bool { return !c.deadline.IsZero() && !now.Before(c.deadline) }

// await waits for the response's head; see attempt for what it reports.
func (c *engineConn) await(a *attempt, fresh bool) bool {
	c.limits.Head = c.e.p.opts.Upstream.MaxHead()
	now := a.begun
	if !c.conn.Reused {
		now = time.Now()
	}
	limit := a.policy.Timeouts.ResponseHead
	var headBy, continueBy time.Time
	if limit > 0 {
		headBy = now.Add(limit)
	}
	if c.waiting {
		continueBy = now.Add(c.e.p.opts.Upstream.ContinueTimeout())
	}
	interim := 0
	for {
		if !c.readBackBy(now, earlier(earlier(earlier(now.Add(2*lookEvery), headBy), continueBy), a.hedgeAt)) {
			return c.fail(a, c.upload.kind(), c.upload.err)
		}
		if c.beaten() { // which is asked after the deadline was set: whoever answered first moves it
			return c.fail(a, beaten, nil)
		}
		err := c.br.ReadResponse(&c.resp, c.method, &c.limits)
		if err == nil {
			if !c.resp.Interim() {
				break
			}
			if interim++; interim > maxInformational {
				return c.fail(a, backendMalformed, errors.New("too many informational responses"))
			}
			if !c.inform() {
				return c.fail(a, clientGone, c.out.Err())
			}
			now = time.Now()
			continue
		}
		if !isTimeout(err) {
			return c.failedRead(a, err, fresh)
		}
		now = time.Now()
		switch {
		case c.upload != nil && c.upload.failed():
			return c.fail(a, c.upload.kind(), c.upload.err)
		case c.late(now):
			if c.touched && !c.uploaded() {
				return c.fail(a, bodyTimeout, err)
			}
			return c.fail(a, exchangeTimeout, err)
		case c.waiting && !now.Before(continueBy):
			if !c.proceed() {
				return c.fail(a, clientGone, c.out.Err())
			}
			continueBy = time.Time{}
		case c.absence.left(now) || c.e.cut.Load():
			return c.fail(a, clientGone, errors.New("the client has left"))
		case c.upload != nil && !c.upload.ended():
			if limit > 0 {
				headBy = now.Add(limit) // which counts from the request's end
			}
		case !headBy.IsZero() && !now.Before(headBy):
			return c.fail(a, headTimeout, err)
		}
		if !a.hedgeAt.IsZero() && !now.Before(a.hedgeAt) {
			c.hedge(a)
		}
	}
	if c.resp.Status == 101 {
		// The rest of the body would be read by two: as a body, and as what goes through the tunnel.
		if c.settleUpload(); !c.uploaded() {
			return c.fail(a, backendMalformed, errors.New("a switch of protocols before the request was complete"))
		}
	}
	if v := keepAliveOf(&c.resp.Head); v != nil {
		c.conn.KeepsFor(v)
	}
	a.status = c.resp.Status
	c.beginResponse()
	return true
}

// beginResponse makes the response whose head the leg has read the one that can be relayed.
func (c *engineConn) beginResponse() {
	c.toClient.reset(&c.resp.Head)
	c.answ.Begin(&c.br, &c.resp.Head, &c.limits)
}

// keepAliveOf is the value of Keep-Alive, which Connection names, nil if there is none.
func keepAliveOf(h *http1.Head) []byte {
	all := h.Fields()
	for i := range all {
		if all[i].Name == http1.KeepAlive {
			return h.Value(&all[i])
		}
	}
	return nil
}

// failedRead is an attempt whose response could not be read.
func (c *engineConn) failedRead(a *attempt, err error, fresh bool) bool {
	var refused *http1.Error
	if errors.As(err, &refused) {
		return c.fail(a, backendMalformed, err)
	}
	if c.conn.Reused && !fresh && c.req.Framing == http1.None && !c.informed && idempotent(c.method) && err != io.ErrUnexpectedEOF {
		return false
	}
	return c.fail(a, backendReset, err)
}

// fail ends an attempt. It returns true, as attempt does.
func (c *engineConn) fail(a *attempt, k kind, err error) bool {
	c.stopUpload()
	c.drop()
	a.kind, a.err = k, err
	return true
}

// readBackBy sees to it that reading from the backend comes back at about that time at the latest, and at the exchange's
// deadline. It reports false if an upload failed meanwhile.
func (c *engineConn) readBackBy(now, t time.Time) bool {
	t = earlier(t, c.deadline)
	conn := c.conn
	if u := conn.ReadUntil; u.After(t) || u.Before(t) && (t.Sub(u) > lookEvery || u.Before(now.Add(time.Millisecond))) {
		conn.ReadUntil = t
		conn.SetReadDeadline(t)
	}
	return c.upload == nil || !c.upload.failed()
}

// inform deals with an informational response: 100 is the word that a client may be waiting for, others pass. It reports
// false if the client cannot be written to.
func (c *engineConn) inform() bool {
	if c.resp.Status == 100 {
		return !c.waiting || c.proceed()
	}
	if c.req.Minor == 0 || c.rival != nil { // RFC 9110, 15.2: none to HTTP/1.0; and none of a response that may not count
		return true
	}
	c.informed = true
	c.out.Buf = c.resp.AppendLine(c.out.Buf)
	c.out.Buf = c.resp.AppendFields(c.out.Buf)
	c.out.Buf = append(c.out.Buf, "\r\n"...)
	c.writeBy(time.Now())
	return c.out.Flush() == nil
}

// proceed tells the client to send its body, and sends that on.
func (c *engineConn) proceed() bool {
	c.waiting = false
	c.out.Buf = append(c.out.Buf, "HTTP/1.1 100 Continue\r\n\r\n"...)
	c.writeBy(time.Now())
	if c.out.Flush() != nil {
		return false
	}
	c.sendBody(c.wholeBody())
	return true
}

// progressed is called when the client takes no more for now, and has taken some.
func (c *engineConn) progressed() { c.writeBy(time.Now()) }

// writeBy sees to it that writing to the client ends soon after the exchange's deadline, and when the client has taken
// nothing for too long.
func (c *engineConn) writeBy(now time.Time) {
	if idle := c.waits.ClientIdle; idle > 0 && (c.deadline.IsZero() || c.deadline.Sub(now) > idle) {
		idle += 2 * lookEvery // for which what is to be written may be waited for before
		if from, to := now.Add(idle), now.Add(idle+idle/4); c.writeTo.Before(from) || c.writeTo.After(to) {
			c.writeTo = to
			c.tcp.SetWriteDeadline(to)
		}
		return
	}
	if c.deadline.IsZero() {
		if !c.writeTo.IsZero() {
			c.writeTo = time.Time{}
			c.tcp.SetWriteDeadline(c.writeTo)
		}
		return
	}
	slack := c.deadline.Add(max(c.deadline.Sub(now)/4, 0))
	if c.writeTo.Before(c.deadline) || c.writeTo.After(slack) {
		c.writeTo = slack
		c.tcp.SetWriteDeadline(slack)
	}
}
