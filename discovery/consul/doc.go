// Package consul announces the services of a Consul catalog.
//
// # What becomes of an instance
//
// A service instance is a backend: its own address, else its node's, and its port; its ServiceID, with @node added when
// the service has the same ID on several nodes; Weights.Passing or Weights.Warning by the worst of its checks and its
// node's. Passing and warning serve, critical does not, maintenance drains, as does a label that says so. Sidecars and gateways are passed over, as
// is what lacks the tag that the options may ask for. Routes and policies come from lb.* tags and meta and from Fabio's
// urlprefix- tags; those of all instances count, whatever their health, so that a service without a healthy instance
// keeps its routes. Where instances disagree the one that was changed last wins, and a problem names both.
//
// # How changes are seen
//
// A blocking query for each service would be exact, and would take a connection for each. Four of them take four, at
// any number of services, and tell together when something changed, and mostly what:
//
//   - the list of services with their tags, whose index moves with every registration: addresses, ports, weights, tags
//     and meta, new and removed instances. A service that is new, gone, or has other tags is read at once. When what was
//     read accounts for every write in between (see window), nothing else changed. Else any other may have changed too,
//     and all are looked at;
//   - the critical checks and the warning checks. They are few, and whatever changes an instance's health changes one
//     of the two lists by the check's name: that service is read at once, or those with instances on that node;
//   - the index of nodes, since instances without an address have their node's. It moves with services too, and by
//     the next question at the latest: then the nodes are listed, and the services on those whose own index moved are read.
//
// All are looked at in one of two ways. On few nodes, each is asked what it holds, one request for hundreds of services,
// and those are read of which an instance came, went, or was modified. Else the services are swept: each is asked for its
// index alone (a filter lets no instance pass), and read if that moved; those that changed last go first, since changes
// come in rows.
//
// A health change therefore costs one request, and so does a new service. Between two looks at all passes a time in
// proportion to what they cost: a millisecond for each service that is swept, four times as long as it took to ask the
// nodes. The few services that changed last are swept in between. What moved meanwhile is seen by the next look. A
// moment after a change of which the last write is accounted for and others are not, ten seconds after one that wholly is,
// and once a minute, all are looked at without an event.
//
// The four may be answered by any server that is in touch with a leader and not too far behind it. All else is asked of
// the leader, which is never behind the server that told of a change.
//
// # What is believed
//
// A service is gone when the leader has answered that it has no instances, and the answer was not filtered by ACLs.
// A filtered answer takes nothing away, and what it lacks is marked as stale. A service that cannot be read stays as it
// was, marked, and is tried again with backoff. A poll that fails, an agent without a leader, a token that may read
// nothing: [discovery.Sink.Failed], and everything stays until a full listing has been read, from the next agent if
// there are several. An index that goes backwards starts one too.
//
// Every request is bounded by Options.Liveness, blocking queries included: an agent that hangs is noticed within that
// time.
package consul
