package upstream

import (
	"os"
	"time"

	"github.com/vietddude/load-balancer/proxy/socket"
)

const (
	// gatherTime is how long what has come may wait for more.
	gatherTime = 20 * time.Millisecond
	// gatherMin is the least that is waited for: less is here already, or soon.
	gatherMin = 64 << 10
	// gatherMost is the most; a backend that does not send as much in the time is asked for half, one that does for twice.
	gatherMost = 512 << 10
)

// gathering is what [Conn.Gather] works in.
type gathering struct {
	wait  func(fd uintptr) bool
	end   func(fd uintptr)
	conn  *Conn
	limit time.Duration // of a wait
	want  int
	most  int  // adapts to the backend
	waits bool // the poller was told to wait for that much
}

// Gather waits until n bytes have come, or as many of them as are worth waiting for, but not longer than 20 ms,
// nor than the deadline for reading: many small pieces cost far more than few large ones. It waits for nothing if n is
// small. There must be n more to come, nobody else may move the deadline meanwhile, and the connection must not be Secure.
func (c *Conn) Gather(n int) {
	g := &c.gather
	if g.wait == nil {
		g.conn, g.most, g.wait, g.end = c, gatherMost, g.await, g.done
		if g.limit == 0 {
			g.limit = gatherTime
		}
	}
	raw := c.look.raw
	if n = min(n, g.most); !socket.Can || raw == nil || n < gatherMin {
		return
	}
	g.want, g.waits = n, false
	err := raw.Read(g.wait)
	if g.waits {
		raw.Control(g.end)
		c.TCP.SetReadDeadline(c.ReadUntil)
	}
	switch {
	case err == nil:
		g.most = min(2*g.most, gatherMost)
	case os.IsTimeout(err):
		g.most = max(g.most/2, gatherMin)
	}
}

// await is called at first, and when the poller has told that there is enough.
func (g *gathering) await(fd uintptr) bool {
	if g.waits || socket.Waiting(fd) >= g.want {
		return true
	}
	g.waits = true
	until := time.Now().Add(g.limit)
	if t := g.conn.ReadUntil; !t.IsZero() && t.Before(until) {
		until = t
	}
	g.conn.TCP.SetReadDeadline(until)
	socket.WakeAt(fd, g.want)
	return false
}

func (g *gathering) done(fd uintptr) { socket.WakeAt(fd, 1) }
