package proxy

import (
	"io"
	"net"
	"syscall"

	"github.com/vietddude/load-balancer/proxy/socket"
)

// wire is what a client's bytes are read from and written to, TLS's records included. Within the callback that waits for
// the client (see [link.step]) it makes single system calls that never wait; else it is the connection that was
// accepted.
type wire struct {
	net.Conn
	tcp *net.TCPConn
	raw syscall.RawConn

	// within says that the callback runs, for this descriptor.
	within bool
	fd     uintptr
	// ready says that there may be something to read: the poller told so, and no read has found less than it could take.
	ready bool
}

// Raw is the socket.
func (w *wire) Raw() syscall.RawConn { return w.raw }

// Read reads. Within the callback the error is [socket.ErrAgain] if nothing has come.
func (w *wire) Read(p []byte) (int, error) {
	if !w.within {
		return w.tcp.Read(p)
	}
	if !w.ready {
		return 0, socket.ErrAgain
	}
	n, err := socket.Read(w.fd, p)
	if n < len(p) {
		w.ready = false
	}
	switch {
	case err == socket.ErrAgain:
		return 0, err
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: err}
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes all of p. Within the callback too it waits for room if there is none.
func (w *wire) Write(p []byte) (int, error) {
	if !w.within {
		return w.tcp.Write(p)
	}
	n, err := socket.Write(w.fd, p)
	if n == len(p) {
		return n, nil
	}
	if err != nil && err != socket.ErrAgain {
		return n, &net.OpError{Op: "write", Net: "tcp", Err: err}
	}
	m, err := w.tcp.Write(p[n:])
	return n + m, err
}
