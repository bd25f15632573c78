//go:build unix

package upstream

import "syscall"

// readable reports whether an idle connection holds something to read: its end, or what nobody asked for. Either way it
// is of no use any more.
func (c *conn) readable() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	idle := false
	err = raw.Control(func(fd uintptr) { // the transport waits in Read, which Control does not wait for
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		idle = err == syscall.EAGAIN || err == syscall.EINTR
	})
	return err != nil || !idle
}
