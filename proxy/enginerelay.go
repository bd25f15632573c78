package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
)

func (c *engineConn) begin(a *attempt) kind {
	if a.status == http.StatusSwitchingProtocols || c.answ.Done() || len(c.br.Buffered()) > 0 {
		return fine
	}
	c.fBuf = getMedium()
	until := earlier(time.Now().Add(c.e.p.headDelay), c.deadline)
	c.conn.ReadUntil = until
	c.conn.SetReadDeadline(until)
	n, err := c.answ.Read(c.fBuf)
	c.first = c.fBuf[:n]
	if err == nil || err == io.EOF || isTimeout(err) {
		return fine
	}
	a.err = err
	return backendReset
}

func (c *engineConn) relay(a *attempt) kind {
	if a.status == http.StatusSwitchingProtocols {
		return c.tunnel(a)
	}
	k := c.relayResponse()
	c.written = c.out.Count()
	switch {
	case k == fine && c.keep:
		c.settleUploadFor(max(c.e.p.settleDelay, keptDelay))
	case k == fine:
		c.settleUpload()
	}
	c.stopUpload()
	if k == fine {
		c.release()
	} else {
		c.drop()
	}
	return k
}

// relayResponse sends head and body.
func (c *engineConn) relayResponse() kind {
	c.settleUpload()
	framing, length := c.resp.FramingFor(c.req.Minor), c.resp.Length
	if framing == http1.UntilClose || !c.bodyEnds() || c.e.closing.Load() {
		c.keep = false
	}
	c.out.Buf = c.resp.AppendLine(c.out.Buf)
	c.out.Buf = c.toClient.append(c.out.Buf)
	if c.resp.Find(http1.Date) == nil {
		c.out.Buf = c.e.appendDate(c.out.Buf)
	}
	c.appendConnection()
	c.out.Buf = http1.AppendEnd(c.out.Buf, framing, length)
	c.out.Begin(framing, length)
	c.headOut = true
	c.writeBy(time.Now())
	if len(c.first) > 0 {
		if _, err := c.out.Write(c.first); err != nil {
			return c.clientFailed()
		}
		if !c.answ.Done() && c.out.Flush() != nil {
			return c.clientFailed()
		}
	}
	c.bwire.gathers = c.upload == nil
	for {
		if left := c.answ.Left(); left < 0 || left > int64(len(c.br.Buffered())) {
			now := time.Now()
			c.writeBy(now)
			if !c.readBackBy(now, now.Add(2*lookEvery)) {
				return c.upload.kind()
			}
		}
		_, done, err := c.out.Relay(&c.answ)
		switch {
		case done && err == nil:
			return fine
		case err == nil:
			c.absence.since, c.silent = time.Time{}, time.Time{} // a client that left says so when it is sent something
		case c.out.Err() != nil:
			return c.clientFailed()
		case !isTimeout(err):
			return c.brokenBy(framing)
		default:
			if k := c.interrupted(time.Now()); k != fine {
				return k
			}
		}
	}
}

// bodyEnds reports whether nothing of the request's body will be left when the response has been sent. What has come of a
// body that nobody read, if it is all of it, is thrown away.
func (c *engineConn) bodyEnds() bool {
	switch {
	case c.upload != nil:
		return c.upload.complete()
	case c.body.Done():
		return true
	case c.touched || c.waiting || c.informed || c.body.Err() != nil || !c.wholeBody():
		c.lingers = true
		return false
	}
	c.in.Discard(int(c.body.Left()))
	return true
}

// clientFailed is the kind of a relay whose client could not be written to.
func (c *engineConn) clientFailed() kind {
	switch {
	case c.late(time.Now()):
		return exchangeTimeout
	case isTimeout(c.out.Err()):
		return clientIdle
	}
	return clientGone
}

// interrupted is the kind of a relay whose backend keeps us waiting, fine if that goes on.
func (c *engineConn) interrupted(now time.Time) kind {
	switch {
	case c.upload != nil && c.upload.failed():
		return c.upload.kind()
	case c.late(now):
		return exchangeTimeout
	case c.e.cut.Load() || c.absence.left(now):
		return clientGone
	case c.waits.BackendIdle <= 0 || c.upload != nil && !c.upload.ended(): // it may wait for the rest of the request
		c.silent = time.Time{}
	case c.silent.IsZero():
		c.silent = now
	case now.Sub(c.silent) >= c.waits.BackendIdle:
		return backendIdle
	}
	return fine
}

// brokenBy is the kind of a relay whose backend broke off. Where the end of the client's connection would end the
// response well, the connection is reset instead.
func (c *engineConn) brokenBy(framing http1.Framing) kind {
	if framing == http1.UntilClose {
		c.tcp.SetLinger(0)
	}
	return brokenResponse
}

// appendConnection tells the client whether the connection goes on, where that does not go without saying.
func (c *engineConn) appendConnection() {
	switch {
	case !c.keep:
		c.out.Buf = append(c.out.Buf, "Connection: close\r\n"...)
	case c.req.Minor == 0:
		c.out.Buf = append(c.out.Buf, "Connection: keep-alive\r\n"...)
	}
}

func (c *engineConn) answer(status int, text string, retryAfter int) {
	c.stopUpload()
	c.drop()
	if !c.bodyEnds() || c.e.closing.Load() {
		c.keep = false
	}
	c.out.Buf = http1.AppendStatus(c.out.Buf, status, http.StatusText(status))
	if retryAfter > 0 {
		c.out.Buf = http1.AppendField(c.out.Buf, "Retry-After", strconv.Itoa(retryAfter))
	}
	c.appendText(text, c.method != "HEAD")
}

// refuse answers a request that cannot be read.
func (c *engineConn) refuse(status int, text string) {
	c.e.p.ended[badRequest].Add(1)
	c.holdOut()
	c.keep, c.lingers = false, true
	c.out.Buf = http1.AppendStatus(c.out.Buf[:0], status, http.StatusText(status))
	asked := bytes.TrimPrefix(c.in.Buffered(), []byte("\r\n")) // what is wrong may come behind the method
	c.appendText(text, !bytes.HasPrefix(asked, []byte("HEAD ")))
	c.out.Flush()
}

// appendText appends the rest of an answer whose status line waits. It goes out when the exchange is over.
func (c *engineConn) appendText(text string, body bool) {
	b := append(c.out.Buf, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"...)
	c.out.Buf = c.e.appendDate(b)
	c.appendConnection()
	c.out.Buf = http1.AppendEnd(c.out.Buf, http1.Sized, int64(len(text)+1))
	if body {
		c.out.Buf = append(append(c.out.Buf, text...), '\n')
		c.written = int64(len(text) + 1)
	}
	c.answerBy(time.Now())
}

// answerTime bounds the writing of an answer of ours; it may be twice as long. The exchange's own deadline may have passed.
const answerTime = 5 * time.Second

func (c *engineConn) answerBy(now time.Time) {
	if to := now.Add(2 * answerTime); c.writeTo.Before(now.Add(answerTime)) || c.writeTo.After(to) {
		c.writeTo = to
		c.tcp.SetWriteDeadline(to)
	}
}

// dateField is the Date field of one second.
type dateField struct {
	second int64
	text   string
}

// appendDate appends the field that a response must have (RFC 9110, 6.6.1).
func (e *Engine) appendDate(dst []byte) []byte {
	now := time.Now()
	d := e.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &dateField{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		e.date.Store(d)
	}
	return append(dst, d.text...)
}

// tunnel answers 101 and carries bytes both ways; see [tunnel].
func (c *engineConn) tunnel(a *attempt) kind {
	c.settleUpload()
	if !c.uploaded() {
		a.err = errors.New("a switch of protocols before the request was sent")
		c.stopUpload()
		c.drop()
		c.headOut = true // there is no answer that the client could take for one
		return brokenResponse
	}
	c.stopUpload()
	c.tunneled = true
	conn := c.conn
	t := &tunnel{client: c.tcp, backend: conn.Plain(), idle: c.waits.TunnelIdle}
	if c.tls != nil {
		t.client = c.tls
	}
	if !c.e.p.tunnels.add(t) {
		t.cut()
		return shutDown
	}
	defer c.e.p.tunnels.remove(t)
	defer t.cut()
	c.e.forget(c.link)
	c.headOut = true
	c.out.Buf = c.resp.AppendLine(c.out.Buf)
	c.out.Buf = append(c.toClient.append(c.out.Buf), "\r\n"...)
	c.tcp.SetDeadline(time.Time{})
	conn.SetDeadline(time.Time{})
	if c.out.Flush() != nil {
		return clientGone
	}
	early := append([]byte(nil), c.in.Buffered()...)
	late := append([]byte(nil), c.br.Buffered()...)
	c.drained()
	t.run(early, late)
	c.fromPeer, c.written = t.in, t.out
	return t.kind(c.e.p)
}

// drained gives the buffers away of a connection that became a tunnel.
func (c *engineConn) drained() {
	c.br.Discard(len(c.br.Buffered()))
	c.brBuf, c.bwBuf = c.br.Detach(), c.bw.Detach()
	c.letGoBack()
	c.in.Discard(len(c.in.Buffered()))
	putBuffer(c.in.Detach())
	putBuffer(c.out.Detach())
}
