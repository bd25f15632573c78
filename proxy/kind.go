package proxy

import (
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/proxy/upstream"
)

// kind is how an exchange or an attempt ended.
type kind uint8

const (
	fine kind = iota
	badRequest
	noTunnel
	noTable
	noRoute
	noBackend
	overloaded
	queueFull
	queueTimeout
	backendRefused
	connectTimeout
	backendTLS
	backendReset
	backendMalformed
	headTimeout
	unwanted
	beaten // another attempt of the exchange was answered first; no exchange ends so
	exchangeTimeout
	bodyTooLarge
	bodyTimeout
	clientGone
	clientIdle
	backendIdle
	tunnelIdle
	brokenResponse
	shutDown
	kindCount
)

// kinds is the one place that says what each kind is in the log, what the client is answered, whether another attempt
// may help, and what it says of the backend.
var kinds = [kindCount]struct {
	word   string
	status int
	text   string // the answer's body; it tells nothing of what is behind
	// again reports whether another attempt may be made as far as the kind is concerned.
	again   bool
	outcome breaker.Outcome
}{
	fine:             {outcome: breaker.Success},
	badRequest:       {word: "bad-request", status: 400, text: "bad request", outcome: breaker.Ignored},
	noTunnel:         {word: "connect-method", status: 501, text: "CONNECT is not supported", outcome: breaker.Ignored},
	noTable:          {word: "no-table", status: 503, text: "no backend is ready", outcome: breaker.Ignored},
	noRoute:          {word: "no-route", status: 404, text: "no such service", outcome: breaker.Ignored},
	noBackend:        {word: "no-backend", status: 503, text: "no backend is ready", outcome: breaker.Ignored},
	overloaded:       {word: "overloaded", status: 503, text: "no backend has room", outcome: breaker.Ignored},
	queueFull:        {word: "queue-full", status: 503, text: "no backend has room", outcome: breaker.Ignored},
	queueTimeout:     {word: "queue-timeout", status: 503, text: "no backend has room", outcome: breaker.Ignored},
	backendRefused:   {word: "refused", status: 502, text: "bad gateway", again: true, outcome: breaker.Failure},
	connectTimeout:   {word: "connect-timeout", status: 504, text: "gateway timeout", again: true, outcome: breaker.Failure},
	backendTLS:       {word: "bad-tls", status: 502, text: "bad gateway", again: true, outcome: breaker.Failure},
	backendReset:     {word: "reset", status: 502, text: "bad gateway", again: true, outcome: breaker.Failure},
	backendMalformed: {word: "malformed", status: 502, text: "bad gateway", again: true, outcome: breaker.Failure},
	headTimeout:      {word: "head-timeout", status: 504, text: "gateway timeout", again: true, outcome: breaker.Failure},
	unwanted:         {word: "status", status: 503, text: "no backend is ready", again: true, outcome: breaker.Failure},
	beaten:           {word: "beaten", status: 499, outcome: breaker.Ignored},
	exchangeTimeout:  {word: "exchange-timeout", status: 504, text: "gateway timeout", outcome: breaker.Failure},
	bodyTooLarge:     {word: "body-too-large", status: 413, text: "the body is too large", outcome: breaker.Ignored},
	bodyTimeout:      {word: "body-timeout", status: 408, text: "the body took too long", outcome: breaker.Ignored},
	clientGone:       {word: "client-gone", status: 499, outcome: breaker.Ignored},
	clientIdle:       {word: "client-idle", status: 408, text: "the client took too long", outcome: breaker.Ignored},
	backendIdle:      {word: "backend-idle", status: 504, text: "gateway timeout", outcome: breaker.Failure},
	tunnelIdle:       {word: "tunnel-idle", outcome: breaker.Ignored},
	brokenResponse:   {word: "broken-response", outcome: breaker.Failure},
	shutDown:         {word: "shut-down", outcome: breaker.Ignored},
}

func (k kind) String() string { return kinds[k].word }

// kindOf is the kind of a failed attempt. A canceled one is the door's to explain.
func kindOf(k upstream.Kind) kind {
	switch k {
	case upstream.Refused:
		return backendRefused
	case upstream.ConnectTimeout:
		return connectTimeout
	case upstream.BadTLS:
		return backendTLS
	case upstream.Malformed:
		return backendMalformed
	case upstream.HeadTimeout:
		return headTimeout
	case upstream.Canceled:
		return clientGone
	}
	return backendReset
}
