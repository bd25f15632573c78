package consul

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
)

func TestOneOutageReadsTheSameAtEachTry(t *testing.T) {
	c := client{o: Options{Address: "127.0.0.1:8500"}, auth: &authorize{}}
	explain := func(port int) string {
		return c.explain("x", &url.Error{Op: "Get", URL: "http://127.0.0.1:8500/", Err: &net.OpError{
			Op: "read", Net: "tcp", Err: errors.New("connection reset by peer"),
			Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8500},
		}}).Error()
	}
	first := explain(40001)
	if again := explain(40002); again != first || !strings.Contains(first, "connection reset by peer") {
		t.Errorf("the errors are\n%s and\n%s, want one", first, again)
	}
}
