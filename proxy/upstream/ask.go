package upstream

import (
	"io"
	"net"
	"syscall"

	"github.com/vietddude/load-balancer/proxy/socket"
)

// asking is what [Conn.Ask] works in.
type asking struct {
	step    func(fd uintptr) bool
	out, in []byte
	begun   bool
	sent, n int
	werr    error // of writing
	err     error // of reading
}

// Raw is the socket.
func (c *Conn) Raw() syscall.RawConn { return c.look.raw }

// Ask sends out, waits for something to come, and reads it into in: by one write and one read, as nothing is read before
// the poller tells that it has come. It must not be called while something that came was not read. What can be sent only
// in part is not waited for: then neither n nor an error is set, and the caller goes on. If writing fails, what came before is
// read all the same; if nothing has, its error is that of reading too. The connection must not be Secure.
func (c *Conn) Ask(out, in []byte) (sent, n int, werr, err error) {
	raw := c.look.raw
	if !socket.Can || raw == nil {
		return 0, 0, nil, nil
	}
	a := &c.ask
	if a.step == nil {
		a.step = a.run
	}
	a.out, a.in, a.begun, a.sent, a.n, a.werr, a.err = out, in, false, 0, 0, nil, nil
	err = raw.Read(a.step)
	a.out, a.in = nil, nil
	if err == nil {
		err = a.err
	}
	return a.sent, a.n, a.werr, err
}

// run is called at first, and whenever something may have come. It reports false to wait.
func (a *asking) run(fd uintptr) bool {
	if !a.begun {
		a.begun = true
		var werr error
		a.sent, werr = socket.Write(fd, a.out)
		switch {
		case werr == socket.ErrAgain, werr == nil && a.sent < len(a.out):
			return true
		case werr == nil:
			return false
		}
		a.werr = &net.OpError{Op: "write", Net: "tcp", Err: werr}
	}
	n, err := socket.Read(fd, a.in)
	switch {
	case err == socket.ErrAgain && a.werr == nil:
		return false
	case err == socket.ErrAgain:
		a.err = a.werr
		return true
	case err == nil && n == 0:
		a.err = io.EOF
		return true
	}
	if a.n = n; err != nil {
		a.err = &net.OpError{Op: "read", Net: "tcp", Err: err}
	}
	return true
}
