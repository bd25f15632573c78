package probe

import (
	"context"
	"io"
	"log"
	"net"
	"testing"
	"time"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// FuzzResponse has a backend answer anything: a probe ends, tells no more than a line, and never keeps a connection
// after a failure.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n", "HTTP/1.0 200\r\n\r\nbody", "HTTP/9.9 999 x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nContent-Length: 5\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x46", "HTTP/1.1 500 \xff\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, answer []byte, reused bool) {
		client, server := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer server.Close()
			buf := make([]byte, 4096)
			server.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := server.Read(buf); err == nil {
				server.Write(answer)
			}
		}()
		c := checker{dial: func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }}
		target := to("http://a:80", "/")
		if reused {
			target.conn = client
		} else {
			c.dial = func(context.Context, string, string) (net.Conn, error) { return client, nil }
		}
		err := c.check(t.Context(), target)
		if err != nil && target.conn != nil {
			t.Error("the connection was kept after a failure")
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
		if target.conn != nil {
			target.conn.Close()
		}
		<-ended
	})
}
