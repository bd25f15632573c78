package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
)

// failure is why a probe failed, in words for people.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// explain says what was asked and what came of it: "GET http://10.0.0.5:80/health: connection refused". Where the time
// was over, what had not happened by then is told by missing.
func explain(what, missing string, ctx context.Context, t *target, err error) error {
	var op *net.OpError
	var sys *os.SyscallError
	text := err.Error()
	switch {
	case ctx.Err() != nil:
		text, err = missing+" within "+t.Options.timeout().String(), context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the connection was closed before the response was complete"
	case errors.As(err, &sys):
		text = sys.Err.Error()
	case errors.As(err, &op):
		text = op.Err.Error()
	}
	return &failure{text: what + ": " + clip(text), err: err}
}

// clip bounds a text that others wrote.
func clip(s string) string {
	const limit = 300
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
