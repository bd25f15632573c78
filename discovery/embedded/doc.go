// Package embedded runs an etcd server inside the process: a real one, that stock etcd clients talk to. It serves
// loadbalancer dev, --discovery embedded, and tests.
//
// The server is a cluster of one member without authentication, so it listens on loopback unless told otherwise.
// Without a data folder it keeps nothing beyond its end and does not wait for disks.
package embedded
