// Package netlab makes hosts on a private network, each in a network namespace of its own, and joins them by a switch
// that lives in the test: every link can lose, delay or swallow frames, one way or both. Nothing of it touches the
// machine's own network, and all of it is gone with the test's process, however that ends.
//
// It needs Linux, root and /dev/net/tun. Where these are missing, [New] skips the test and says which.
package netlab
