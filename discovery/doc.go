// Package discovery is the contract between places that announce backends and the catalog that merges them.
//
// A [Source] pushes the complete state of one service at a time into a [Sink], never a delta of backends: a lost event
// is invisible, a lost state is repaired by the next one, and work stays proportional to the change. Errors take a
// method of their own ([Sink.Failed]), so that empty and broken cannot be confused: a source that fails says so and
// everything it announced before stays in force.
//
// A source that starts, or that lost history (compaction, index reset, reconnect), brackets a full listing between
// [Sink.Resync] and [Sink.Synced]; what was not named in between is gone when Synced is called, and not before. A
// resync therefore never empties the table first, and one that is broken off changes nothing that it did not name.
//
// What is wrong with one item (a value that cannot be read, an instance without a port) is told by [Sink.Reject] under
// the item's key and costs that item alone. Rejections follow the same rules as everything else: they last until the
// key is rejected anew, accepted, or not named by a resync.
//
// What cannot be known of one item for now (a query that failed, an answer that ACLs filtered) costs that item nothing: it
// is announced as stale with the reason ([Stale], [Sink.Incomplete]), and what was known of it stays.
//
// The package holds value types only and imports nothing of etcd, Consul or YAML. Policies travel as text
// ([Service.Policy]), since their grammar is the configuration's; sources are handed a [Decoder] for routes and for an
// early verdict on policies.
package discovery
