// Package consultest runs real Consul agents for tests.
//
// The binary is taken from $LBTEST_CONSUL_BINARY, else from .cache/bin/consul below the module's root, where `make consul`
// builds it, else from PATH; without one the test is skipped with a line that says so. Agents listen on free ports of
// 127.0.0.1 only, keep everything in memory, and die with their test, at the latest with the test binary.
package consultest
