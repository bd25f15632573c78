//go:build linux

package wire

import (
	"bytes"
	"strconv"
)

// Head is what generator and backend want to know of a message's head.
type Head struct {
	// Start is the request or status line.
	Start []byte
	// Size is the length of the head, its empty line included.
	Size int
	// Length is the body's length, -1 when the head does not tell.
	Length int64
	// Chunked reports whether there is a Transfer-Encoding.
	Chunked bool
	// Close reports whether the connection ends after the message.
	Close bool
	// Cookie is the name and value of the last Set-Cookie field.
	Cookie []byte
}

// ParseHead reads the head at the beginning of b; ok is false as long as it is incomplete. It is lenient: whether a
// proxy sends what it should is looked at elsewhere. What it returns points into b.
func ParseHead(b []byte) (h Head, ok bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return Head{}, false
	}
	h = Head{Size: end + 4, Length: -1}
	line, rest, _ := bytes.Cut(b[:end], []byte("\r\n"))
	h.Start = line
	h.Close = bytes.HasSuffix(line, []byte("HTTP/1.0"))
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				h.Length = n
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			h.Chunked = true
		case bytes.EqualFold(name, []byte("connection")):
			h.Close = h.Close || bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("set-cookie")):
			h.Cookie, _, _ = bytes.Cut(value, []byte(";"))
		}
	}
	return h, true
}
