package backend

import "sync/atomic"

// Conns count the connections to a backend. The zero value is ready and takes no memory for a backend that was never
// connected to; all methods may be called concurrently.
type Conns struct{ lazy[connCounts] }

type connCounts struct {
	open   atomic.Int64
	made   atomic.Uint64
	failed atomic.Uint64
}

// Opened counts a connection that was made, Closed one that was closed, Failed one that could not be made.
func (c *Conns) Opened() {
	n := c.use()
	n.made.Add(1)
	n.open.Add(1)
}
func (c *Conns) Closed() { c.use().open.Add(-1) }
func (c *Conns) Failed() { c.use().failed.Add(1) }

// Open is how many are open now; Made and Unmade are how many were made and could not be made.
func (c *Conns) Open() int64 {
	if n := c.used(); n != nil {
		return n.open.Load()
	}
	return 0
}

func (c *Conns) Made() uint64 {
	if n := c.used(); n != nil {
		return n.made.Load()
	}
	return 0
}

func (c *Conns) Unmade() uint64 {
	if n := c.used(); n != nil {
		return n.failed.Load()
	}
	return 0
}
