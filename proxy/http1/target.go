package http1

import "bytes"

// checkTarget finds out the target's form and whether the method allows it (RFC 9112, 3.2).
func (q *Request) checkTarget(data []byte) error {
	method := data[q.begin:q.method]
	at, end := q.method+1, q.targetSpace
	t := data[at:end]
	switch {
	case string(method) == "CONNECT":
		q.Form, q.authAt, q.authEnd = Authority, at, end
		if !validHost(t, true) {
			return errAuthority
		}
		return nil
	case t[0] == '/':
		q.Form, q.pathAt = Origin, at
	case t[0] == '*':
		q.Form, q.pathAt = Asterisk, at
		if len(t) > 1 || string(method) != "OPTIONS" {
			return errTargetForm
		}
		return nil
	default:
		if err := q.absolute(t, at); err != nil {
			return err
		}
	}
	return checkEscapes(data[q.pathAt:end])
}

// absolute reads a target that is a URI, which begins at an offset.
func (q *Request) absolute(t []byte, at int) error {
	scheme := 0
	switch {
	case len(t) > 7 && fold(t[:4], "http") && string(t[4:7]) == "://":
		scheme = 7
	case len(t) > 8 && fold(t[:5], "https") && string(t[5:8]) == "://":
		scheme = 8
	default:
		return errTargetForm
	}
	n := bytes.IndexAny(t[scheme:], "/?")
	if n < 0 {
		n = len(t) - scheme
	}
	host := t[scheme : scheme+n]
	if bytes.IndexByte(host, '@') >= 0 {
		return errUserinfo
	}
	if !validHost(host, false) || len(host) == 0 || host[0] == ':' {
		return errAuthority
	}
	q.Form, q.authAt, q.authEnd, q.pathAt = Absolute, at+scheme, at+scheme+n, at+scheme+n
	return nil
}

// checkEscapes looks at the escapes of a path, which ends at a question mark.
func checkEscapes(path []byte) error {
	i := bytes.IndexByte(path, '%')
	if i < 0 {
		return nil
	}
	if end := bytes.IndexByte(path, '?'); end >= 0 {
		path = path[:end]
	}
	for ; i < len(path); i++ {
		if path[i] == '%' && (i+2 >= len(path) || !is(path[i+1], hexDigit) || !is(path[i+2], hexDigit)) {
			return errEscape
		}
	}
	return nil
}

// validHost reports whether b is a host and perhaps a port (RFC 3986, 3.2.2 and 3.2.3): a name, an IPv4 address, or
// an IP literal in brackets. It may be empty, unless both are needed.
func validHost(b []byte, port bool) bool {
	i := 0
	if len(b) > 0 && b[0] == '[' {
		for i = 1; i < len(b) && (is(b[i], regName) || b[i] == ':' || b[i] == '%'); i++ {
		}
		if i < 3 || i >= len(b) || b[i] != ']' {
			return false
		}
		i++
	} else {
		for ; i < len(b) && b[i] != ':'; i++ {
			if is(b[i], regName) {
				continue
			}
			if b[i] != '%' || i+2 >= len(b) || !is(b[i+1], hexDigit) || !is(b[i+2], hexDigit) {
				return false
			}
			i += 2
		}
	}
	if i == len(b) {
		return !port
	}
	if b[i] != ':' || port && (i == 0 || i+1 == len(b)) {
		return false
	}
	return span(b, i+1, digit) == len(b)
}
