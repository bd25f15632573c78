// Package probe checks backends actively, over HTTP or by a TCP connection.
//
// A [Prober] holds any number of targets, told by [Prober.Update] as differences, and probes each in its interval. Every
// result is reported with the verdict it leads to: a target is up until FailureThreshold probes in a row failed, and
// down from then until SuccessThreshold in a row succeeded. What a target has counted outlives a change of its options,
// so that a new configuration makes nobody healthy or sick.
//
// An http probe is a GET that follows no redirect and succeeds by any status from 200 to 399; up to 256 KiB of the body
// are read, and an incomplete body is a failure. The connection is kept for the next probe. A tcp probe succeeds when a
// connection is made. The timeout covers the whole probe, name lookup and TLS handshake included.
//
// Ten thousand targets cost one goroutine that waits for the next due, and one for each probe under way: targets have
// no goroutine or timer of their own, nor have their idle connections, which is why HTTP is spoken here by hand.
package probe
