package proxy

import (
	"net/netip"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// request is a client's request as its door read it. Names of header fields are in canonical form.
type request struct {
	// Request is what is routed by; Path is decoded, and "/" for "OPTIONS *".
	routing.Request
	// Target is the request's target as the client sent it.
	Target string
	// Bodiless says that there is no content, and none to come.
	Bodiless bool
	// Proto is "HTTP/1.1" and the like.
	Proto string
	// Peer is the address that the connection comes from.
	Peer netip.Addr
	// TLS is the version of TLS under the connection, empty for none.
	TLS string
}

// fields is the header of a message. [net/http.Header] is one.
type fields interface {
	Values(name string) []string
	Set(name, value string)
	Add(name, value string)
	Del(name string)
}

// attempt is one try to be made, and what became of it.
type attempt struct {
	backend *routing.Backend
	policy  *routing.Policy
	// target is what is asked of the backend, in origin form or "*".
	target string
	// deadline ends the exchange; zero for none. Tunnels are exempt once they stand.
	deadline time.Time
	// begun is when the attempt began.
	begun time.Time
	// hedgeAt is when the exchange is to be asked for a second attempt if no head has come by then; zero for never.
	hedgeAt time.Time
	hedger  hedger // nil if hedgeAt is zero

	// status of the response, if kind is fine. For 101 the relay is a tunnel.
	status int
	kind   kind
	// sent is false if nothing of the request can have reached the backend.
	sent bool
	// err is the cause of a failure, for people to read.
	err error
	// over is when the attempt ended, if the other one went on; else zero.
	over time.Time
	// taken says of the second attempt that it is the one that the exchange goes on with.
	taken bool

	// hold is the exchange's.
	hold
}

// hedger is an exchange for the door that makes its attempts.
type hedger interface {
	// hedge gives the second attempt, which is to be made while the first goes on, or nil if there is to be none. It is
	// called at most once for an attempt, while the door's try is under way, by any goroutine.
	hedge() *attempt
	// settles reports whether a response of that status is taken at once. Another one is kept until the other attempt is
	// over, and gives way to a better response.
	settles(status int) bool
}

// door is the connection of one exchange to the world: a client's request, and what is to be done about it. It holds no
// policy. Its methods are called by one goroutine, in this order: outgoing; any number of try, each followed by begin
// if it gave a response; then once relay, after begin, or answer.
type door interface {
	// outgoing is the header that backends are sent, a copy of the client's without what is disguised, until the exchange
	// changed it.
	outgoing() fields
	// try sends the request to a backend, passes informational responses on to the client, and waits for the head of
	// the response. If there is a second attempt, both are over afterwards: one of them at most is fine, and the one that
	// was given up for it beaten, or unwanted if it had been answered. A response with another kind is none.
	try(a *attempt)
	// again reports whether the request can be sent again: nothing of its body was read, and nothing of a response,
	// informational ones included, has gone out.
	again() bool
	// incoming is the header of the response that try gave, as it will be relayed.
	incoming() fields
	// begin waits for the first of that response's body, and for no longer than a head can be held back has its head go
	// out. It reports how the attempt failed if the response broke off before anything of it went out.
	begin(a *attempt) kind
	// relay sends that response to the client, body and trailers, or runs the tunnel that it opens. If it ends as
	// anything but fine, the client sees the response break off.
	relay(a *attempt) kind
	// answer sends a response of the balancer's own; retryAfter in seconds, 0 for none.
	answer(status int, text string, retryAfter int)
	// gone is closed when the client has left.
	gone() <-chan struct{}
	// transferred is how many bytes of the request's body were read, and of the response's written, so far.
	transferred() (in, out int64)
}
