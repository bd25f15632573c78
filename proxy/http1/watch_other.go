//go:build !unix

package http1

// peek cannot look without reading here: whoever waits goes on to read at once.
func (w *Watch) peek(uintptr) { w.state = Readable }
