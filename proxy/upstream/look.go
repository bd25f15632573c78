package upstream

import (
	"net"
	"syscall"

	"github.com/vietddude/load-balancer/proxy/socket"
)

// Look looks at a connection without reading from it and without waiting. It allocates nothing when used again. It is
// used by one goroutine, also while others use the connection.
type Look struct {
	raw  syscall.RawConn // nil if the system gives none
	poll func(fd uintptr)
	peek func(fd uintptr)
	seen seen
	last condition
	one  [1]byte
}

// condition is what was seen of a connection.
type condition struct {
	// readable says that something can be read, the end included; ended that the other side sends no more; broken that
	// the connection is of no use.
	readable, ended, broken bool
}

// NewLook prepares for looking at a connection.
func NewLook(c *net.TCPConn) *Look {
	l := new(Look)
	if raw, err := c.SyscallConn(); err == nil {
		l.raw = raw
	}
	l.poll = func(fd uintptr) { l.last = l.seen.poll(fd) }
	l.peek = func(fd uintptr) {
		_, err := socket.Peek(fd, l.one[:])
		l.last.readable = err != socket.ErrAgain
	}
	return l
}

func (l *Look) look() condition {
	l.last = condition{}
	if l.raw == nil || l.raw.Control(l.poll) != nil {
		return condition{readable: true, ended: true, broken: true}
	}
	return l.last
}

// Quiet reports whether nothing has come, the connection's end included.
func (l *Look) Quiet() bool {
	l.last = condition{}
	return l.raw != nil && l.raw.Control(l.peek) == nil && !l.last.readable
}

// Readable reports whether something has come, the connection's end included.
func (l *Look) Readable() bool { return l.look().readable }

// Peer reports whether the other side has ended its sending, and whether the connection is broken or closed. Where the
// system cannot tell, neither is so.
func (l *Look) Peer() (ended, broken bool) {
	c := l.look()
	return c.ended, c.broken
}

// CanWait reports whether [Look.Wait] waits on this system.
const CanWait = canLook

// Wait waits until something has come, the connection's end included, or the deadline for reading has passed. It holds
// no buffer meanwhile. Where the system cannot tell, it returns at once.
func (l *Look) Wait() error {
	if !canLook || l.raw == nil {
		return nil
	}
	var s seen // others may look at the same time
	return l.raw.Read(func(fd uintptr) bool { return s.poll(fd).readable })
}
