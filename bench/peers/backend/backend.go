//go:build linux

package backend

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vietddude/load-balancer/bench/peers/wire"
)

// Server answers on several addresses from one thread.
type Server struct {
	poll      *wire.Poller
	answers   answers
	listeners map[int]bool
	conns     []*conn // by descriptor
	addrs     []string
}

// New listens on n free ports of 127.0.0.1.
func New(n int) (*Server, error) {
	poll, err := wire.NewPoller()
	if err != nil {
		return nil, err
	}
	all, err := newAnswers()
	if err != nil {
		return nil, err
	}
	s := &Server{poll: poll, answers: all, listeners: map[int]bool{}}
	for range n {
		fd, addr, err := wire.Listen()
		if err != nil {
			return nil, err
		}
		if err := poll.Add(fd, fd); err != nil {
			return nil, err
		}
		s.listeners[fd] = true
		s.addrs = append(s.addrs, addr)
	}
	return s, nil
}

// Alone tells it that the process does nothing else; see [wire.Poller].
func (s *Server) Alone() { s.poll.Alone = true }

// Addrs are the addresses that it listens on.
func (s *Server) Addrs() []string { return s.addrs }

// Serve answers until it fails, as long as the process lasts.
func (s *Server) Serve() error {
	runtime.LockOSThread()
	for {
		ready, err := s.poll.Wait(-1)
		if err != nil {
			return err
		}
		for i := range ready {
			if err := s.handle(int(ready[i].Fd)); err != nil {
				return err
			}
		}
	}
}

// handle goes on with what is ready. Only errors of the server itself are returned.
func (s *Server) handle(fd int) error {
	if s.listeners[fd] {
		return s.accept(fd)
	}
	c := s.conns[fd]
	if c == nil {
		return nil // closed by an event before this one
	}
	if err := s.serve(c); err != nil && !errors.Is(err, unix.EAGAIN) {
		s.conns[fd] = nil
		unix.Close(fd)
	}
	return nil
}

func (s *Server) accept(listener int) error {
	for {
		fd, err := wire.Accept(listener)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		for fd >= len(s.conns) {
			s.conns = append(s.conns, nil)
		}
		s.conns[fd] = &conn{fd: fd, in: make([]byte, 8<<10)}
		if err := s.poll.Add(fd, fd); err != nil {
			return err
		}
	}
}

// conn is a connection: it takes a head, then a body, then sends an answer, and so on.
type conn struct {
	fd   int
	in   []byte
	n    int     // bytes of in that are not used up
	body int64   // of the request, still to come
	to   *answer // what will be sent, nil while a head is awaited
	last bool    // whether the connection ends after the answer

	sent    int   // of the answer's memory
	sentOf  int64 // of its large body
	waiting bool  // whether the socket is watched for room
}

// serve goes on until the socket has nothing to read or no room. Its errors end the connection, but for unix.EAGAIN.
func (s *Server) serve(c *conn) error {
	for {
		if c.to == nil {
			if err := s.readHead(c); err != nil {
				return err
			}
		}
		if err := c.skipBody(); err != nil {
			return err
		}
		if err := s.send(c); err != nil {
			return err
		}
		if c.last {
			return io.EOF
		}
		c.to = nil
		if c.n == 0 {
			return nil
		}
	}
}

// readHead reads until a head is whole, and decides on the answer.
func (s *Server) readHead(c *conn) error {
	for {
		h, ok := wire.ParseHead(c.in[:c.n])
		if ok {
			c.to, c.last, c.body = s.answers.forTarget(h.Start), h.Close, max(h.Length, 0)
			if h.Chunked {
				c.to, c.last, c.body = &refusal, true, 0
			}
			here := min(int64(c.n-h.Size), c.body)
			c.body -= here
			c.n = copy(c.in, c.in[h.Size+int(here):c.n])
			return nil
		}
		n, err := unix.Read(c.fd, c.in[c.n:])
		if err != nil {
			return err
		}
		if n == 0 { // the peer left, or the head does not fit
			return io.EOF
		}
		c.n += n
	}
}

func (c *conn) skipBody() error {
	for c.body > 0 {
		n, err := wire.Discard(c.fd, c.body)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		c.body -= n
	}
	return nil
}

// send sends what is left of the answer.
func (s *Server) send(c *conn) error {
	if err := c.write(); err != nil {
		if errors.Is(err, unix.EAGAIN) && !c.waiting {
			if err := s.poll.WantWrite(c.fd, c.fd); err != nil {
				return err
			}
			c.waiting = true
		}
		return err
	}
	c.sent, c.sentOf = 0, 0
	if c.waiting {
		c.waiting = false
		return s.poll.WantRead(c.fd, c.fd)
	}
	return nil
}

func (c *conn) write() error {
	for c.sent < len(c.to.memory) {
		write := unix.Write
		if c.to.body != nil {
			write = wire.SendHead
		}
		n, err := write(c.fd, c.to.memory[c.sent:])
		if err != nil {
			return err
		}
		c.sent += n
	}
	for c.to.body != nil && c.sentOf < c.to.body.Size {
		n, err := c.to.body.Send(c.fd, c.sentOf)
		if err != nil {
			return err
		}
		c.sentOf += n
	}
	return nil
}
