package http1

import (
	"net"
	"syscall"
)

// State is what a connection that nobody reads from has to say.
type State uint8

const (
	// Quiet is a connection that stands and has nothing to be read.
	Quiet State = iota
	// Readable has something to be read.
	Readable
	// Ended was closed by the other side, or is broken.
	Ended
)

// Watch looks at a socket without reading from it, and so without a buffer: for client connections between two
// requests, and for pooled backend connections, on which there must be nothing. Under TLS it sees records, which tell of
// the connection too. It must not be copied after its first use, and is used by one goroutine.
type Watch struct {
	raw   syscall.RawConn
	wait  func(fd uintptr) bool
	look  func(fd uintptr) bool
	state State
	one   [1]byte
}

// Reset makes w look at a connection. What it allocates lasts for the connection.
func (w *Watch) Reset(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	w.raw = raw
	if w.wait == nil {
		w.wait = func(fd uintptr) bool { w.peek(fd); return w.state != Quiet }
		w.look = func(fd uintptr) bool { w.peek(fd); return true }
	}
	return nil
}

// Wait waits until there is something to be read, or the other side has ended: the read that follows tells which. The
// error is the connection's, such as its read deadline that has passed.
func (w *Watch) Wait() error { return w.raw.Read(w.wait) }

// State looks without waiting. A connection whose read deadline has passed, or which was closed on this side, has Ended.
func (w *Watch) State() State {
	w.state = Ended
	if w.raw.Read(w.look) != nil {
		return Ended
	}
	return w.state
}
