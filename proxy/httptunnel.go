package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/internal/steady"
)

// tunnel answers 101 and carries bytes both ways until both sides have ended, or one has failed. A side that only ends
// its sending (half-close) is told so to the other, which may go on.
func (d *httpDoor) tunnel() kind {
	back, ok := d.resp.Body.(io.ReadWriteCloser)
	if !ok {
		return brokenResponse
	}
	conn, rw, err := http.NewResponseController(d.w).Hijack()
	if err != nil {
		return brokenResponse
	}
	d.hijacked = true
	t := &tunnel{client: conn, backend: back, idle: d.waits.TunnelIdle}
	if !d.p.tunnels.add(t) {
		t.cut()
		return shutDown
	}
	defer d.p.tunnels.remove(t)
	defer t.cut()
	if err := writeSwitch(rw.Writer, d.resp.Header); err != nil {
		return clientGone
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	t.run(early, nil)
	d.fromPeer, d.written = t.in, t.out
	return t.kind(d.p)
}

// writeSwitch writes the head of a 101.
func writeSwitch(w *bufio.Writer, h http.Header) error {
	w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(w)
	w.WriteString("\r\n")
	return w.Flush()
}

// tunnel is a pair of connections.
type tunnel struct {
	client  net.Conn
	backend io.ReadWriteCloser
	in, out int64 // bytes from the client and to it; each written by the goroutine of its direction

	idle    time.Duration // how long neither side may send anything; 0 for ever
	last    atomic.Int64  // when one did, as steady.Nanos has it; up to an eighth of idle later
	expired atomic.Bool
}

// kind is how a tunnel has ended.
func (t *tunnel) kind(p *Proxy) kind {
	switch {
	case p.tunnels.wasCut():
		return shutDown
	case t.expired.Load():
		return tunnelIdle
	}
	return fine
}

// cut ends the tunnel at once.
func (t *tunnel) cut() {
	t.client.Close()
	t.backend.Close()
}

// run carries bytes both ways, beginning with what was read of each side already, until both have ended.
func (t *tunnel) run(fromClient, fromBackend []byte) {
	t.last.Store(steady.Nanos(time.Now()))
	if t.idle > 0 {
		defer t.watch()()
	}
	done := make(chan struct{})
	go t.fromClient(fromClient, done)
	t.fromBackend(fromBackend)
	<-done
}

// watch cuts a tunnel that nothing has passed for too long, also where a side takes nothing. The function that it returns
// ends the watch.
func (t *tunnel) watch() (end func()) {
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	var timer *time.Timer // guarded by mu; nil once the watch has ended
	timer = time.AfterFunc(t.step(), func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case timer == nil:
		case steady.Nanos(time.Now())-t.last.Load() >= int64(t.idle):
			t.expired.Store(true)
			t.cut()
		default:
			timer.Reset(t.step())
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
		timer = nil
	}
}

// step is how often is looked at what goes on.
func (t *tunnel) step() time.Duration { return min(max(t.idle/8, time.Millisecond), time.Minute) }

// fromClient carries what the client sends, beginning with what was read from it already.
func (t *tunnel) fromClient(early []byte, done chan<- struct{}) {
	defer close(done)
	t.in = t.carry(t.backend, t.client, early)
}

// fromBackend carries what the backend sends, likewise.
func (t *tunnel) fromBackend(early []byte) {
	var src io.Reader = t.backend
	if _, ok := src.(deadliner); !ok {
		src = marking{src, &t.last}
	}
	t.out = t.carry(t.client, src, early)
}

// deadliner is a connection whose reading can be told to come back.
type deadliner interface{ SetReadDeadline(time.Time) error }

// marking notes when something was read.
type marking struct {
	io.Reader
	last *atomic.Int64
}

func (m marking) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.last.Store(steady.Nanos(time.Now()))
	return n, err
}

// carry copies until the source ends, then ends the sending to the destination. Anything else cuts the tunnel.
func (t *tunnel) carry(dst io.Writer, src io.Reader, early []byte) (n int64) {
	var err error
	if len(early) > 0 {
		m, werr := dst.Write(early)
		n, err = int64(m), werr
	}
	for goesOn := err == nil; goesOn; {
		var m int64
		t.look(src)
		m, err = copyThrough(dst, src)
		if n += m; m > 0 {
			t.last.Store(steady.Nanos(time.Now()))
		}
		goesOn = t.idle > 0 && isTimeout(err) && !t.expired.Load()
	}
	half, ok := dst.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		t.cut()
	}
	return n
}

// look has reading from src come back after a while, so that what goes on is seen: bytes may pass by without being.
func (t *tunnel) look(src io.Reader) {
	if s, ok := src.(deadliner); ok && t.idle > 0 {
		s.SetReadDeadline(time.Now().Add(t.step()))
	}
}

// copyThrough copies from socket to socket by splice(2) where it can, else by way of a buffer.
func copyThrough(dst io.Writer, src io.Reader) (int64, error) {
	to, plain := dst.(*net.TCPConn)
	if from, ok := src.(*net.TCPConn); ok && plain {
		return to.ReadFrom(from)
	}
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(writerOnly{dst}, readerOnly{src}, buf[:])
}

// writerOnly and readerOnly keep io.Copy from methods that would allocate a buffer of their own.
type (
	writerOnly struct{ io.Writer }
	readerOnly struct{ io.Reader }
)
