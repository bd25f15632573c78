package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// canSplice says that this system has splice(2).
const canSplice = true

// splicer carries content from socket to socket by way of a pipe. It keeps what it needs for that, so that doing it again
// allocates nothing. Both calls wait for their own side only, so that an error is known to be that side's.
type splicer struct {
	in, out func(fd uintptr) bool

	pipe     *pipe
	progress func() // may be nil
	moved    bool   // since the other side was waited for last
	n        int    // for in: how much to take at most, then how much was taken; for out: how much is left in the pipe
	err      error
}

// take fills the pipe with what has come, up to most, and waits if nothing has. 0 without an error is the end.
func (s *splicer) take(raw syscall.RawConn, most int) (int, error) {
	if s.in == nil {
		s.in, s.out = s.takeFrom, s.giveTo
	}
	if s.pipe = getPipe(); s.pipe == nil {
		return 0, errNoPipe
	}
	s.n, s.err = most, nil
	err := raw.Read(s.in)
	if err == nil {
		err = s.err
	}
	if err != nil {
		s.n = 0
	}
	if s.n == 0 {
		putPipe(s.pipe)
		s.pipe = nil
	}
	return s.n, err
}

func (s *splicer) takeFrom(fd uintptr) bool {
	n, err := splice(int(fd), s.pipe.w, s.n)
	if err == syscall.EAGAIN {
		return false
	}
	if s.n = n; err != nil {
		s.n, s.err = 0, &net.OpError{Op: "splice", Net: "tcp", Err: os.NewSyscallError("splice", err)}
	}
	return true
}

// give empties the pipe, and waits for room.
func (s *splicer) give(raw syscall.RawConn, progress func()) error {
	s.err, s.progress, s.moved = nil, progress, false
	err := raw.Write(s.out)
	if err == nil {
		err = s.err
	}
	if s.n == 0 {
		putPipe(s.pipe)
	} else {
		s.pipe.close() // what is in it belongs to nobody else
	}
	s.pipe = nil
	return err
}

func (s *splicer) giveTo(fd uintptr) bool {
	for s.n > 0 {
		n, err := splice(s.pipe.r, int(fd), s.n)
		switch {
		case err == syscall.EAGAIN:
			if s.moved && s.progress != nil {
				s.progress()
			}
			s.moved = false
			return false
		case err == nil && n == 0:
			err = io.ErrShortWrite
		}
		if err != nil {
			s.err = &net.OpError{Op: "splice", Net: "tcp", Err: err}
			return true
		}
		s.n -= n
		s.moved = true
	}
	return true
}

func splice(from, to, n int) (int, error) {
	const move, nonblock = 1, 2
	for {
		m, err := syscall.Splice(from, nil, to, nil, n, move|nonblock)
		if err != syscall.EINTR {
			return int(max(m, 0)), err
		}
	}
}

var errNoPipe = errors.New("http1: no pipe")

// pipe is empty while it is in the pool.
type pipe struct{ r, w int }

func (p *pipe) close() {
	runtime.SetFinalizer(p, nil)
	syscall.Close(p.r)
	syscall.Close(p.w)
}

var pipes sync.Pool

// pipeMin is the least that a pipe must hold to be worth its calls. The system gives small ones to a user who has many.
const pipeMin = 64 << 10

// getPipe returns nil if the system gives none of use.
func getPipe() *pipe {
	if p, ok := pipes.Get().(*pipe); ok {
		return p
	}
	var fds [2]int
	if syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		return nil
	}
	const setSize, getSize = 1031, 1032 // F_SETPIPE_SZ, F_GETPIPE_SZ
	size, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[0]), setSize, progressStep)
	if e != 0 {
		size, _, e = syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[0]), getSize, 0)
	}
	if e != 0 || size < pipeMin {
		syscall.Close(fds[0])
		syscall.Close(fds[1])
		return nil
	}
	p := &pipe{fds[0], fds[1]}
	runtime.SetFinalizer(p, (*pipe).close) // the pool forgets
	return p
}

func putPipe(p *pipe) { pipes.Put(p) }
