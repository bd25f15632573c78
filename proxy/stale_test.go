package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestARequestThatCannotBeRepeatedAvoidsAConnectionAboutToClose sends to a backend that loses what comes on a connection
// which was idle for the time that it names.
func TestARequestThatCannotBeRepeatedAvoidsAConnectionAboutToClose(t *testing.T) {
	for _, tt := range []struct{ name, method, body string }{{"body", "POST", "hello"}, {"none", "POST", ""}, {"delete", "DELETE", ""}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int64
			p := defaultPolicy()
			p.Retry.MaxRetries = 0 // it is part of the attempt
			l := newLab(t, p)
			l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				conns.Add(1)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if b, _ := io.ReadAll(req.Body); string(b) != tt.body {
					t.Errorf("the backend got %q", b)
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n")
				readHead(r) // and closes
			})})
			for i := range 2 {
				req, _ := http.NewRequest(tt.method, l.front.URL, strings.NewReader(tt.body))
				if resp, _ := l.do(req); resp.StatusCode != 200 || resp.Header.Get("Keep-Alive") != "" {
					t.Errorf("request %d: %v", i, resp)
				}
				time.Sleep(600 * time.Millisecond) // idle for more than half of the second
			}
			if n := conns.Load(); n != 2 {
				t.Errorf("%d connections, want one for each request", n)
			}
			if r := l.records(2)[1]; r.Attempts != 1 {
				t.Errorf("%d attempts, want 1", r.Attempts)
			}
		})
	}
}
