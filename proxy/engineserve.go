package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
	"github.com/vietddude/load-balancer/proxy/socket"
	"github.com/vietddude/load-balancer/proxy/upstream"
)

// greet finds out who the client is. It reports false if the connection is to end.
func (l *link) greet() bool {
	if greet := l.e.opts.Greet; greet != nil {
		l.rearm(time.Now().Add(l.e.opts.HeadTimeout))
		if err := greet(l.net); err != nil {
			l.e.p.opts.Logger.Debug("a connection was closed before its first request", "error", err)
			return false
		}
	}
	if a, ok := l.net.RemoteAddr().(*net.TCPAddr); ok {
		l.peer = a.AddrPort().Addr().Unmap().WithZone("")
	}
	return true
}

// begin is the goroutine of a new connection.
func (l *link) begin() {
	defer l.end()
	if !l.greet() {
		return
	}
	if l.e.opts.TLS != nil {
		if l.handed = l.handshake(); l.handed || l.tls == nil {
			return
		}
	}
	l.rest(l.e.opts.HeadTimeout)
	l.serve()
}

// wait is the goroutine of a connection that rests: a new one, whose stack is small yet.
func (l *link) wait() {
	defer l.end()
	if l.look.Wait() == nil {
		l.begun = true
		l.rearm(time.Now().Add(l.e.opts.HeadTimeout))
	}
	l.serve()
}

// serve carries out exchanges until the connection ends or rests. A wait for a request has begun.
func (l *link) serve() {
	for l.next() {
		if !l.lent.exchange() {
			break
		}
		l.rest(l.e.opts.IdleTimeout)
	}
	if !l.parked {
		l.use().leave()
	}
}

// end is the end of the connection's goroutine.
func (l *link) end() {
	if r := recover(); r != nil {
		l.e.p.opts.Logger.Error("a connection ended by a panic", "panic", r, "stack", string(debug.Stack()))
		if c := l.lent; c != nil { // which nobody uses again
			if c.connected(); c.rival != nil {
				c.rival.stop()
				c.rival.giveUp()
			}
			c.stopUpload()
			c.drop()
		}
	} else if l.lent != nil {
		l.giveBack()
	}
	switch {
	case l.parked:
		l.parked = false
		go l.wait()
		return
	case !l.handed:
		l.net.Close()
	}
	l.e.forget(l)
}

// handshake makes the connection one of TLS. It reports whether the connection is somebody else's now; if neither that
// nor l.tls is set, it failed.
func (l *link) handshake() (handed bool) {
	t := tls.Server(l.w, l.e.opts.TLS)
	ctx, cancel := context.WithTimeout(l.e.work, l.e.opts.HeadTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return false
	}
	state := t.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		if l.e.opts.HTTP2 == nil || l.e.closing.Load() {
			return false
		}
		l.mu.Lock()
		l.idle = false // it is not ours to wake
		if l.woken {
			l.tcp.SetReadDeadline(time.Time{})
		}
		l.mu.Unlock()
		l.e.forget(l) // nor to cut
		l.e.opts.HTTP2(t)
		return true
	}
	l.tls, l.version = t, tls.VersionName(state.Version)
	return false
}

var (
	// errSlow is a head that takes too long.
	errSlow = errors.New("the head took too long")
	// errOver is the end of a connection after an exchange.
	errOver = errors.New("the exchange ended the connection")
	// errParked says that the connection goes on in another goroutine.
	errParked = errors.New("the connection rests")
)

// next waits for a request and reads its head; exchanges that are light it carries out itself and goes on waiting. It
// reports false if the connection is to end, or is parked.
func (l *link) next() bool {
	err := l.readHead()
	if err == errParked {
		l.parked = true
		return false
	}
	l.rouse()
	var refused *http1.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &refused):
		switch refused.Kind {
		case http1.HeadTooLarge, http1.TargetTooLong:
			l.e.p.Strike(HeadBytes)
		case http1.TooManyFields:
			l.e.p.Strike(HeadFields)
		}
		l.use().refuse(refused.Status(), "bad request")
	case err == errSlow:
		l.e.p.Strike(HeadTime)
		l.use().refuse(408, "the request took too long")
	}
	return false
}

// restAfter is how long a connection keeps its goroutine while it waits for a request; it may be twice as long. The stacks of
// those that have just been served are most of the memory of many that are idle.
const restAfter = 100 * time.Millisecond

// rest begins the wait for a request. It is done in steps: a first one, within which busy clients ask again and whose
// deadline is moved only now and then; then as a link alone, where that can be; then for the rest of a head that has begun.
func (l *link) rest(patience time.Duration) {
	l.mu.Lock()
	l.idle = true
	l.mu.Unlock()
	now := time.Now()
	l.idleEnd, l.begun = now.Add(patience), false
	step := min(restAfter, l.e.opts.HeadTimeout/2)
	l.readBy(now.Add(step), now.Add(2*step))
}

// rouse ends the wait.
func (l *link) rouse() {
	l.mu.Lock()
	l.idle = false
	woken := l.woken
	l.woken = false
	l.mu.Unlock()
	if woken {
		l.readUntil = time.Time{}
		l.tcp.SetReadDeadline(time.Time{})
	}
}

// ends reports whether the connection is to end because the engine does.
func (l *link) ends() bool {
	return l.e.closing.Load() && l.buffered() == 0 && !l.look.Readable()
}

// readHead waits for a head that [link.step] leaves to others.
func (l *link) readHead() error {
	if l.ends() {
		return io.EOF
	}
	for head := l.e.opts.HeadTimeout; ; {
		err := l.steps()
		if err == nil || !isTimeout(err) {
			return err
		}
		now := time.Now()
		switch {
		case l.buffered() > 0 && l.begun:
			return errSlow
		case l.buffered() > 0, l.e.closing.Load() && l.look.Readable():
			l.begun = true
			l.rearm(now.Add(head))
		case l.e.closing.Load():
			return io.EOF
		case l.begun && (l.tls == nil || socket.Can) || !now.Before(l.idleEnd):
			if l.served == 0 {
				l.e.p.Strike(HeadTime)
			} else {
				l.e.p.Strike(Idle)
			}
			return io.EOF
		case l.tls != nil && !socket.Can || !upstream.CanWait:
			l.rearm(earlier(now.Add(head), l.idleEnd))
		default:
			l.rearm(l.idleEnd)
			return errParked
		}
	}
}

// steps waits and carries out light exchanges until there is something else. The error is nil if that is a request.
func (l *link) steps() error {
	if !socket.Can {
		c := l.use()
		return c.in.ReadRequest(&c.req, &l.e.limits)
	}
	l.result = nil
	err := l.w.raw.Read(l.stepped)
	l.w.within = false
	if err != nil {
		return err
	}
	return l.result
}

// step is called when something may have come, and reports false to be called again when more has. All light exchanges of a
// client are carried out within it, one after the other: between two of them the poller's word that something came is not
// taken back, as it is by every read of package net, so that nothing is read before it has come.
//
// An end of the client's sending that comes in one event with a request would not be told of again. It is found when the
// first step's time has passed; after the first request of a connection, with which it mostly comes, it is looked for.
func (l *link) step(fd uintptr) bool {
	l.w.within, l.w.fd, l.w.ready = true, fd, true
	for {
		c := l.use()
		err := c.in.ReadRequest(&c.req, &l.e.limits)
		switch {
		case err == socket.ErrAgain:
			if l.buffered() == 0 {
				l.giveBack()
			} else {
				c.slim()
			}
			return false
		case err != nil:
			l.result = err
			return true
		case !c.light():
			return true
		}
		l.rouse()
		if !c.exchange() {
			l.result = errOver
			return true
		}
		if l.rest(l.e.opts.IdleTimeout); l.ends() {
			l.result = io.EOF
			return true
		}
		if l.served == 1 {
			l.w.ready = true
		}
	}
}

// light reports whether the request that was read can be answered while nobody reads from the client: its content is here,
// and it does not ask for a tunnel.
func (c *engineConn) light() bool {
	q := &c.req
	return !q.Has(http1.Upgrade) && (q.Framing == http1.None || q.Framing == http1.Sized && q.Length <= int64(min(len(c.in.Buffered()), smallBuffer)))
}

// buffered is how many bytes have come that were not read.
func (l *link) buffered() int {
	if l.lent == nil {
		return 0
	}
	return len(l.lent.in.Buffered())
}

// readBy sees to it that the deadline for reading is between two times.
func (l *link) readBy(from, to time.Time) {
	if l.readUntil.Before(from) || l.readUntil.After(to) {
		l.rearm(to)
	}
}

// rearm sets the deadline for reading, unless the connection was woken.
func (l *link) rearm(t time.Time) {
	l.readUntil = t
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.woken && l.buffered() == 0 && !l.look.Readable() {
		return
	}
	l.tcp.SetReadDeadline(t)
}
