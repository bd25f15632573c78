package upstream

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vietddude/load-balancer/routing"
)

func TestTheSocketsOptionsAreThoseOfThePolicy(t *testing.T) {
	s, _, _ := counted(t, false)
	get := func(c *net.TCPConn, level, option int) (v int) {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, option) })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		policy               routing.Connections
		keepAlive, idle, out int
	}{
		{routing.Connections{KeepAlive: 7 * time.Second, UserTimeout: 9 * time.Second}, 1, 7, 9000},
		{routing.Connections{}, 0, -1, 0},
	} {
		p := pools(t, Options{})
		conn := take(t, p, state(s.URL), &routing.Policy{Connections: c.policy}, &caller{})
		if v := get(conn.TCP, unix.IPPROTO_TCP, unix.TCP_NODELAY); v == 0 {
			t.Error("small writes are delayed")
		}
		if v := get(conn.TCP, unix.SOL_SOCKET, unix.SO_KEEPALIVE); v != c.keepAlive {
			t.Errorf("%+v: SO_KEEPALIVE is %d", c.policy, v)
		}
		if v := get(conn.TCP, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); c.idle >= 0 && v != c.idle {
			t.Errorf("%+v: TCP_KEEPIDLE is %d", c.policy, v)
		}
		if v := get(conn.TCP, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); v != c.out {
			t.Errorf("%+v: TCP_USER_TIMEOUT is %d", c.policy, v)
		}
		conn.Close()
	}
}
