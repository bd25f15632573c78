//go:build !unix

package upstream

// readable cannot be told here without waiting.
func (c *conn) readable() bool { return false }
