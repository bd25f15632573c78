// Package integration holds black-box tests: the real binary, etcd and Consul in containers, and faults while traffic
// flows. Without a Docker engine they are skipped. The harness is in integration/containers; the servers are pinned in
// integration/tools.
package integration
