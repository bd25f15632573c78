// Package proxy carries exchanges: one client request and its response, however many attempts it takes.
//
// # Layers
//
// The exchange (exchange.go and the files named after its steps) holds all policy: checking, routing, sessions, choice
// and admission of a backend, attempts, retries, header rules, observation. It knows messages only through the request
// and the interfaces door and fields. A door reads a request, sends it on when told to, and relays or writes responses;
// it decides nothing. [Engine] is the door for HTTP/1.x (files engine*.go), over package http1; [Proxy.ServeHTTP] is the
// door for net/http (files http*.go), which serves HTTP/2. Both have their connections to backends from package upstream.
//
// # The engine
//
// One goroutine serves a client's connection; a second one runs while a request's body that had not come whole with its
// head is on its way. A connection to a backend goes back to its pool only if the request was written and the response
// read to their ends and nothing came behind, and is looked at before it is used again. What a backend sends unasked
// after the next request was sent is that request's answer to everybody: no proxy can tell.
//
// A client that closes its connection looks like one that only ended its sending, until it is sent something. Such a one
// is served for another second while its backend keeps us waiting; then it counts as having left.
//
// # What goes through
//
// A request's target goes on byte by byte as it came, but for a route's StripPrefix and for the absolute form, which
// becomes the origin form; only a path that begins with two slashes and holds characters that a URL may not hold is
// escaped anew. The Host field is the client's. Hop-by-hop fields end here in both directions, those that Connection
// names included; TE is reduced to "trailers". X-Forwarded-For, -Proto, -Host and Forwarded are set here, and what a
// client says there is kept, and added to, only if it connects from one of [Options.TrustedProxies]; from others,
// X-Forwarded-Port, -Server, -Prefix, -Scheme, -Ssl and X-Real-Ip are dropped too; from anybody, what only looks like one
// of all these to a backend that takes "_" for "-". Bodies stream both ways and are flushed as they come.
// Trailers, informational responses (but 100, which each side does for itself) and upgrades pass; an upgrade to h2c
// does not, since what went through it would be seen by no rule. Of a chunked body net/http hands out whole chunks (or
// what fills a buffer of 32 KiB): a chunk that comes in pieces goes on when it is complete.
//
// # Errors
//
// The statuses are in kinds (kind.go): 400 for what is ambiguous, 501 for CONNECT, 404 for no route, 503 with
// Retry-After for no backend that is ready and admits, 502 for a backend that refuses, breaks off or answers something
// that is not HTTP, 504 for any wait that took too long, that for the connection included. The bodies are a line of
// text that tells nothing of what is behind. A client that left is a 499 in the log. A response that breaks after its
// head went out aborts the client's connection (HTTP/2: its stream), so that it cannot be taken for complete.
//
// # Retries
//
// An attempt that failed is repeated if nothing of a response has gone out (informational ones included), nothing of
// the request's body was read, the method is idempotent or nothing of the request can have reached the backend, and
// the service's MaxRetries and budget allow. Failures of connections and waits count, of which the policy may except some;
// a status is an answer and is relayed, unless the policy names it: such a response is thrown away if a retry is allowed. The first retry goes at once to a backend not tried yet, if there is one; all others
// wait, by the policy's intervals.
package proxy
