package http1

import (
	"errors"
	"io"
	"strconv"
	"syscall"
)

// Writer is the sending side of a connection. It gathers in a buffer that it is lent what can travel in one write. It
// is used by one goroutine.
type Writer struct {
	// Buf is what waits to be sent. Heads are appended to it. It does not grow for content.
	Buf []byte
	// Splice is how many bytes must be left for content to go from socket to socket without being seen, where it can;
	// 0 means 16 KiB, negative never.
	Splice int
	// Progress, if there is any, is called when the other side has taken some of what is spliced, before it is waited for
	// again: the deadline for writing may be moved then. With it steps are larger.
	Progress func()

	dst     io.Writer
	raw     syscall.RawConn // of the socket that dst is; nil if there is more between
	splicer *splicer        // nil until it is needed
	noPipe  bool            // the system gave none for this content
	skip    int             // what of Buf is not to be sent
	framing Framing
	left    int64 // of Sized content
	ended   bool
	err     error
	count   int64
}

var (
	// ErrContent is a use of a Writer that would break the framing that it was told: content beyond or below its length.
	ErrContent = errors.New("http1: the content is not of the length that was announced")
	errEnded   = errors.New("http1: the content was ended")
)

// Reset makes w write to dst, by way of buf, which the caller must not use until Detach.
func (w *Writer) Reset(dst io.Writer, buf []byte) {
	*w = Writer{Buf: buf[:0], Splice: w.Splice, Progress: w.Progress, splicer: w.splicer, dst: dst, raw: rawOf(dst), ended: true}
}

// Attach lends the writer a buffer again, after Detach.
func (w *Writer) Attach(buf []byte) { w.Buf = buf[:0] }

// Detach takes the buffer back, or the larger one that came into its place. What was not flushed is lost.
func (w *Writer) Detach() []byte {
	buf := w.Buf
	w.Buf = nil
	return buf
}

// Begin makes w ready for the content of a message whose head was appended to Buf.
func (w *Writer) Begin(framing Framing, length int64) {
	w.framing, w.left, w.count, w.ended, w.noPipe = framing, 0, 0, framing == None, false
	if framing == Sized {
		w.left = length
		w.ended = length == 0
	}
}

// Err is the connection's error that writing ended with. A passed deadline counts: nobody knows what of it was sent.
func (w *Writer) Err() error { return w.err }

// Ended reports whether the content was written to its end.
func (w *Writer) Ended() bool { return w.ended }

// Count is how much content was written.
func (w *Writer) Count() int64 { return w.count }

// Flush sends what waits.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if len(w.Buf) == w.skip {
		return nil
	}
	_, w.err = w.dst.Write(w.Buf[w.skip:])
	w.Buf, w.skip = w.Buf[:0], 0
	return w.err
}

// Pending is what Flush would send.
func (w *Writer) Pending() []byte { return w.Buf[w.skip:] }

// Sent tells that n bytes of Pending were sent by somebody else, and what that ended with.
func (w *Writer) Sent(n int, err error) {
	if w.skip += n; w.skip == len(w.Buf) {
		w.Buf, w.skip = w.Buf[:0], 0
	}
	w.err = err
}

// chunkRoom is what frames a chunk, and the content's end without trailers: 16 digits and three line ends, "0" and two.
const chunkRoom = 16 + 2 + 2 + 5

// Write sends content, in one write with what waits if that leaves room. Small content waits too, until Flush.
func (w *Writer) Write(p []byte) (int, error) {
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case w.ended:
		return 0, errEnded
	case w.framing == Sized && int64(len(p)) > w.left:
		return 0, ErrContent
	}
	if w.framing == Chunked {
		if cap(w.Buf)-len(w.Buf) < chunkRoom && w.Flush() != nil {
			return 0, w.err
		}
		w.Buf = strconv.AppendInt(w.Buf, int64(len(p)), 16)
		w.Buf = append(w.Buf, "\r\n"...)
	}
	if len(p) <= cap(w.Buf)-len(w.Buf)-chunkRoom {
		w.Buf = append(w.Buf, p...)
	} else if err := w.through(p); err != nil {
		return 0, err
	}
	if w.framing == Chunked {
		w.Buf = append(w.Buf, "\r\n"...)
	}
	w.wrote(len(p))
	return len(p), nil
}

// through sends what waits and then p.
func (w *Writer) through(p []byte) error {
	if w.Flush() == nil {
		_, w.err = w.dst.Write(p)
	}
	return w.err
}

func (w *Writer) wrote(n int) {
	w.count += int64(n)
	if w.framing == Sized {
		w.left -= int64(n)
		w.ended = w.left == 0
	}
}

// End ends the content and sends what waits. Trailers, which may be nil, go along if the content is Chunked.
func (w *Writer) End(t *Trailers) error {
	if err := w.end(t); err != nil {
		return err
	}
	return w.Flush()
}

func (w *Writer) end(t *Trailers) error {
	switch {
	case w.err != nil:
		return w.err
	case w.framing == Sized && w.left > 0:
		return ErrContent
	case w.framing == Chunked && !w.ended:
		w.Buf = append(w.Buf, "0\r\n"...)
		if t != nil {
			w.Buf = t.append(w.Buf)
		}
		w.Buf = append(w.Buf, "\r\n"...)
	}
	w.ended = true
	return nil
}

// minRoom is the least room in Buf that content is read into behind what waits.
const minRoom = 1 << 10

// Relay carries content on by one step: it reads once, if nothing has come waits, and sends what came along with what
// waits in Buf. A head goes out alone only if there is nothing else to send and something to wait for. It returns how
// much content that was and whether it was the end, which is sent too, with its trailers. If the error is not w.Err(),
// it is the body's; what was read before is sent. The framings may differ, but the length of Sized content may not.
//
// From socket to socket, content that needs no framing goes by splice(2) if much is left, up to 256 KiB in a step, with
// Progress 512 KiB, which a source that can Gather is asked to let come together. Each side is waited for alone, so that a deadline that passes belongs to one, and a body whose read deadline has passed has lost
// nothing and can be relayed on.
func (w *Writer) Relay(b *Body) (n int64, done bool, err error) {
	if b.done {
		return 0, true, w.End(&b.trailer)
	}
	if w.ended {
		return 0, false, ErrContent
	}
	if len(b.r.Buffered()) == 0 && len(w.Buf) > 0 || cap(w.Buf)-len(w.Buf) < minRoom+chunkRoom {
		if err := w.Flush(); err != nil {
			return 0, false, err
		}
	}
	spliced := false
	if most := w.spliceable(b); most > 0 {
		n, err, spliced = w.spliceFrom(b, most)
	}
	if !spliced {
		n, err = w.copyFrom(b)
	}
	w.wrote(int(n))
	if err == nil && b.done {
		err = w.end(&b.trailer)
	}
	if ferr := w.Flush(); ferr != nil {
		err = ferr
	}
	return n, err == nil && b.done, err
}

// Take reads content once, behind what waits in Buf, and sends nothing: for a head that is to be held back until some of
// its content, or an error, has come. It takes nothing if Buf has no room left. Relay goes on from there.
func (w *Writer) Take(b *Body) (int64, error) {
	switch {
	case w.err != nil:
		return 0, w.err
	case b.done || cap(w.Buf)-len(w.Buf) < minRoom+chunkRoom:
		return 0, nil
	case w.ended:
		return 0, ErrContent
	}
	n, err := w.copyFrom(b)
	w.wrote(int(n))
	return n, err
}

// Gather takes the content, all of which has come, and its end behind what waits, and sends nothing. It reports false, and
// has done nothing, if there is no room for that, or if it is not content of a length.
func (w *Writer) Gather(b *Body) bool {
	if w.err != nil || w.framing != Sized || b.framing != Sized || w.ended || b.left != w.left || b.left > int64(len(b.r.Buffered())) ||
		int64(cap(w.Buf)-len(w.Buf)) < b.left+minRoom+chunkRoom {
		return false
	}
	for !b.done {
		n, err := w.copyFrom(b)
		if w.wrote(int(n)); err != nil {
			w.err = err
			return true
		}
	}
	return true
}

// Drop throws away what waits, and the content that was begun with it.
func (w *Writer) Drop() {
	w.Buf, w.skip = w.Buf[:0], 0
	w.framing, w.left, w.count, w.ended = None, 0, 0, true
}

// copyFrom reads once, behind what waits in Buf.
func (w *Writer) copyFrom(b *Body) (int64, error) {
	if cap(w.Buf) < minRoom+chunkRoom {
		w.Buf = append(make([]byte, 0, minBuffer), w.Buf...)
	}
	at, free := len(w.Buf), cap(w.Buf)
	digits := hexLen(free) // as many as a size can have
	if w.framing == Chunked {
		at += digits + 2
		free -= 2 + 5
	}
	n, err := b.Read(w.Buf[at:free])
	if err == io.EOF {
		err = nil
	}
	if n == 0 {
		return 0, err
	}
	if w.framing != Chunked {
		if w.framing == Sized && int64(n) > w.left {
			return 0, ErrContent
		}
		w.Buf = w.Buf[:at+n]
		return int64(n), err
	}
	// The size goes right before the data; the gap before it is skipped if nothing waits there, else closed.
	start := len(w.Buf)
	gap := digits - hexLen(n)
	data := w.Buf[at : at+n]
	if start > 0 {
		data = w.Buf[at-gap : at-gap+n]
		copy(data, w.Buf[at:at+n])
	} else {
		w.skip, start = gap, gap
	}
	strconv.AppendInt(w.Buf[:start], int64(n), 16)
	w.Buf = append(w.Buf[:start+hexLen(n)], "\r\n"...)
	w.Buf = w.Buf[:len(w.Buf)+len(data)]
	w.Buf = append(w.Buf, "\r\n"...)
	return int64(n), err
}

// hexLen is how many hexadecimal digits n has.
func hexLen(n int) int {
	digits := 1
	for n >>= 4; n > 0; n >>= 4 {
		digits++
	}
	return digits
}
