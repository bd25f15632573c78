package proxy

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
	"github.com/vietddude/load-balancer/proxy/upstream"
)

// upload carries a request's body that had not come whole with its head, beside the wait for the response. While it runs
// it has the client's reader and the backend's writer to itself.
type upload struct {
	conn   *upstream.Conn
	client *net.TCPConn
	done   chan struct{}
	state  atomic.Int32
	err    error // of the client; written before state

	// clientIdle and backendIdle bound the waits for either side, 0 for none; readBy and writeBy are the deadlines that
	// the upload has set, and silent is since when the client has sent nothing, zero if it did lately.
	clientIdle, backendIdle time.Duration
	readBy, writeBy, silent time.Time
	stopped                 atomic.Bool // reading from the client is to end
	ending                  atomic.Bool // so little is left that the next step may be the last
}

// The states of an upload.
const (
	uploading     int32 = iota
	uploaded            // the body was sent to its end
	uploadRefused       // the backend takes no more; its response tells why
	uploadBroken        // the client's body could not be read
	uploadStalled       // the backend took nothing for too long
)

func (u *upload) complete() bool { return u.state.Load() == uploaded }
func (u *upload) ended() bool    { return u.state.Load() != uploading }
func (u *upload) failed() bool   { return u.state.Load() >= uploadBroken }

// kind is how an attempt ends whose upload failed.
func (u *upload) kind() kind {
	var refused *http1.Error
	switch {
	case u.state.Load() == uploadStalled:
		return backendIdle
	case errors.As(u.err, &refused):
		return badRequest
	case isTimeout(u.err):
		return bodyTimeout
	}
	return clientGone
}

// run is the upload's goroutine.
func (u *upload) run(out *http1.Writer, body *http1.Body) {
	defer close(u.done)
	for {
		if left := body.Left(); left >= 0 && left <= lastStep {
			u.ending.Store(true)
		}
		u.arm(time.Now())
		_, done, err := out.Relay(body)
		switch {
		case err == nil && !done:
			u.silent = time.Time{}
			continue
		case err != nil && out.Err() == nil && isTimeout(err) && u.waits(time.Now()):
			continue
		case err == nil:
			if !u.writeBy.IsZero() {
				u.conn.SetWriteDeadline(time.Time{})
			}
			u.state.Store(uploaded)
		case isTimeout(out.Err()):
			u.state.Store(uploadStalled)
			u.conn.SetReadDeadline(longAgo) // whoever waits for a response learns of it
		case out.Err() != nil:
			u.state.Store(uploadRefused)
		default:
			u.err = err
			u.state.Store(uploadBroken)
			u.conn.SetReadDeadline(longAgo) // whoever waits for a response learns of it
		}
		return
	}
}

// arm bounds the next wait for either side. Deadlines are moved only now and then. Reading comes back after a while, since
// the deadline for writing, which must stand before, includes that time.
func (u *upload) arm(now time.Time) {
	if u.clientIdle <= 0 && u.backendIdle <= 0 {
		return
	}
	if u.readBy.Before(now.Add(lookEvery)) {
		u.readBy = now.Add(2 * lookEvery)
		u.client.SetReadDeadline(u.readBy)
		if u.stopped.Load() {
			u.client.SetReadDeadline(longAgo)
		}
	}
	if idle := u.backendIdle + 2*lookEvery; u.backendIdle > 0 && u.writeBy.Before(now.Add(idle)) {
		u.writeBy = now.Add(idle + idle/4)
		u.conn.SetWriteDeadline(u.writeBy)
	}
}

// waits reports whether a client that has sent nothing for a while is waited for.
func (u *upload) waits(now time.Time) bool {
	if u.silent.IsZero() {
		u.silent = now
	}
	return !u.stopped.Load() && (u.clientIdle <= 0 || now.Sub(u.silent) < u.clientIdle)
}

// wholeBody reports whether the request's body, if there is any, has come already, and is so small
// that it can be written without anybody's reading.
func (c *engineConn) wholeBody() bool {
	n := c.body.Left()
	return n >= 0 && n <= int64(len(c.in.Buffered())) && n <= smallBuffer
}

// sendBody sends what waits for the backend and the body: at once if it is there, else by an upload.
func (c *engineConn) sendBody(whole bool) {
	c.touched = true
	if whole {
		for {
			if _, done, err := c.bw.Relay(&c.body); done || err != nil {
				return // what is wrong shows when the response is read
			}
		}
	}
	if !c.readUntil.IsZero() {
		c.readUntil = time.Time{}
		c.tcp.SetReadDeadline(c.readUntil)
	}
	c.upload = &upload{
		conn: c.conn, client: c.tcp, done: make(chan struct{}),
		clientIdle: c.waits.ClientIdle, backendIdle: c.waits.BackendIdle,
	}
	go c.upload.run(&c.bw, &c.body)
}

// uploaded reports whether all of the request's body was sent.
func (c *engineConn) uploaded() bool {
	if c.upload != nil {
		return c.upload.complete()
	}
	return c.body.Done()
}

// settleDelay is the moment that [engineConn.settleUpload] gives.
const settleDelay = time.Millisecond

const (
	// lastStep is what one step of an upload carries at most.
	lastStep = 256 << 10
	// endingDelay is the moment for one whose next step may be the last. On a busy machine the step's end comes to be told a good
	// while after the backend has answered, and a client that is told of a close then loses a connection for nothing. An
	// early answer to a client that stalls within its last step waits as long.
	endingDelay = 100 * time.Millisecond
)

// settleUpload gives an upload whose response is there already a moment to end: it may have sent all, and not said so yet.
func (c *engineConn) settleUpload() {
	d := c.e.p.settleDelay
	if c.upload != nil && c.upload.ending.Load() {
		d = max(d, endingDelay)
	}
	c.settleUploadFor(d)
}

// keptDelay is the moment that an upload gets where the client was told that its connection goes on: closing it after all
// would break the client's next request.
const keptDelay = 250 * time.Millisecond

func (c *engineConn) settleUploadFor(d time.Duration) {
	if c.upload == nil || c.upload.ended() {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.upload.done:
	case <-t.C:
	}
}

// stopUpload ends an upload that is under way; the client's connection and the backend's are of no more use then.
func (c *engineConn) stopUpload() {
	u := c.upload
	if u == nil {
		return
	}
	if !u.ended() {
		u.stopped.Store(true)
		c.tcp.SetReadDeadline(longAgo)
		u.conn.Close()
	}
	<-u.done
	if !u.complete() {
		c.keep, c.lingers = false, true
	}
	c.readUntil = longAgo // it may have been moved
}
