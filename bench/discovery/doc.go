// Package discovery measures the balancer's control plane against real servers: how long a great catalog takes to be
// served, what it costs at rest and under change, and how soon one change is followed. It has benchmarks only:
//
//	make bench-discovery
//	go test -run '^$' -bench Etcd -benchtime 1x ./bench/discovery
//
// Each runs the binary as it would be installed, in a process of its own, and reports what the kernel says of that
// process. What the stores and the generators of load cost is in none of the figures, but they share the machine.
package discovery
