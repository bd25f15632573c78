package accesslog

import (
	"net/netip"
	"time"
)

// Record is one exchange.
type Record struct {
	// Start is when the request's head had been read, Duration the time from there to the end of the response.
	Start    time.Time
	Duration time.Duration
	// Client is where the request came from: the address that trusted proxies name, else the connection's.
	Client netip.Addr
	Method string
	Host   string
	// Target is the request's target as the client sent it.
	Target string
	// Proto is "HTTP/1.1", "HTTP/2.0" and the like.
	Proto string
	// TLS is the version of TLS that the client used, such as "TLS 1.3"; empty for none.
	TLS string
	// Status is what the client was answered; 499 if it left before an answer.
	Status int
	// BytesIn and BytesOut count the bodies of the request and the response, of a tunnel all that went through it.
	BytesIn, BytesOut int64
	// Service, Route and Backend took the exchange; each is empty if it came to none.
	Service, Route, Backend string
	// Attempts is how many times the exchange was tried.
	Attempts int
	// Hedge is what became of a second attempt that was made while the first went on: won, lost, or neither; empty for none.
	Hedge string
	// Error is a stable word for what went wrong; empty if nothing did.
	Error string
}
