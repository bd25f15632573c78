package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/vietddude/load-balancer/affinity"
)

// nullWriter takes a response and keeps nothing.
type nullWriter struct{ h http.Header }

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) WriteHeader(int)             {}
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) Flush()                      {}

func benchServeHTTP(b *testing.B, change func(*lab)) {
	l := newLab(b, defaultPolicy(), func(o *Options, _ *httptest.Server) { o.AccessLog = nil })
	change(l)
	l.announce("web", []string{replies(b, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest("GET", "/path?query", nil)
			r.RequestURI = "/path?query"
			r.Header["Accept"] = []string{"*/*"}
			l.proxy.ServeHTTP(&nullWriter{http.Header{}}, r)
		}
	})
}

func BenchmarkServeHTTP(b *testing.B) { benchServeHTTP(b, func(*lab) {}) }

func BenchmarkServeHTTPSession(b *testing.B) {
	benchServeHTTP(b, func(l *lab) { l.policy.Affinity = affinity.Options{Type: affinity.Cookie} })
}

// nullDoor answers every attempt at once, so that what is left is the exchange itself.
type nullDoor struct {
	out, in http.Header
}

func (d *nullDoor) outgoing() fields             { return d.out }
func (d *nullDoor) incoming() fields             { return d.in }
func (d *nullDoor) try(a *attempt)               { a.status = 200 }
func (d *nullDoor) again() bool                  { return true }
func (d *nullDoor) begin(*attempt) kind          { return fine }
func (d *nullDoor) relay(*attempt) kind          { return fine }
func (d *nullDoor) answer(int, string, int)      {}
func (d *nullDoor) gone() <-chan struct{}        { return nil }
func (d *nullDoor) transferred() (in, out int64) { return 0, 0 }

func BenchmarkExchange(b *testing.B) {
	l := newLab(b, defaultPolicy(), func(o *Options, _ *httptest.Server) { o.AccessLog = nil })
	l.announce("web", []string{"http://127.0.0.1:1", "http://127.0.0.1:2"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		d := &nullDoor{out: http.Header{}, in: http.Header{}}
		x := new(exchange)
		for pb.Next() {
			x.p, x.d = l.proxy, d
			x.req.Host, x.req.Path, x.req.Method, x.req.Header, x.req.Target = "example.com", "/path", "GET", d.out, "/path"
			x.run()
			x.reset()
		}
	})
}

func BenchmarkEndToEnd(b *testing.B) {
	l := newLab(b, defaultPolicy(), func(o *Options, _ *httptest.Server) { o.AccessLog = nil })
	l.announce("web", []string{replies(b, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, r := l.dial("")
		defer c.Close()
		for pb.Next() {
			io.WriteString(c, "GET /path HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
		}
	})
}
