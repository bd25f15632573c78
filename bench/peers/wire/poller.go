//go:build linux

package wire

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller is a set of sockets. Not for concurrent use.
type Poller struct {
	// Alone says that the process has nothing else to do while it waits. The runtime is not told of waits then: its thread
	// that takes processors from those who wait, and the handing over, would cost as much CPU as all of the rest, on the
	// CPUs that are to keep up with the proxy. Other goroutines may be held up by 20 ms.
	Alone bool

	fd     int
	events [256]unix.EpollEvent
}

// NewPoller makes an empty set.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &Poller{fd: fd}, nil
}

// Close gives the set up; the sockets in it stay open.
func (p *Poller) Close() { unix.Close(p.fd) }

// Add puts a socket into the set, to be told of when it can be read. Closing the socket takes it out.
func (p *Poller) Add(fd, id int) error { return p.control(unix.EPOLL_CTL_ADD, fd, id, unix.EPOLLIN) }

// WantRead has a socket told of when it can be read.
func (p *Poller) WantRead(fd, id int) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, id, unix.EPOLLIN)
}

// WantWrite has a socket told of when it can be written to as well: a peer may answer before it has read everything.
func (p *Poller) WantWrite(fd, id int) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, id, unix.EPOLLIN|unix.EPOLLOUT)
}

func (p *Poller) control(op, fd, id int, events uint32) error {
	if err := unix.EpollCtl(p.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(id)}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// Wait returns the ids of sockets that are ready, none when the time is over. A negative time waits for ever. It is
// exact to the microsecond where the thread's timer slack is (see [ExactTimers]). What it returns is valid until the
// next call.
func (p *Poller) Wait(d time.Duration) ([]unix.EpollEvent, error) {
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(d.Nanoseconds())
		timeout = &ts
	}
	var n uintptr
	var errno syscall.Errno
	if p.Alone {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
			uintptr(len(p.events)), uintptr(unsafe.Pointer(timeout)), 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
			uintptr(len(p.events)), uintptr(unsafe.Pointer(timeout)), 0, 0)
	}
	switch {
	case errno == unix.EINTR:
		return nil, nil
	case errno == unix.ENOSYS:
		return nil, errors.New("epoll_pwait2: this kernel is older than Linux 5.11")
	case errno != 0:
		return nil, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	return p.events[:n], nil
}

// ExactTimers lets the calling thread's waits end on time instead of up to 50 µs later. The goroutine must be locked to
// its thread.
func ExactTimers() error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: timer slack: %w", err)
	}
	return nil
}
