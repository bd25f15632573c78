// Package routing merges what sources announce into a catalog, builds the next immutable [Table] from the last one, and
// matches requests against it.
//
// # Which route takes a request
//
// Routes stand in one total order, and a request goes to the first that matches it. A route of higher precedence that
// does not match (another method, a missing header) never hides one of lower precedence that does. The order is:
//
//  1. Host: an exact host before a wildcard; of two wildcards the longer suffix; any host last. A wildcard "*.b.c"
//     matches a.b.c and x.a.b.c, not b.c.
//  2. Path: the longer prefix. Prefixes end on segment borders: "/a" matches /a, /a/ and /a/b, not /ab. One slash at the
//     end says nothing: "/a/" is "/a", and "/" is every path. Paths are compared byte by byte.
//  3. Method: one that is named before any method.
//  4. Headers: more before fewer; of equally many, more values before mere presence.
//  5. The source that comes first in the configured order; what a service that has just vanished announced last of all.
//  6. The route's name, in ascending order.
//
// A route that matches exactly what another one does is never reached. It is told as a problem ([discovery.CodeDuplicate])
// and takes over when the other one goes.
//
// After all announced routes come the default ones. A service that no announced route leads to is reached by the host
// names <service> and <service>.<default domain>; the service named default, which is the configuration's own, is not.
// What nothing matches is answered by the catch-all service: the configured one, else the service named default, else
// none.
//
// For example, with a route api.example.com to api, a route *.example.com/v1 to v1, the services api, v1, web and
// default, and the domain localhost:
//
//	api.example.com/v1/x    api      an exact host goes first, whatever the path
//	www.example.com/v1      v1
//	www.example.com/        default  no route matches
//	web, web.localhost/any  web      by its default routes
//	api                     default  a route leads to api, so it has no default host
//
// # Hosts
//
// Hosts are compared without case, port and one dot at the end; an IPv6 address with or without brackets.
//
// # From announcements to tables
//
// The [Catalog] keeps what each source announces and merges it by service: the backends of all sources together, of two
// with the same ID that of the stronger source; the policy texts of all, laid over one another by [Resolve]. A service
// that nothing announces any more is kept without backends, answering 503 where its routes led, until it is forgotten.
// A source that fails takes nothing back.
//
// Each table is built from the last: what is not touched by a change is shared by pointer, so that the work is
// proportional to the change, and what equals the last table is not published at all. An item that makes no sense costs
// itself alone and becomes a problem of the table. A route to a service that is not known is one; it comes alive when
// the service does. A route to a service that is known but has no backend that is ready matches.
//
// What is mutable hangs off the table and outlives it: the [backend.State] of a backend, kept for as long as its
// service, ID and URL stay, and the [Runtime] of a service, with the set of backends that are ready. A change of health,
// breaker or drain replaces that set and touches no table.
package routing
