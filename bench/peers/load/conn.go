//go:build linux

package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vietddude/load-balancer/bench/peers/wire"
)

// conn is a connection of a loop, with at most one request under way.
type conn struct {
	id  int // its place in the loop
	fd  int
	tls *tls.Conn // nil in clear

	head []byte     // of the request
	body *wire.Body // of the request, nil for none
	sent int        // of the head
	more int64      // of the body, sent

	in      []byte
	n       int   // bytes of in
	rest    int64 // of the answer's body, still to come; -1 while the head is incomplete
	fails   string
	cookie  bool // whether the head carries one
	busy    bool // whether a request is under way
	waiting bool // whether the socket is watched for room
	since   time.Duration
}

// dial connects, and shakes hands for TLS.
func (c *conn) dial(s Spec) error {
	fd, err := wire.Dial(s.Addr)
	if err != nil {
		return err
	}
	c.fd, c.tls, c.busy, c.waiting = fd, nil, false, false
	if !s.TLS {
		return nil
	}
	c.tls = tls.Client(&socket{fd: fd}, TLSConfig())
	if err := c.tls.Handshake(); err != nil {
		unix.Close(fd)
		return err
	}
	return nil
}

// begin makes the next request the one under way.
func (c *conn) begin(since time.Duration) {
	c.sent, c.more, c.n, c.rest, c.fails = 0, 0, 0, -1, ""
	c.busy, c.since = true, since
}

// send sends what is left of the request; unix.EAGAIN means that there is no room now.
func (c *conn) send() error {
	if c.tls != nil {
		n, err := c.tls.Write(c.head[c.sent:])
		c.sent += n
		return err
	}
	for c.sent < len(c.head) {
		write := unix.Write
		if c.body != nil {
			write = wire.SendHead
		}
		n, err := write(c.fd, c.head[c.sent:])
		if err != nil {
			return err
		}
		c.sent += n
	}
	for c.body != nil && c.more < c.body.Size {
		n, err := c.body.Send(c.fd, c.more)
		if err != nil {
			return err
		}
		c.more += n
	}
	return nil
}

// receive reads on and reports whether the answer is whole; unix.EAGAIN means that there is nothing to read now.
func (c *conn) receive(session bool) (done bool, err error) {
	for c.rest != 0 {
		if err := c.receiveSome(session); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *conn) receiveSome(session bool) error {
	if c.rest > 0 && c.tls == nil {
		n, err := wire.Discard(c.fd, c.rest)
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		c.rest -= n
		return err
	}
	at := c.n
	if c.rest > 0 {
		at = 0
	}
	n, err := c.read(c.in[at:])
	if err != nil {
		return err
	}
	if c.rest > 0 {
		c.rest -= int64(n)
		return nil
	}
	c.n += n
	h, ok := wire.ParseHead(c.in[:c.n])
	if !ok {
		return nil
	}
	if h.Length < 0 {
		return errors.New("no Content-Length")
	}
	c.rest = h.Length - int64(c.n-h.Size)
	if c.rest < 0 {
		return errors.New("more than the answer")
	}
	c.fails = failure(h.Start)
	if session && h.Cookie != nil && !c.cookie {
		c.cookie = true
		c.head = append(c.head[:len(c.head)-2], "Cookie: "+string(h.Cookie)+"\r\n\r\n"...)
	}
	return nil
}

// failure says what is wrong with a status line; empty for nothing.
func failure(line []byte) string {
	const ok = "HTTP/1.1 200"
	if len(line) < len(ok) {
		return "no status"
	}
	if string(line[:len(ok)]) != ok {
		return "status " + string(line[len(ok)-3:len(ok)])
	}
	return ""
}

func (c *conn) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errors.New("head too large")
	}
	if c.tls != nil {
		return c.tls.Read(b)
	}
	n, err := unix.Read(c.fd, b)
	if err == nil && n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// again reports whether an error only says that the socket is not ready.
func again(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// handshakeTimeout bounds each wait within a handshake.
const handshakeTimeout = 5 * time.Second

// socket lets crypto/tls use a socket that does not block. While it shakes hands, it waits; later Read returns
// [notReady], which crypto/tls takes for temporary and passes on, keeping what it has of a record.
type socket struct {
	net.Conn // the methods that crypto/tls does not call here
	fd       int
	loops    bool
}

// notReady says that there is nothing to read now.
type notReady struct{}

func (notReady) Error() string   { return "nothing to read now" }
func (notReady) Timeout() bool   { return true }
func (notReady) Temporary() bool { return true }
func (notReady) Unwrap() error   { return unix.EAGAIN }

var _ net.Error = notReady{}

func (s *socket) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case !again(err):
			return 0, err
		case s.loops:
			return 0, notReady{}
		}
		if err := s.wait(unix.POLLIN); err != nil {
			return 0, err
		}
	}
}

// Write writes all of b: what TLS is used with here is small and finds room.
func (s *socket) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Write(s.fd, b[done:])
		done += max(n, 0)
		switch {
		case done == len(b):
			return done, nil
		case err != nil && !again(err):
			return done, err
		}
		if err := s.wait(unix.POLLOUT); err != nil {
			return done, err
		}
	}
}

func (s *socket) wait(events int16) error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: events}}, int(handshakeTimeout.Milliseconds()))
	if err == nil && n == 0 {
		return fmt.Errorf("no sign of the proxy for %v", handshakeTimeout)
	}
	if err != nil && !again(err) {
		return err
	}
	return nil
}
