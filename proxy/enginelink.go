package proxy

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/proxy/upstream"
)

// link is a client's connection, in use or not. All but what mu guards is used by the connection's goroutine.
type link struct {
	e   *Engine
	net net.Conn     // as it was accepted; only closed
	tcp *net.TCPConn // what carries the bytes
	tls *tls.Conn    // nil for clear text
	w   *wire        // on top of tcp, under tls
	// peer and version do not change once the handshake is done.
	peer    netip.Addr
	version string
	look    *upstream.Look

	readUntil time.Time             // the deadline for reading that is in force
	writeTo   time.Time             // that for writing
	idleEnd   time.Time             // when the wait for a request ends
	begun     bool                  // a head has begun, which has a time of its own
	lent      *engineConn           // what was borrowed for exchanges, nil for nothing
	stepped   func(fd uintptr) bool // step
	result    error                 // what step ended with
	served    int                   // requests
	handed    bool                  // it is somebody else's now
	parked    bool                  // it goes on in another goroutine

	mu    sync.Mutex
	idle  bool           // no request is under way
	woken bool           // the idle connection's deadline was moved by wake
	back  *upstream.Conn // what the attempt under way uses
}

// newLink returns nil for a connection that is not TCP.
func newLink(e *Engine, nc net.Conn) *link {
	l := &link{e: e, net: nc, idle: true}
	switch t := nc.(type) {
	case *net.TCPConn:
		l.tcp = t
	case interface{ TCP() *net.TCPConn }:
		l.tcp = t.TCP()
	default:
		return nil
	}
	raw, err := l.tcp.SyscallConn()
	if err != nil {
		return nil
	}
	l.w = &wire{Conn: nc, tcp: l.tcp, raw: raw}
	l.look = upstream.NewLook(l.tcp)
	l.stepped = l.step
	return l
}

// wake has an idle connection end. It is called by others.
func (l *link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle {
		l.woken = true
		l.tcp.SetReadDeadline(longAgo)
	}
}

// cut ends the connection whatever it does. It is called by others.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil {
		l.back.Close()
	}
	go l.net.Close() // which waits for the end of the step under way
}

// stream is what messages are read from and written to.
func (l *link) stream() net.Conn {
	if l.tls != nil {
		return l.tls
	}
	return l.w
}
