package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Errors of [Read] that are about what came; all others are the connection's.
var (
	// ErrNone is a connection that does not begin with a header.
	ErrNone = errors.New("proxyproto: no PROXY header")
	// ErrMalformed is a header that is none to its end.
	ErrMalformed = errors.New("proxyproto: a malformed PROXY header")
	// ErrTooLong is one beyond [MaxLen], or beyond the 107 bytes of version 1.
	ErrTooLong = errors.New("proxyproto: a PROXY header that is too long")
)

// Read reads one header, and not a byte behind it. A connection that ends within is an io.ErrUnexpectedEOF, one that
// ends before an io.EOF.
func Read(r io.Reader) (Header, error) {
	var buf [maxText]byte
	head := buf[:begin]
	if _, err := io.ReadFull(r, head); err != nil {
		return Header{}, err
	}
	switch {
	case string(head) == signature:
		return readBinary(r, buf[:fixedLen])
	case strings.HasPrefix(string(head), "PROXY "):
		return readText(r, &buf)
	}
	return Header{}, ErrNone
}

// readText reads the rest of a header of version 1, whose beginning is in buf. It asks for no more than must still come
// by the grammar, which is far less often than byte by byte.
func readText(r io.Reader, buf *[maxText]byte) (Header, error) {
	n := begin
	for {
		line := buf[:n]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			if i != n-1 || line[n-2] != '\r' {
				return Header{}, ErrMalformed
			}
			return parseText(string(line[:n-2]))
		}
		if i := bytes.IndexByte(line, '\r'); i >= 0 && i != n-1 {
			return Header{}, ErrMalformed
		}
		next := n + missing(line)
		if next > maxText {
			return Header{}, ErrTooLong
		}
		if _, err := io.ReadFull(r, buf[n:next]); err != nil {
			return Header{}, broken(err)
		}
		n = next
	}
}

// missing is how many bytes must at least follow an unfinished line: "PROXY TCP4 1" lacks " 0.0.0.0 0 0\r\n".
func missing(line []byte) int {
	switch {
	case line[len(line)-1] == '\r':
		return len("\n")
	case bytes.HasPrefix(line, []byte("PROXY TCP")):
		least := len("::")
		if line[len("PROXY TCP")] == '4' {
			least = len("0.0.0.0")
		}
		// What follows each number of spaces, the part that has begun left out.
		switch bytes.Count(line, []byte{' '}) {
		case 2:
			return 1 + least + len(" 0 0\r\n")
		case 3:
			return len(" 0 0\r\n")
		case 4:
			return len(" 0\r\n")
		}
	}
	return len("\r\n")
}

// parseText reads a line of version 1 without its end.
func parseText(line string) (Header, error) {
	parts := strings.Split(line, " ")
	if len(parts) >= 2 && parts[1] == "UNKNOWN" {
		return Header{}, nil // whatever follows
	}
	if len(parts) != 6 || parts[1] != "TCP4" && parts[1] != "TCP6" {
		return Header{}, ErrMalformed
	}
	var h Header
	for i, end := range []*netip.AddrPort{&h.Source, &h.Destination} {
		a, err := netip.ParseAddr(parts[2+i])
		if err != nil || a.Zone() != "" || a.Is4() != (parts[1] == "TCP4") {
			return Header{}, ErrMalformed
		}
		port, err := strconv.ParseUint(parts[4+i], 10, 16)
		if err != nil || strconv.FormatUint(port, 10) != parts[4+i] {
			return Header{}, ErrMalformed
		}
		*end = netip.AddrPortFrom(a.Unmap(), uint16(port))
	}
	return h, nil
}

// readBinary reads the rest of a header of version 2 whose signature is in fixed.
func readBinary(r io.Reader, fixed []byte) (Header, error) {
	if _, err := io.ReadFull(r, fixed[begin:]); err != nil {
		return Header{}, broken(err)
	}
	command, family, length := fixed[12], fixed[13], int(binary.BigEndian.Uint16(fixed[14:]))
	if command != localCommand && command != proxyCommand {
		return Header{}, ErrMalformed
	}
	size, ok := addressLen(family)
	switch {
	case command == localCommand:
		size = 0 // nothing of what follows matters
	case !ok || length < size:
		return Header{}, ErrMalformed
	}
	if fixedLen+length > MaxLen {
		return Header{}, ErrTooLong
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Header{}, broken(err)
	}
	if command == localCommand {
		return Header{}, nil
	}
	if !additions(rest[size:]) {
		return Header{}, ErrMalformed
	}
	return addresses(family, rest), nil
}

// addressLen is how long a family's pair of addresses is, and whether the family can be that of a stream.
func addressLen(family byte) (int, bool) {
	switch family {
	case noFamily:
		return 0, true
	case tcp4:
		return tcp4Len, true
	case tcp6:
		return tcp6Len, true
	case unixSock:
		return unixLen, true
	}
	return 0, false
}

func addresses(family byte, b []byte) Header {
	port := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
	switch family {
	case tcp4:
		return Header{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port(8)),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), port(10)),
		}
	case tcp6:
		return Header{
			netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), port(32)),
			netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[16:])).Unmap(), port(34)),
		}
	}
	return Header{}
}

// additions reports whether the bytes are whole type-length-value triples, which say nothing to us.
func additions(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 3 {
			return false
		}
		n := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// broken is the error of a connection that ended within a header.
func broken(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
