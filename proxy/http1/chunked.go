package http1

import "bytes"

// chunkState is what a chunkReader expects next. (RFC 9112, 7.1)
type chunkState uint8

const (
	chunkSize      chunkState = iota // the size's first digit
	chunkDigits                      // more of it, ";", whitespace before one, or the line's end
	chunkBlank                       // whitespace, or ";"
	chunkName                        // whitespace, or an extension's name
	chunkNameMore                    // more of it, or what may follow it
	chunkNameBlank                   // whitespace behind a name, "=" or ";"
	chunkValue                       // whitespace, or an extension's value
	chunkValueMore                   // more of a token, or what may follow it
	chunkQuoted                      // more of a quoted string
	chunkEscaped                     // what a backslash escapes in one
	chunkValueEnd                    // what may follow a quoted string
	chunkLF                          // the LF that ends a size line
	chunkDataCR                      // the line end behind a chunk's data
	chunkDataLF                      //
	chunkTrailer                     // the trailer section
	chunksEnded
)

const (
	// maxChunkDigits is how long a size may be, leading zeros included.
	maxChunkDigits = 16
	// maxChunk is how large a chunk may be.
	maxChunk = 1 << 62
	// freeOverhead is how many bytes of extensions a message may have that its content does not outweigh.
	freeOverhead = 16 << 10
)

// chunkReader reads what is between the data of chunks, a byte at a time, so that lines may come in any pieces and need
// no buffer.
type chunkReader struct {
	state    chunkState
	digits   int
	size     int64
	overhead int64 // bytes of extensions, less the content
}

// scan reads until data follows, whose size it returns, or the message ends, or what has come is used up. It returns
// how much that was.
func (c *chunkReader) scan(data []byte, t *Trailers, l *Limits) (used int, size int64, err error) {
	for i := 0; i < len(data); i++ {
		if c.state == chunkTrailer {
			n, done, err := t.take(data[i:], l)
			if done {
				c.state = chunksEnded
			}
			return i + n, 0, err
		}
		line := c.state
		if err := c.step(data[i]); err != nil {
			return i, 0, err
		}
		if line != chunkLF {
			continue
		}
		if c.size > 0 {
			size = c.size
			c.state, c.size, c.digits = chunkDataCR, 0, 0
			c.overhead = max(c.overhead-size, 0)
			return i + 1, size, nil
		}
		c.state = chunkTrailer
	}
	return len(data), 0, nil
}

// step takes one byte.
func (c *chunkReader) step(b byte) error {
	switch c.state {
	case chunkSize, chunkDigits:
		return c.sizeByte(b)
	case chunkLF:
		if b != '\n' {
			return errBareCR
		}
		return nil
	case chunkDataCR, chunkDataLF:
		if c.state == chunkDataCR && b == '\r' {
			c.state = chunkDataLF
		} else if c.state == chunkDataLF && b == '\n' {
			c.state = chunkSize
		} else {
			return errChunkEnd
		}
		return nil
	}
	if c.overhead++; c.overhead > freeOverhead {
		return errChunkOverhead
	}
	next, ok := c.extension(b)
	if !ok {
		return lineError(b, errChunkExtension)
	}
	c.state = next
	return nil
}

// sizeByte takes a byte of a size, or the one behind it.
func (c *chunkReader) sizeByte(b byte) error {
	if is(b, hexDigit) {
		if c.digits++; c.digits > maxChunkDigits || c.size >= maxChunk>>4 {
			return errChunkLarge
		}
		d := b & 0xf
		if b > '9' {
			d += 9
		}
		c.size = c.size<<4 | int64(d)
		c.state = chunkDigits
		return nil
	}
	if c.state == chunkSize {
		return lineError(b, errChunkSize)
	}
	switch {
	case b == ';':
		c.state = chunkName
	case b == '\r':
		c.state = chunkLF
	case blank(b):
		c.state = chunkBlank
	default:
		return lineError(b, errChunkSize)
	}
	return nil
}

// extension returns what follows a byte of an extension, and whether it may stand there.
func (c *chunkReader) extension(b byte) (chunkState, bool) {
	ends := func(allowed bool) (chunkState, bool) { // what may follow a name or a value
		switch {
		case b == ';':
			return chunkName, true
		case b == '\r':
			return chunkLF, allowed
		}
		return 0, false
	}
	switch c.state {
	case chunkBlank:
		if blank(b) {
			return chunkBlank, true
		}
		return chunkName, b == ';'
	case chunkName, chunkValue:
		switch {
		case blank(b):
			return c.state, true
		case b == '"' && c.state == chunkValue:
			return chunkQuoted, true
		}
		return c.state + 1, is(b, token)
	case chunkNameMore, chunkNameBlank:
		switch {
		case b == '=':
			return chunkValue, true
		case blank(b):
			return chunkNameBlank, true
		case is(b, token):
			return chunkNameMore, c.state == chunkNameMore
		}
		return ends(c.state == chunkNameMore)
	case chunkValueMore, chunkValueEnd:
		switch {
		case blank(b):
			return chunkBlank, true
		case is(b, token):
			return chunkValueMore, c.state == chunkValueMore
		}
		return ends(true)
	case chunkQuoted:
		switch {
		case b == '"':
			return chunkValueEnd, true
		case b == '\\':
			return chunkEscaped, true
		}
		return chunkQuoted, b == '\t' || b >= ' ' && b != 0x7f
	case chunkEscaped:
		return chunkQuoted, b == '\t' || b >= ' ' && b != 0x7f
	}
	return 0, false
}

// Trailers are the fields behind chunked content. The zero value has none.
type Trailers struct {
	Head
	buf []byte
}

func (t *Trailers) reset() {
	if t.buf != nil {
		t.Head.reset()
		t.buf = t.buf[:0]
	}
}

// take reads the trailer section, line by line into a buffer of its own. It returns how much was used, and whether the
// section is complete.
func (t *Trailers) take(data []byte, l *Limits) (used int, done bool, err error) {
	if len(t.buf) == 0 && len(data) >= 2 && data[0] == '\r' && data[1] == '\n' {
		return 2, true, nil // most messages have none
	}
	for used < len(data) {
		i := bytes.IndexByte(data[used:], '\n')
		end := used + i + 1
		if i < 0 {
			end = len(data)
		}
		if len(t.buf)+end-used > l.trailer() {
			return used, false, errTrailerLarge
		}
		t.buf = append(t.buf, data[used:end]...)
		used = end
		if done, err = t.parseFields(t.buf, l.count(), false); done || err != nil {
			t.raw = t.buf
			return used, done, err
		}
	}
	return used, false, nil
}
