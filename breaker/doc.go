// Package breaker is the circuit breaker of one backend: closed, open, half-open.
//
// A closed breaker lets everything through and counts failures in a row; a success starts the count over. At
// [Options].FailureThreshold it opens and refuses everything. When [Options].ResetTimeout has passed it is half-open:
// at most HalfOpenLimit trial exchanges are under way at a time, the first failure among them opens it again, and as
// many successes close it. Trials that go on and on (a client that sends its body slowly) do not keep a breaker
// half-open: if there was no room for another one for ResetTimeout, one is let through beyond the limit.
//
//	threshold 2, limit 1:  ok ✗ ok ✗ ✗ → open … ResetTimeout … → half-open: one trial  ✗ → open, ok → closed
//
// Each change of state begins a new generation. A permit remembers the generation that it was given in, and an outcome
// of an earlier one is dropped: what was sent before the breaker opened says nothing about whether the backend has
// recovered. The slot of a trial is given back in any case, so that trials of an earlier half-open time which are still
// under way count against the limit of the next.
//
// The state is one 64-bit word. Exchanges let through by a closed breaker read it once when they begin and once when
// they end, and write it only around failures: no lock, no allocation, nothing that processors would contend for.
package breaker
