// Package upstream makes attempts against backends over pooled HTTP/1.1 connections.
//
// Each backend has a pool of its own, found by its [backend.State]: what is known of one backend's connections says
// nothing of another's, and when a backend leaves the table its idle connections close at once, while attempts under
// way finish. A policy whose timeouts or TLS options change gets new connections from then on.
//
// # Idle connections that backends close
//
// A request that comes just as the backend closes the idle connection it is to go on is lost there, and nobody can tell
// whether it was processed. Four things keep that from clients. The transport notices a closed connection as soon as it
// is closed. It sends a request that is safe (GET, HEAD, OPTIONS, TRACE) and has no body, or bears an Idempotency-Key and
// has none, again by itself, on a new connection as part of the same attempt. Before any other is written, [Lend] looks whether the
// connection is still open; a request of which nothing was written can go out again whatever it is. And where the backend
// says how long it keeps idle connections (Keep-Alive: timeout=5, as Node.js and Apache httpd do), they are not used for
// such requests in the last second of that time.
//
// What is left is a close that is on its way in the moment in which a request is sent to a backend that does not say its
// time. Where that matters, the policy's IdleTimeout should be below the backends' own: gunicorn closes after 2 s, Node.js,
// Apache httpd and uvicorn after 5 s, nginx after 75 s, Go's server not at all unless told to.
//
// # Connections that are a client's own
//
// Where the policy has backends told clients' addresses in the PROXY protocol, a connection begins with such a header and
// from then on serves requests of that one client's connection: [Pools.Get] keeps it for that, a transport has a new one
// for each request.
//
// All other failures are told as an [Error], whose kind and Sent say what may be done about them.
package upstream
