package backend

import "sync/atomic"

// Conns count the connections to a backend. The zero value is ready; all methods may be called concurrently.
type Conns struct {
	open   atomic.Int64
	made   atomic.Uint64
	failed atomic.Uint64
}

// Opened counts a connection that was made, Closed one that was closed, Failed one that could not be made.
func (c *Conns) Opened() {
	c.made.Add(1)
	c.open.Add(1)
}
func (c *Conns) Closed() { c.open.Add(-1) }
func (c *Conns) Failed() { c.failed.Add(1) }

// Open is how many are open now; Made and Unmade are how many were made and could not be made.
func (c *Conns) Open() int64    { return c.open.Load() }
func (c *Conns) Made() uint64   { return c.made.Load() }
func (c *Conns) Unmade() uint64 { return c.failed.Load() }
