package http1

// Response is a response's head. Its zero value is ready to be read into.
type Response struct {
	Head
	// Status is its code, from 100 to 999.
	Status int

	lined  bool
	unsure bool // something of the message speaks of content that it cannot have: the connection is not to be trusted
	reason int  // where the reason begins
}

// Reset makes the response ready for [Response.Parse] to begin another. [Reader.ReadResponse] does so itself.
func (p *Response) Reset() {
	p.reset()
	p.Status, p.lined, p.unsure, p.reason = 0, false, false, 0
}

// Reason is the reason phrase, which may be empty.
func (p *Response) Reason() []byte { return p.raw[p.reason : p.line-2] }

// Interim reports whether the response is an informational one that the final one follows. 101 is final.
func (p *Response) Interim() bool { return p.Status < 200 && p.Status != 101 }

// Persists reports whether the backend's connection can be used again when the content has been read.
func (p *Response) Persists() bool {
	return p.persists() && p.Framing != UntilClose && p.Status != 101 && !p.unsure
}

// Parse reads as much of a response to a request of the given method as data holds; it works as [Request.Parse] does.
func (p *Response) Parse(data []byte, method string, l *Limits) (int, error) {
	if !p.lined {
		ok, err := p.parseLine(data)
		if err != nil {
			return 0, err
		}
		if !ok {
			if len(data) >= l.head() {
				return 0, errHeadLarge
			}
			return 0, nil
		}
	}
	done, err := p.parseFields(data, l.count(), true)
	switch {
	case err != nil:
		return 0, err
	case done && p.pos > l.head(), !done && len(data) >= l.head():
		return 0, errHeadLarge
	case !done:
		return 0, nil
	}
	p.raw = data[:p.pos:p.pos]
	return p.pos, p.check(method)
}

// parseLine reads the status line. It reports whether the line is complete and right. The space that announces a reason
// may be missing if there is none.
func (p *Response) parseLine(data []byte) (bool, error) {
	if p.seen > 0 {
		if more, err := p.resume(data, errReason); err != nil || !more {
			return false, err
		}
	}
	p.seen = len(data)
	if done, err := p.protocol(data, 0); err != nil || !done {
		return false, err
	}
	const at = len("HTTP/1.1")
	for i := at; i < min(at+4, len(data)); i++ {
		if i == at && data[i] != ' ' {
			return false, lineError(data[i], errProtocol)
		}
		if i > at && !is(data[i], digit) || i == at+1 && data[i] == '0' {
			return false, errStatus
		}
	}
	i := at + 4
	if i >= len(data) {
		return false, nil
	}
	p.Status = int(data[at+1]-'0')*100 + int(data[at+2]-'0')*10 + int(data[at+3]-'0')
	p.reason = i
	switch data[i] {
	case ' ':
		i++
		p.reason = i
		i = text(data, i)
	case '\r':
	default:
		return false, lineError(data[i], errStatus)
	}
	switch {
	case i == len(data), i+1 == len(data) && data[i] == '\r':
		return false, nil
	case data[i] != '\r':
		return false, lineError(data[i], errReason)
	case data[i+1] != '\n':
		return false, errBareCR
	}
	p.pos, p.line, p.lined, p.seen = i+2, i+2, true, 0
	return true, nil
}

// check finds the framing (RFC 9112, 6.3).
func (p *Response) check(method string) error {
	chunked, err := p.transferEncoding()
	if err != nil {
		return err
	}
	n, err := p.contentLength()
	if err != nil {
		return err
	}
	p.Length = -1
	switch {
	case p.Status < 200:
		if chunked || n > 0 {
			return errInterimBody
		}
	case p.Status == 204:
		p.unsure = chunked || n > 0
	case method == "CONNECT" && p.Status < 300:
		p.unsure = true // a tunnel
	case p.Status == 304, method == "HEAD":
		p.Length = n
	case chunked:
		p.Framing = Chunked
	case n >= 0:
		p.Framing, p.Length = Sized, n
	default:
		p.Framing = UntilClose
	}
	return p.readConnection()
}
