package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/accesslog"
	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/internal/testcert"
	"github.com/vietddude/load-balancer/routing"
)

// fixedBackend answers every request of at most one read with the same bytes, and allocates nothing for that.
func fixedBackend(t testing.TB, answer []byte) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				defer c.Close()
				in := make([]byte, 16<<10)
				for {
					if _, err := c.Read(in); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// asker repeats a request over one connection.
type asker struct {
	c       net.Conn
	request []byte
	answer  []byte
}

// ask makes the request once; the answer is of the size that the first one had.
func (a *asker) ask(t testing.TB) {
	if _, err := a.c.Write(a.request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(a.c, a.answer); err != nil {
		t.Fatal(err)
	}
}

// engineCase is a kind of exchange that is measured.
type engineCase struct {
	name    string
	request string // without the empty line that ends its head
	body    int
	size    int // of the answer's body
	session bool
	tls     bool
	hedge   bool
}

var engineCases = []engineCase{
	{name: "small", request: "GET / HTTP/1.1\r\n", size: 100},
	{name: "session", request: "GET / HTTP/1.1\r\n", size: 100, session: true},
	{name: "post", request: "POST / HTTP/1.1\r\n", body: 1 << 10, size: 100},
	{name: "64k", request: "GET / HTTP/1.1\r\n", size: 64 << 10},
	{name: "tls", request: "GET / HTTP/1.1\r\n", size: 100, tls: true},
	{name: "hedge", request: "GET / HTTP/1.1\r\n", size: 100, hedge: true},
}

// start starts an engine for the case and returns a maker of its clients.
func (ec engineCase) start(t testing.TB) func() *asker {
	t.Helper()
	l := newLab(t, defaultPolicy(), func(o *Options, _ *httptest.Server) {
		if o.AccessLog = nil; ec.session {
			log, err := accesslog.Open(accesslog.Options{Path: filepath.Join(t.TempDir(), "access.log")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
			o.AccessLog = log
		}
	})
	if ec.session {
		l.policy.Affinity = affinity.Options{Type: affinity.Cookie}
	}
	if ec.hedge { // of what waits for long
		l.policy.Hedge = routing.Hedge{Percentile: 95, MinDelay: time.Second, MaxDelay: time.Second}
	}
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", ec.size, strings.Repeat("x", ec.size))
	l.announce("web", []string{fixedBackend(t, []byte(answer)), fixedBackend(t, []byte(answer))})
	var o EngineOptions
	if ec.tls {
		files := testcert.Write(t, t.TempDir(), "lab.test")
		cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	_, addr := startEngine(t, l, o)
	return func() *asker { return ec.client(t, addr) }
}

// client connects and makes a first request, whose answer tells the size of all, and the cookie.
func (ec engineCase) client(t testing.TB, addr string) *asker {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if ec.tls {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	head := ec.request + "Host: lab.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US\r\n"
	end := "\r\n"
	if ec.body > 0 {
		end = fmt.Sprintf("Content-Length: %d\r\n\r\n%s", ec.body, strings.Repeat("y", ec.body))
	}
	a := &asker{c: c, request: []byte(head + end)}
	if ec.session {
		if _, cookie, found := strings.Cut(string(a.first(t, ec.size)), "Set-Cookie: "); found {
			cookie, _, _ = strings.Cut(cookie, ";")
			a.request = []byte(head + "Cookie: " + cookie + "\r\n" + end)
		}
	}
	a.answer = make([]byte, len(a.first(t, ec.size)))
	return a
}

// first makes a request and returns the whole answer to it, whose body has that size.
func (a *asker) first(t testing.TB, size int) []byte {
	t.Helper()
	if _, err := a.c.Write(a.request); err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 4096)
	for {
		n, err := a.c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
		if head, body, found := bytes.Cut(got, []byte("\r\n\r\n")); found && len(body) >= size {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) {
				t.Fatalf("answered %.100q", head)
			}
			return got
		}
	}
}

// BenchmarkEngine measures whole exchanges, client and backend included; what these cost is little next to the sockets.
// "make pgo" takes the profile of it.
func BenchmarkEngine(b *testing.B) {
	for _, ec := range engineCases {
		b.Run(ec.name, func(b *testing.B) {
			client := ec.start(b)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				a := client()
				for pb.Next() {
					a.ask(b)
				}
			})
		})
	}
}

func TestEngineAllocatesNothingPerExchange(t *testing.T) {
	if raced {
		t.Skip("pools forget at random under the race detector")
	}
	for _, ec := range engineCases {
		if ec.tls {
			continue // crypto/tls allocates
		}
		t.Run(ec.name, func(t *testing.T) {
			a := ec.start(t)()
			for range 2000 { // until enough lines of the log are under way
				a.ask(t)
			}
			// Whatever else the process does in the meantime may allocate; an exchange that does would show as 1 or more.
			if n := testing.AllocsPerRun(500, func() { a.ask(t) }); n >= 1 {
				t.Errorf("%v allocations per exchange", n)
			}
		})
	}
}
