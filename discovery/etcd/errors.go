package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// outage is why a store cannot be followed, in words for an operator.
type outage struct {
	text string
	err  error
}

func (o *outage) Error() string { return o.text }
func (o *outage) Unwrap() error { return o.err }

// explain tells the nature of an error, which decides whether it is told anew, and the error in full: which endpoints,
// what happened, and what to do about it where that is known.
func (r *run) explain(err error) (nature string, full error) {
	text := message(err)
	nature, hint := classify(err, text)
	switch nature {
	case "login":
		if r.opts.Username == "" {
			hint = "the store asks for a login; give a user and password"
		} else {
			hint = fmt.Sprintf("check the user %q and its password", r.opts.Username)
		}
	case "permission":
		what := "the prefix " + r.opts.Prefix
		if r.opts.Prefix == "" {
			what = "all keys, or give a prefix"
		}
		hint = fmt.Sprintf("grant the user %q read on %s", r.opts.Username, what)
	case "late":
		hint = fmt.Sprintf("no answer within %v", r.opts.DialTimeout)
	case "silent":
		hint = fmt.Sprintf("nothing was heard for %v", r.opts.Liveness)
	}
	full = &outage{fmt.Sprintf("etcd at %s: %s", strings.Join(r.opts.Endpoints, ","), text), err}
	if hint != "" {
		full = &outage{full.Error() + ": " + hint, err}
	}
	return nature, full
}

// message is an error's text without gRPC's preamble.
func message(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return s.Message()
	}
	return err.Error()
}

func classify(err error, text string) (nature, hint string) {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, errSilent):
		return "silent", ""
	case errors.Is(err, errForeign):
		return "foreign", "name the members of one cluster only"
	case has("permission denied"):
		return "permission", ""
	case has("authentication failed", "user name is empty", "invalid auth token", "revision of auth store"):
		return "login", ""
	case has("x509:", "certificate", "tls: "):
		return "tls", "check the authority (ca), the names in the store's certificate and the client's pair (cert, key)"
	case has("reading server preface", "http2: frame too large"):
		return "protocol", "the answer is no clear HTTP/2; if the store wants https, say so (scheme=https or https://)"
	case has("no leader"):
		return "leader", "the member has lost its cluster"
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return "late", ""
	case status.Code(err) == codes.Unavailable:
		return "unreachable", ""
	}
	return "other", ""
}
