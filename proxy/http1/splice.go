package http1

import (
	"io"
	"math"
)

const (
	// spliceMin is how much must be left for splicing to pay.
	spliceMin = 16 << 10
	// spliceStep is how much is spliced in one step: what the other side must take within one deadline.
	spliceStep = 256 << 10
	// progressStep is how much that is where the deadline can be moved within the step.
	progressStep = 512 << 10
)

// spliceable returns how much content can go on from socket to socket in a step: it needs no framing, and nothing of it was
// read. Nothing waits in Buf if it is not 0.
func (w *Writer) spliceable(b *Body) int64 {
	if !canSplice || w.raw == nil || b.r.raw == nil || w.Splice < 0 || w.noPipe || w.framing != b.framing || w.framing == Chunked {
		return 0
	}
	if len(w.Buf) > 0 || len(b.r.Buffered()) > 0 || b.r.err != nil {
		return 0
	}
	left := int64(math.MaxInt64)
	if w.framing == Sized {
		left = min(b.left, w.left)
	}
	if left < int64(or(w.Splice, spliceMin)) {
		return 0
	}
	if w.Progress != nil {
		return min(left, progressStep)
	}
	return min(left, spliceStep)
}

// Gatherer is a [Socket] that can wait until n bytes have come, or as many of them as are worth waiting for. There are at
// least so many to come.
type Gatherer interface{ Gather(n int) }

// spliceFrom carries on what has come of that much, and waits if nothing has. It reports false if it cannot.
func (w *Writer) spliceFrom(b *Body, most int64) (n int64, err error, ok bool) {
	if w.splicer == nil {
		w.splicer = new(splicer)
	}
	if g, ok := b.r.src.(Gatherer); ok && b.framing == Sized {
		g.Gather(int(most))
	}
	m, err := w.splicer.take(b.r.raw, int(most))
	switch {
	case err == errNoPipe:
		w.noPipe = true
		return 0, nil, false
	case err != nil:
		return 0, b.fail(err), true
	case m == 0 && b.framing == UntilClose:
		b.done = true
		return 0, nil, true
	case m == 0:
		return 0, b.fail(io.EOF), true
	}
	n = int64(m)
	b.count += n
	if b.framing == Sized {
		b.left -= n
		b.done = b.left == 0
	}
	w.err = w.splicer.give(w.raw, w.Progress)
	return n, w.err, true
}
