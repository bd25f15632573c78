package http1

import (
	"bytes"
	"strconv"
)

// AppendLine appends the request line with a target of the caller's choice, and a Host if the head has none that could
// go on as it is: with an absolute target the authority is the host (RFC 9112, 3.2.2), and HTTP/1.0 may come without.
// The version is 1.1. A target that begins with a question mark has a "/" put before it.
func (q *Request) AppendLine(dst, target []byte) []byte {
	dst = append(dst, q.Method()...)
	dst = append(dst, ' ')
	if len(target) == 0 || target[0] == '?' {
		dst = append(dst, '/')
	}
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	if q.Form == Absolute || q.first[Host] == 0 {
		dst = append(dst, "Host: "...)
		dst = append(dst, q.Host()...)
		dst = append(dst, "\r\n"...)
		q.DropAll(Host)
	}
	return dst
}

// AppendLine appends the status line, with version 1.1.
func (p *Response) AppendLine(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(p.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, p.Reason()...)
	return append(dst, "\r\n"...)
}

// AppendStatus appends the status line of a response of our own.
func AppendStatus(dst []byte, status int, reason string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = appendText(dst, reason)
	return append(dst, "\r\n"...)
}

// AppendFields appends the fields as they came, without those that end here (see the package's comment) and those that
// were dropped. Fields that stay together are copied together.
func (h *Head) AppendFields(dst []byte) []byte {
	without := ending
	if h.Framing == Chunked {
		without &^= setOf(Trailer)
	}
	from, to := uint32(0), uint32(0)
	for i := range h.fields {
		f := &h.fields[i]
		if f.dropped || without.has(f.Name) || f.spaced {
			if f.spaced && !f.dropped && !without.has(f.Name) {
				dst = append(dst, h.raw[from:to]...)
				dst = appendField(dst, h.Label(f), h.Value(f))
				from, to = f.end, f.end
			}
			continue
		}
		if f.start != to {
			dst = append(dst, h.raw[from:to]...)
			from = f.start
		}
		to = f.end
	}
	return append(dst, h.raw[from:to]...)
}

func appendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendField appends a field. The name must be a token; control characters in the value, which could end it, become
// spaces.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = appendText(dst, value)
	return append(dst, "\r\n"...)
}

// appendText appends what a field's value or a reason may hold.
func appendText(dst []byte, s string) []byte {
	at := len(dst)
	dst = append(dst, s...)
	for i := at; ; i++ {
		if i = text(dst, i); i == len(dst) {
			return dst
		}
		dst[i] = ' '
	}
}

// AppendEnd appends the field that tells of the content's framing, and the empty line that ends the head. For None and
// UntilClose there is none, unless the length is not negative: that is what a response without content may say of the
// content that it does not have. A request of unknown length must be Chunked.
func AppendEnd(dst []byte, framing Framing, length int64) []byte {
	switch {
	case framing == Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case framing != UntilClose && length >= 0:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, length, 10)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// FramingFor is how a response goes to a client whose request had that minor version: chunks are not for HTTP/1.0, and
// for HTTP/1.1 content that ends with the backend's connection gets chunks, so that the client's outlives it.
func (p *Response) FramingFor(minor uint8) Framing {
	switch {
	case p.Framing == Chunked && minor == 0:
		return UntilClose
	case p.Framing == UntilClose && minor > 0:
		return Chunked
	}
	return p.Framing
}

// append appends the fields that may be trailers.
func (t *Trailers) append(dst []byte) []byte {
	for i := range t.fields {
		if f := &t.fields[i]; !f.dropped && !neverTrailers.has(f.Name) {
			dst = append(dst, t.raw[f.start:f.end]...)
		}
	}
	return dst
}

// ValidValue reports whether a field's value can be sent as it is: it holds no control characters, and no blanks around.
func ValidValue(s string) bool {
	b := []byte(s)
	return text(b, 0) == len(b) && len(bytes.Trim(b, " \t")) == len(b)
}
