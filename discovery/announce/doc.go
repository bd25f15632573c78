// Package announce keeps something written in a store for as long as whoever wrote it lives: a backend that registers
// itself, a replica of a fleet.
//
// A [Slot] is the one place in a store that is written, with a time to live: a key with a lease in etcd, a service with a
// TTL check or a key with a session in Consul. It makes one request at a time and knows nothing of time. A [Keeper] holds
// it: it writes what is to stand there, refreshes it three times within the time to live, writes it anew when the store
// lost it (a lease that ended, an agent or store that came back empty), tries again for as long as an outage lasts, and
// takes it back on the way out. If the process is killed the store forgets by itself.
package announce
