// Package discoverytest helps to test both sides of the contract of package discovery.
//
// [Fake] is a programmable source for the tests of whatever consumes announcements. [Recorder] is a sink that keeps what
// was announced, fails the test when a source breaks the contract, and lets the test wait for a state. [Conformance] is
// the suite that every source passes, run against its real store through a [Harness].
package discoverytest
