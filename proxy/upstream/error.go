package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
)

// Kind says how an attempt failed.
type Kind uint8

// The kinds of failures.
const (
	// Reset: the connection broke before the response's head was complete.
	Reset Kind = iota
	// Refused: no connection could be made.
	Refused
	// ConnectTimeout: no connection was made in time.
	ConnectTimeout
	// BadTLS: the backend's TLS or its certificate is not acceptable, or the policy's TLS options are not usable.
	BadTLS
	// Malformed: what came back is not HTTP, or too much of it.
	Malformed
	// HeadTimeout: the response's head did not come in time.
	HeadTimeout
	// Canceled: the attempt's context ended.
	Canceled
)

// String is a stable word for the kind.
func (k Kind) String() string {
	return [...]string{"reset", "refused", "connect-timeout", "bad-tls", "malformed", "head-timeout", "canceled"}[k]
}

// Error is a failed attempt.
type Error struct {
	Kind Kind
	// Sent is false if nothing of the request can have reached the backend's application.
	Sent bool
	Err  error
}

func (e *Error) Error() string { return e.Kind.String() + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// dialError is a connection that was not made.
type dialError struct {
	kind Kind
	err  error
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// classify gives a transport's error its kind.
func classify(err error) *Error {
	var dial *dialError
	if errors.As(err, &dial) {
		return &Error{Kind: dial.kind, Err: err}
	}
	if err == context.Canceled || err == context.DeadlineExceeded { // the context's own; other timeouts claim to be, too
		return &Error{Kind: Canceled, Sent: true, Err: err}
	}
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Kind: HeadTimeout, Sent: true, Err: err} // the transport's own; connections have no deadlines
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		strings.Contains(err.Error(), "closed"): // net/http has no type for an idle connection's end
		return &Error{Kind: Reset, Sent: true, Err: err}
	}
	return &Error{Kind: Malformed, Sent: true, Err: err}
}
