//go:build unix

package http1

import "syscall"

// peek sets the state from what a read would give.
func (w *Watch) peek(fd uintptr) {
	for {
		n, _, err := syscall.Recvfrom(int(fd), w.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			w.state = Quiet
		case err != nil || n <= 0:
			w.state = Ended
		default:
			w.state = Readable
		}
		return
	}
}
