package http1

import (
	"errors"
	"io"
	"net"
)

// Body is the content of one message, as it comes from a Reader. It is used by one goroutine, and again for other
// messages.
type Body struct {
	r       *Reader
	framing Framing
	left    int64 // of Sized content, or of the chunk
	done    bool
	err     error
	chunks  chunkReader
	trailer Trailers
	limits  *Limits
	count   int64
}

// Begin makes b the content that follows a head that was read from r. The limits are those of trailers.
func (b *Body) Begin(r *Reader, h *Head, l *Limits) {
	b.r, b.framing, b.left, b.limits, b.err, b.count = r, h.Framing, 0, l, nil, 0
	b.chunks = chunkReader{}
	b.trailer.reset()
	if h.Framing == Sized {
		b.left = h.Length
	}
	b.done = h.Framing == None || h.Framing == Sized && b.left == 0
}

// Done reports whether the content was read to its end, trailers included. What the connection carries next is another
// message, but for UntilClose.
func (b *Body) Done() bool { return b.done }

// Err is the error that reading ended with, if it was not the content's end: see Read. A passed deadline is not kept.
func (b *Body) Err() error { return b.err }

// Left is how much Sized content is still to be read, -1 if that is not known.
func (b *Body) Left() int64 {
	if b.framing == Sized || b.done {
		return b.left
	}
	return -1
}

// Count is how much content was read.
func (b *Body) Count() int64 { return b.count }

// Trailers are the fields that came behind chunked content, once it is done. They are valid until Begin.
func (b *Body) Trailers() *Trailers { return &b.trailer }

// Read reads content without what frames it; it waits only if none has come. The error is io.EOF at the end,
// io.ErrUnexpectedEOF if the connection ended before, an *Error if the content's framing is refused, else the
// connection's. After any but a passed deadline the connection is of no more use.
func (b *Body) Read(p []byte) (n int, err error) {
	switch {
	case b.done:
		return 0, io.EOF
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	switch b.framing {
	case Chunked:
		n, err = b.readChunked(p)
	case Sized:
		n, err = b.r.read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		b.done = b.left == 0
	default:
		if n, err = b.r.read(p); err == io.EOF {
			b.done = true
			return n, err
		}
	}
	b.count += int64(n)
	if err != nil && !b.done {
		err = b.fail(err)
	}
	return n, err
}

// fail keeps an error that content ended with too early.
func (b *Body) fail(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if !timeout(err) {
		b.err = err
	}
	return err
}

func timeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// readChunked reads content out of chunks, as many as have come and fit. Large chunks are read straight into p.
func (b *Body) readChunked(p []byte) (n int, err error) {
	r := b.r
	for {
		if b.left > 0 && n < len(p) {
			part := p[n:][:min(int64(len(p)-n), b.left)]
			if r.r == r.w && (n > 0 || len(part) < len(r.buf)-r.kept) {
				if n > 0 {
					return n, nil
				}
				if err := r.fill(r.kept); err != nil {
					return 0, err
				}
			}
			m, err := r.read(part)
			n += m
			b.left -= int64(m)
			if err != nil {
				return n, err
			}
			continue
		}
		if b.left > 0 {
			return n, nil // p is full
		}
		if r.r == r.w {
			if n > 0 {
				return n, nil
			}
			if err := r.fill(r.kept); err != nil {
				return 0, err
			}
		}
		used, size, err := b.chunks.scan(r.buf[r.r:r.w], &b.trailer, b.limits)
		r.r += used
		switch {
		case err != nil && n > 0:
			b.err = err // what came before is good
			return n, nil
		case err != nil:
			return 0, err
		case size > 0:
			b.left = size
		case b.chunks.state == chunksEnded:
			b.done = true
			if n > 0 {
				return n, nil
			}
			return 0, io.EOF
		}
	}
}
