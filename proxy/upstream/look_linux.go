package upstream

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// seen is what poll(2) works in.
type seen struct {
	fds [1]unix.PollFd
	now unix.Timespec // no time at all; the system writes to it
}

// poll asks the system, which cannot keep it waiting, so that the scheduler need not be told: being told, it wakes the thread
// that watches over system calls, and that takes the CPU from the others where there is only one.
func (s *seen) poll(fd uintptr) condition {
	s.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	s.now = unix.Timespec{}
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&s.fds)), uintptr(len(s.fds)), uintptr(unsafe.Pointer(&s.now)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return condition{}
	}
	e := s.fds[0].Revents
	return condition{
		readable: e&(unix.POLLIN|unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0,
		ended:    e&unix.POLLRDHUP != 0,
		broken:   e&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0,
	}
}

const canLook = true
