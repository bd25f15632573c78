// Package etcd is the source that follows backends, policies and routes announced as keys in etcd.
//
// # Keys
//
// Below the prefix, /lb unless configured, services/<service>/<id> holds a backend, policies/<service> a service's
// policy and routes/<name> a route. What lies below sessions, overrides, status and fleet is other parts' business. Any
// other key is rejected. The prefix ends at a slash: the source of /lb never reads /lb-staging.
//
// A backend is written as http://10.0.0.5:8080, as 10.0.0.5:8080, as an object {"url": …, "weight": 2, "zone": "a",
// "meta": {…}, "state": "drain"} of which only url is needed, or as the endpoint manager of etcd's own client writes it,
// {"Op": 0, "Addr": …, "Metadata": …}. Fields that are not known are passed over; a known one of the wrong type is not.
//
// That is the format lb. The others of [Formats] are what other programs write: backends alone, in layouts of their own.
//
// A value that cannot be read costs its key alone. If the same key held a good value before, since it was created, that
// stays in force, marked as stale, as long as the bad one stands. A key that the first listing finds bad is left to what
// the catalog knows of it from before, one that is created bad is skipped.
//
// # Following
//
// The source opens the watch first, lists all keys at one revision, page by page, announces the listing as a resync,
// and then applies the events of the watch that are newer than the listing. Since the watch is there before the listing
// no compaction can open a gap between the two. All events of one response make one change: each service that they
// touch is announced once, whole, and only if it differs from what was announced last.
//
// The watch is asked for a sign of life regularly. When nothing that is at least as new as the listing was heard for
// Options.Liveness, when the stream breaks or is cancelled, when its history was compacted, or when an answer comes
// from another cluster, connection and watch are given up and everything starts over at the next member, with backoff,
// without withdrawing anything first. One connection to one member is in use at a time. The history of a broken watch is never resumed: a store that came back empty or restored may have any
// revision.
package etcd
