package upstream

import (
	"io"
	"net"
	"net/http/httptrace"
	"testing"
	"time"
)

// connected is a connection of a pool's dialer and the backend's end of it.
func connected(t *testing.T) (*conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d, err := newDialer("127.0.0.1", false, settings{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.dial(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return c.(*conn), peer.(*net.TCPConn)
}

func TestAPooledConnectionThatIsOfNoUseTakesNothing(t *testing.T) {
	for name, spoil := range map[string]func(*net.TCPConn){
		"closed":      func(c *net.TCPConn) { c.Close() },
		"half-closed": func(c *net.TCPConn) { c.CloseWrite() },
		"reset":       func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"unasked":     func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := connected(t)
			spoil(peer)
			waitFor(t, c.readable)
			Lend(httptrace.GotConnInfo{Conn: c, Reused: true}, func() {})
			if n, err := c.Write([]byte("POST")); n != 0 || err == nil {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
			if !Unsent(c) {
				t.Error("it is not known that nothing was sent")
			}
			if e := classify(errStale); e.Kind != Reset {
				t.Errorf("the kind is %v, want reset", e.Kind)
			}
		})
	}
}

func TestAnOpenPooledConnectionTakesTheRequest(t *testing.T) {
	c, peer := connected(t)
	for range 2 {
		Lend(httptrace.GotConnInfo{Conn: c, Reused: true, WasIdle: true, IdleTime: time.Hour}, func() {})
		if !Unsent(c) {
			t.Error("something was sent already")
		}
		if _, err := c.Write([]byte("POST")); err != nil || Unsent(c) {
			t.Errorf("%v, unsent %v", err, Unsent(c))
		}
		if _, err := io.ReadFull(peer, make([]byte, 4)); err != nil {
			t.Error(err)
		}
	}
}

func TestAConnectionExpiresBeforeItsBackendClosesIt(t *testing.T) {
	c, _ := connected(t)
	for _, tt := range []struct {
		field string
		idle  time.Duration
		want  bool
	}{
		{"timeout=5", 3900 * time.Millisecond, false},
		{"max=100, Timeout=5", 4100 * time.Millisecond, true},
		{"timeout=1", 400 * time.Millisecond, false},
		{"timeout=1", 600 * time.Millisecond, true},
		{"timeout=0", time.Hour, false},
		{"timeout=-1", time.Hour, false},
		{"timeout=99999999999999999999", time.Hour, false},
		{"max=100", time.Hour, false},
		{"", time.Hour, false},
	} {
		c.keepAlive.Store(int64(keepAliveTimeout([]string{tt.field})))
		if got := c.expired(tt.idle); got != tt.want {
			t.Errorf("%q, idle for %v: expired %v, want %v", tt.field, tt.idle, got, tt.want)
		}
	}
}
