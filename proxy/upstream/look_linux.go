package upstream

import "golang.org/x/sys/unix"

// seen is what poll(2) works in.
type seen struct{ fds [1]unix.PollFd }

// poll asks the system. An end is seen although data is still to be read before it.
func (s *seen) poll(fd uintptr) condition {
	s.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	if n, err := unix.Poll(s.fds[:], 0); err != nil || n == 0 {
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
