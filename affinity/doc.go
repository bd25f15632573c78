// Package affinity keeps the exchanges of one client with one backend.
//
// A [Manager] holds the [Sessions] of each service by name; they outlive routing tables, so that neither a changed
// table nor changed options end a session. An exchange asks [Sessions.Find] which backend the client is bound to, goes
// there if it still can, and tells [Sessions.Keep] which backend answered in the end; Keep says what cookie to send, if
// any. Both work on header values and addresses, not on any HTTP library's types.
//
// # Cookies
//
// With store "none" the cookie itself is the session: the backend's ID and the time of expiry, sealed with AES-256-GCM
// under a key derived from the manager's secret and the service's name. Nobody can read, forge, or carry it over to
// another service, and several balancers with one secret understand each other's. With store "memory" the cookie is a
// random identifier. With store "etcd" it is sealed as with "none", and holds an identifier as well. Whatever does not open, has expired or is unknown counts as no session and is replaced.
//
// A session lasts [Options.Timeout] from its last exchange. So that not every response carries a cookie, it is renewed
// only when less than half of that time is left.
//
// # Names of cookies
//
// The cookie has the configured name. Several services may stand behind one host name, where the cookie of one would
// overwrite that of another; so each value begins with a mark of its service, and a service that finds the name taken
// by another one's mark uses the name with its own name added instead: session_id-api beside session_id. Each service
// reads both names, all cookies of them.
//
// # Addresses and headers
//
// With store "none" a client's address or header chooses among the ready backends by [Rendezvous]: a backend that comes or goes
// moves only the clients that it gains or loses. With the other stores the first choice is the algorithm's and is
// remembered.
//
// # Shared sessions
//
// With store "etcd" sessions are remembered as with "memory", and [Manager.Share] writes them to a store that replicas
// share, behind the exchanges. Each is written only over what was known to stand there, so that who writes first is right
// and the others take that over; what others write is heard by a [Feed]. While the store is away, sessions go on in
// memory. What was used here is written when it is back; what was only heard of is for those to keep who used it. The
// queue holds each remembered session once at most. What the store drops for its age, or another replica for lack of
// room, goes on here if it was used here, and is written again with its next exchange.
package affinity
