//go:build linux

// Package wire holds what the load generator and the backend share: loopback sockets that never block, the set that
// tells which of them are ready, and ways to send and take large bodies that hardly cost anything, so that the proxy
// between them is what is measured.
package wire
