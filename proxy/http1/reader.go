package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Reader is the receiving side of a connection. It works in a buffer that it is lent, and makes a larger one for a head
// that does not fit. It is used by one goroutine.
type Reader struct {
	src  io.Reader
	raw  syscall.RawConn // of the socket that src is; nil if there is more between
	buf  []byte
	kept int // what lies below belongs to a head that is in use
	r, w int // what has come and was not read yet
	err  error
	// partial says that reading a request's head was left off by a passed deadline.
	partial bool
}

// Reset makes r read from src, in the whole capacity of buf, which the caller must not use until Detach.
func (r *Reader) Reset(src io.Reader, buf []byte) {
	*r = Reader{src: src, buf: buf[:cap(buf)]}
	r.raw = rawOf(src)
}

// Socket is a stream that is nothing but a socket, which it gives.
type Socket interface{ Raw() syscall.RawConn }

// rawOf is the socket that a stream is, for splicing; nil if there is more between, or none.
func rawOf(stream any) syscall.RawConn {
	switch c := stream.(type) {
	case Socket:
		return c.Raw()
	case *net.TCPConn:
		if raw, err := c.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// Attach lends the reader a buffer again, after Detach.
func (r *Reader) Attach(buf []byte) { r.buf = buf[:cap(buf)] }

// Detach takes the buffer back, or the larger one that came into its place; heads and bodies that were read from it are
// no longer valid. It returns nil, and changes nothing, if the reader holds bytes that were not read yet.
func (r *Reader) Detach() []byte {
	if r.r < r.w {
		return nil
	}
	buf := r.buf
	r.buf, r.kept, r.r, r.w, r.partial = nil, 0, 0, 0, false
	return buf
}

// Buffered is what has come and was not read yet. It is valid until the next read.
func (r *Reader) Buffered() []byte { return r.buf[r.r:r.w] }

// Discard takes n of the buffered bytes as read.
func (r *Reader) Discard(n int) { r.r = min(r.r+n, r.w) }

// ReadRequest reads the next request's head. The error is io.EOF if the connection ended before it began,
// io.ErrUnexpectedEOF if it ended within, an *Error if the message is refused, else the connection's. After any but a
// passed deadline nothing more can be read; after that, the next call goes on with the same head, and must be given the same
// request.
func (r *Reader) ReadRequest(q *Request, l *Limits) error {
	if !r.partial {
		q.Reset()
		r.moveDown()
	}
	r.partial = false
	for {
		n, err := q.Parse(r.buf[r.r:r.w], l)
		if err != nil {
			return err
		}
		if n > 0 {
			r.r += n
			r.kept = r.r
			return nil
		}
		if err := r.fill(0); err != nil {
			if err == io.EOF && r.w-r.r > q.begin {
				err = io.ErrUnexpectedEOF
			}
			r.partial = r.r < r.w && timeout(err)
			return err
		}
	}
}

// ReadResponse reads the next head of a response, an informational one included, to a request of the given method. Its
// errors are those of ReadRequest.
func (r *Reader) ReadResponse(p *Response, method string, l *Limits) error {
	p.Reset()
	r.moveDown()
	for {
		n, err := p.Parse(r.buf[r.r:r.w], method, l)
		if err != nil {
			return err
		}
		if n > 0 {
			r.r += n
			r.kept = r.r
			return nil
		}
		if err := r.fill(0); err != nil {
			if err == io.EOF && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// moveDown makes room for what follows a head that has come already, if that begins late in the buffer. The last head
// is no longer in use.
func (r *Reader) moveDown() {
	if r.r > len(r.buf)/2 {
		r.r, r.w = 0, copy(r.buf, r.buf[r.r:r.w])
	}
	r.kept = 0
}

const (
	// minBuffer is the least buffer that a reader makes.
	minBuffer = 4 << 10
	// minWindow is the least room that content is read into behind a head.
	minWindow = 512
)

// fill reads once, behind what is buffered. What lies below floor stays where it is, as it may be in use; what is
// buffered is moved down to it for room, or else into a larger buffer.
func (r *Reader) fill(floor int) error {
	if r.err != nil {
		return r.err
	}
	if r.r == r.w {
		r.r, r.w = floor, floor
	}
	if r.w == len(r.buf) && r.r > floor {
		r.r, r.w = floor, floor+copy(r.buf[floor:], r.buf[r.r:r.w])
	}
	if r.w == len(r.buf) || len(r.buf)-floor < minWindow {
		size := max(len(r.buf), minBuffer)
		if r.w-r.r > size-minWindow {
			size *= 2 // a head; its limit is this buffer's
		}
		larger := make([]byte, size)
		n := copy(larger, r.buf[r.r:r.w])
		r.buf, r.kept, r.r, r.w = larger, 0, 0, n // a head that is in use keeps the old one
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		r.err = lasting(err)
		return nil
	}
	return err
}

// read reads what is buffered, else from the connection straight into p.
func (r *Reader) read(p []byte) (int, error) {
	if r.r < r.w {
		n := copy(p, r.buf[r.r:r.w])
		r.r += n
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	if n > 0 {
		r.err = lasting(err)
		return n, nil
	}
	return 0, err
}

// lasting is an error that came together with bytes, and will be told of when these have been read; a passed deadline
// may be moved by then.
func lasting(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
