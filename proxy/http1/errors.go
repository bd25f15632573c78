package http1

import "net/http"

// Kind tells what became of a message that cannot be read, by what is to be answered.
type Kind uint8

const (
	// Malformed is a message that is wrong or ambiguous: 400.
	Malformed Kind = iota
	// TargetTooLong is a request line over its limit: 414.
	TargetTooLong
	// HeadTooLarge is a head over the limit of its size: 431.
	HeadTooLarge
	// Unsupported is a transfer coding or a method that nobody here knows: 501.
	Unsupported
	// Version is another major version of HTTP: 505.
	Version
	// TooManyFields is a head with more fields than the limit: 431.
	TooManyFields
)

// Error is a message that is refused. Its values are shared and compared by identity; they hold nothing of the message.
type Error struct {
	Kind Kind
	// What says what is wrong.
	What string
	// RFC is the section that says so, such as "RFC 9112, 5.1"; empty for limits of our own.
	RFC string
}

func (e *Error) Error() string {
	if e.RFC == "" {
		return e.What
	}
	return e.What + " (" + e.RFC + ")"
}

// Status is what a client is answered that sent such a request. A response that is refused is a 502 whatever its kind.
func (e *Error) Status() int {
	switch e.Kind {
	case TargetTooLong:
		return http.StatusRequestURITooLong
	case HeadTooLarge, TooManyFields:
		return http.StatusRequestHeaderFieldsTooLarge
	case Unsupported:
		return http.StatusNotImplemented
	case Version:
		return http.StatusHTTPVersionNotSupported
	}
	return http.StatusBadRequest
}

var (
	errBareCR         = &Error{Malformed, "a CR that no LF follows", "RFC 9112, 2.2"}
	errBareLF         = &Error{Malformed, "a line that ends without CR", "RFC 9112, 2.2"}
	errMethod         = &Error{Malformed, "a method that is no token", "RFC 9112, 3.1"}
	errMethodLong     = &Error{Unsupported, "a method that is longer than any", "RFC 9112, 3"}
	errTarget         = &Error{Malformed, "a target with a character that ends nowhere", "RFC 9112, 3.2"}
	errFragment       = &Error{Malformed, "a target with a fragment", "RFC 9112, 3.2.1"}
	errTargetForm     = &Error{Malformed, "a target of no form that the method allows", "RFC 9112, 3.2"}
	errAuthority      = &Error{Malformed, "a target whose authority is no host and port", "RFC 9112, 3.2.3"}
	errUserinfo       = &Error{Malformed, "a target with user information", "RFC 9110, 4.2.4"}
	errEscape         = &Error{Malformed, "a path with a % that two hexadecimal digits do not follow", "RFC 3986, 2.1"}
	errTargetLong     = &Error{TargetTooLong, "a request line over the limit", ""}
	errProtocol       = &Error{Malformed, "a line that does not name its version as HTTP/1.1 does", "RFC 9112, 2.3"}
	errMajor          = &Error{Version, "a version of HTTP other than 1", "RFC 9110, 15.6.6"}
	errStatus         = &Error{Malformed, "a status that is not three digits from 100 on", "RFC 9112, 4"}
	errReason         = &Error{Malformed, "a status line with a control character", "RFC 9112, 4"}
	errFold           = &Error{Malformed, "a line that begins with whitespace", "RFC 9112, 5.2"}
	errFirstSpace     = &Error{Malformed, "whitespace between the first line and the fields", "RFC 9112, 2.2"}
	errName           = &Error{Malformed, "a field whose name is no token", "RFC 9110, 5.1"}
	errColon          = &Error{Malformed, "whitespace between a field's name and the colon", "RFC 9112, 5.1"}
	errValue          = &Error{Malformed, "a field's value with a control character", "RFC 9110, 5.5"}
	errHeadLarge      = &Error{HeadTooLarge, "a head over the limit", ""}
	errManyFields     = &Error{TooManyFields, "more fields than the limit", ""}
	errManyOptions    = &Error{HeadTooLarge, "more connection options than any message needs", ""}
	errNoHost         = &Error{Malformed, "no Host", "RFC 9112, 3.2"}
	errHosts          = &Error{Malformed, "several Host fields", "RFC 9112, 3.2"}
	errHost           = &Error{Malformed, "a Host that is no host and port", "RFC 9112, 3.2"}
	errLengths        = &Error{Malformed, "several Content-Length fields", "RFC 9112, 6.3"}
	errLength         = &Error{Malformed, "a Content-Length that is not a number in digits", "RFC 9110, 8.6"}
	errBothFramings   = &Error{Malformed, "Transfer-Encoding beside Content-Length", "RFC 9112, 6.1"}
	errOldChunked     = &Error{Malformed, "Transfer-Encoding with HTTP/1.0", "RFC 9112, 6.1"}
	errNotChunked     = &Error{Malformed, "a Transfer-Encoding that does not end as chunked, once", "RFC 9112, 6.3"}
	errCoding         = &Error{Unsupported, "a transfer coding other than chunked", "RFC 9112, 6.1"}
	errInterimBody    = &Error{Malformed, "an informational response that announces a body", "RFC 9110, 8.6"}
	errChunkSize      = &Error{Malformed, "a chunk size that is not a hexadecimal number", "RFC 9112, 7.1"}
	errChunkLarge     = &Error{Malformed, "a chunk size beyond all bounds", "RFC 9112, 7.1"}
	errChunkExtension = &Error{Malformed, "a chunk extension that is none", "RFC 9112, 7.1.1"}
	errChunkOverhead  = &Error{Malformed, "chunk extensions that outweigh the content", "RFC 9112, 7.1.1"}
	errChunkEnd       = &Error{Malformed, "a chunk that is longer than its size", "RFC 9112, 7.1"}
	errTrailerLarge   = &Error{HeadTooLarge, "trailers over the limit", ""}
)
