//go:build race

package proxy

// raced says that the race detector is at work, which makes everything slow and large.
const raced = true
