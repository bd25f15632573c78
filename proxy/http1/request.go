package http1

import "bytes"

// Form is the form of a request's target (RFC 9112, 3.2).
type Form uint8

const (
	// Origin is a path and perhaps a query.
	Origin Form = iota
	// Absolute is a whole http or https URI.
	Absolute
	// Asterisk is the "*" of OPTIONS.
	Asterisk
	// Authority is the host and port of CONNECT.
	Authority
)

// Request is a request's head. Its zero value is ready to be read into.
type Request struct {
	Head
	// Form is the target's.
	Form Form

	skipped             bool // the empty line before the request
	lined               bool // the request line was read
	begin               int  // where it begins
	method, targetSpace int  // where they end
	pathAt              int  // where path and query begin, if Form is Origin, or Absolute with any
	authAt, authEnd     int  // the target's authority
}

// Reset makes the request ready for [Request.Parse] to begin another. [Reader.ReadRequest] does so itself.
func (q *Request) Reset() {
	q.reset()
	q.Form, q.skipped, q.lined, q.begin, q.method, q.targetSpace = Origin, false, false, 0, 0, 0
	q.pathAt, q.authAt, q.authEnd = 0, 0, 0
}

// Method is the request's method.
func (q *Request) Method() []byte { return q.raw[q.begin:q.method] }

// Target is the request's target as it came.
func (q *Request) Target() []byte { return q.raw[q.method+1 : q.targetSpace] }

// Path is path and query, as they came, to be asked of a backend: the origin form of the target, or "*". A target that
// has none, such as "http://host", has "/", or "*" for OPTIONS; one with a query only has a "/" put before it by
// [Request.AppendLine]; here it begins with the question mark. It is nil for CONNECT.
func (q *Request) Path() []byte {
	switch {
	case q.Form == Authority:
		return nil
	case q.Form == Asterisk, q.pathAt == q.targetSpace && string(q.Method()) == "OPTIONS":
		return asterisk
	case q.pathAt == q.targetSpace:
		return slash
	}
	return q.raw[q.pathAt:q.targetSpace]
}

var (
	asterisk = []byte("*")
	slash    = []byte("/")
)

// Host is the host, and perhaps a port, that is asked: the target's authority if it has one, else the Host field
// (RFC 9112, 3.2.2). It may be empty.
func (q *Request) Host() []byte {
	if q.authEnd > q.authAt {
		return q.raw[q.authAt:q.authEnd]
	}
	return q.Get(Host)
}

// Persists reports whether the client may send another request on the connection. A client of HTTP/1.0 must have asked
// for that with keep-alive.
func (q *Request) Persists() bool { return q.persists() }

// ExpectsContinue reports whether the client waits for 100 before it sends its content (RFC 9110, 10.1.1).
func (q *Request) ExpectsContinue() bool {
	return q.first[Expect] != 0 && q.Minor == 1 && q.lists(Expect, "100-continue")
}

// AcceptsTrailers reports whether TE says that trailers of the response are kept.
func (q *Request) AcceptsTrailers() bool { return q.first[TE] != 0 && q.lists(TE, "trailers") }

// Parse reads as much of a request as data holds, which begins where the message does; after a call that found it not
// complete, data must begin with the same bytes. It returns how long the head is, 0 if it is not complete. What is
// wrong is reported as soon as it is seen. The request refers to data from then on.
func (q *Request) Parse(data []byte, l *Limits) (int, error) {
	if !q.lined {
		ok, err := q.parseLine(data, l)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, nil
		}
	}
	done, err := q.parseFields(data, l.count(), false)
	switch {
	case err != nil:
		return 0, err
	case done && q.pos > l.head(), !done && len(data) >= l.head():
		return 0, errHeadLarge
	case !done:
		return 0, nil
	}
	q.raw = data[:q.pos:q.pos]
	return q.pos, q.check()
}

// parseLine reads the request line, and an empty line before it. It reports whether the line is complete and right. One
// that comes in pieces is read from its beginning each time, which its limit bounds.
func (q *Request) parseLine(data []byte, l *Limits) (bool, error) {
	pos := q.pos
	if !q.skipped && len(data) > 0 {
		if data[0] == '\r' {
			if len(data) == 1 {
				return false, nil
			}
			if data[1] != '\n' {
				return false, errBareCR
			}
			pos = 2
		}
		q.skipped, q.begin, q.pos = true, pos, pos
	}
	q.method = span(data, pos, token)
	if q.method == len(data) {
		return false, q.tooLong(data, l)
	}
	if data[q.method] != ' ' || q.method == pos {
		return false, lineError(data[q.method], errMethod)
	}
	start := q.method + 1
	q.targetSpace = span(data, start, target)
	if q.targetSpace == len(data) {
		return false, q.tooLong(data, l)
	}
	if c := data[q.targetSpace]; c != ' ' || q.targetSpace == start {
		switch {
		case c == '#':
			return false, errFragment
		case c == '\r' && (q.targetSpace+1 == len(data) || data[q.targetSpace+1] == '\n'):
			return false, errProtocol // HTTP/0.9
		}
		return false, lineError(c, errTarget)
	}
	if done, err := q.protocol(data, q.targetSpace+1); err != nil || !done {
		return false, err
	}
	end := q.targetSpace + 1 + len("HTTP/1.1")
	switch {
	case end < len(data) && data[end] != '\r':
		return false, lineError(data[end], errProtocol)
	case end+2 > len(data):
		return false, nil
	case data[end+1] != '\n':
		return false, errBareCR
	case end-pos > l.line():
		return false, q.tooLong(data, l)
	}
	q.pos, q.line, q.lined = end+2, end+2, true
	return true, q.checkTarget(data)
}

// tooLong says whether a request line that is not complete is over its limit already.
func (q *Request) tooLong(data []byte, l *Limits) error {
	if len(data)-q.pos <= l.line() {
		return nil
	}
	if bytes.IndexByte(data[q.pos:][:l.line()], ' ') < 0 {
		return errMethodLong
	}
	return errTargetLong
}

// protocol reads the version at i. It reports whether it is complete.
func (h *Head) protocol(data []byte, i int) (bool, error) {
	const pattern = "HTTP/0.0"
	have := data[i:]
	if len(have) > len(pattern) {
		have = have[:len(pattern)]
	}
	for j, c := range have {
		if pattern[j] == '0' && is(c, digit) || pattern[j] != '0' && c == pattern[j] {
			continue
		}
		return false, errProtocol
	}
	if len(have) < len(pattern) {
		return false, nil
	}
	if have[5] != '1' {
		return false, errMajor
	}
	h.Minor = min(have[7]-'0', 1)
	return true, nil
}

// check is what remains to be done when all lines have been read.
func (q *Request) check() error {
	if q.twice.has(Host) {
		return errHosts
	}
	q.Length = -1
	f := q.first[Host]
	if f == 0 && q.Minor == 1 {
		return errNoHost
	}
	if f != 0 && !validHost(q.Value(&q.fields[f-1]), false) {
		return errHost
	}
	chunked, err := q.transferEncoding()
	if err != nil {
		return err
	}
	n, err := q.contentLength()
	if err != nil {
		return err
	}
	switch {
	case chunked:
		q.Framing = Chunked
	case n >= 0:
		q.Framing, q.Length = Sized, n
	}
	if q.Minor == 0 {
		q.DropAll(Expect) // to be ignored (RFC 9110, 10.1.1)
	}
	return q.readConnection()
}
