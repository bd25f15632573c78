package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/accesslog"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/proxy/upstream"
	"github.com/vietddude/load-balancer/routing"
)

// lab is a proxy behind a real server, routed by a real catalog.
type lab struct {
	t       testing.TB
	policy  routing.Policy
	catalog *routing.Catalog
	proxy   *Proxy
	front   *httptest.Server
	engine  *Engine // nil if net/http is the door
	// log holds what the access log was told.
	mu  sync.Mutex
	log []accesslog.Record
}

func (l *lab) Log(r *accesslog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, *r)
}

// defaultPolicy retries without long waits.
func defaultPolicy() routing.Policy {
	return routing.Policy{
		Algorithm: balance.RoundRobin,
		Retry:     routing.Retry{MaxRetries: 2, InitialInterval: time.Millisecond, Multiplier: 2, MaxInterval: 10 * time.Millisecond},
		Timeouts:  routing.Timeouts{Connect: 5 * time.Second},
	}
}

// newLab starts a proxy whose services all have that policy. The functions may change its options and its server.
func newLab(t testing.TB, policy routing.Policy, change ...func(*Options, *httptest.Server)) *lab {
	t.Helper()
	l := &lab{t: t, policy: policy}
	l.catalog = routing.NewCatalog(routing.Options{
		Sources: []string{"test"}, CatchAll: "web",
		Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) { return l.policy, nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.catalog.Run(ctx) })
	pools := upstream.New(upstream.Options{})
	o := Options{Table: l.catalog.Table, AccessLog: l, Upstream: pools}
	l.front = httptest.NewUnstartedServer(nil)
	l.front.Config.DisableGeneralOptionsHandler = true
	for _, f := range change {
		f(&o, l.front)
	}
	l.proxy = New(o)
	ln := l.front.Listener
	engine := byEngine && l.front.Config.Handler == nil && !l.front.EnableHTTP2
	if engine {
		l.front.Listener = &silentListener{addr: ln.Addr(), closed: make(chan struct{})}
	}
	if l.front.Config.Handler == nil {
		l.front.Config.Handler = l.proxy
	}
	if l.front.TLS != nil {
		l.front.StartTLS()
	} else {
		l.front.Start()
	}
	if engine {
		o := EngineOptions{}
		if l.front.TLS != nil {
			o.TLS = l.front.TLS.Clone()
			o.TLS.NextProtos = []string{"http/1.1"}
		}
		l.engine = NewEngine(l.proxy, o)
		wg.Go(func() { l.engine.Serve(ln) })
	}
	t.Cleanup(func() {
		l.front.Close()
		if l.engine != nil {
			l.engine.Close()
		}
		end, done := context.WithTimeout(context.Background(), 0)
		defer done()
		l.proxy.Close(end)
		cancel()
		wg.Wait()
	})
	return l
}

// silentListener only has an address.
type silentListener struct {
	addr   net.Addr
	once   sync.Once
	closed chan struct{}
}

func (l *silentListener) Addr() net.Addr { return l.addr }

func (l *silentListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *silentListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

// announce makes the table hold exactly these backends of a service, named b0, b1, …, and these routes.
func (l *lab) announce(service string, urls []string, routes ...discovery.Route) {
	l.t.Helper()
	s := discovery.Service{Name: service, Routes: routes, Seen: time.Now()}
	for i, u := range urls {
		s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprintf("b%d", i), URL: u, Weight: 1})
	}
	l.announceService(s)
}

func (l *lab) announceService(s discovery.Service) {
	l.t.Helper()
	sink := l.catalog.Sink("test")
	sink.Service(s)
	sink.Synced()
	waitFor(l.t, "the table to hold the service", func() bool {
		got := l.catalog.Table().Service(s.Name)
		if got == nil || len(got.Backends) != len(s.Backends) {
			return false
		}
		for i, b := range got.Backends {
			if b.URL != s.Backends[i].URL || b.Draining != s.Backends[i].Draining || b.Weight != s.Backends[i].Weight {
				return false
			}
		}
		return slices.ContainsFunc(l.catalog.Table().Routes(), func(r *routing.Route) bool { return r.Target == got })
	})
}

func (l *lab) service(name string) *routing.Service { return l.catalog.Table().Service(name) }

// get asks the proxy for a path and returns the response with its body read.
func (l *lab) get(path string) (*http.Response, string) {
	l.t.Helper()
	r, err := http.NewRequest("GET", l.front.URL+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.do(r)
}

func (l *lab) do(r *http.Request) (*http.Response, string) {
	l.t.Helper()
	resp, err := l.front.Client().Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatalf("reading the body: %v", err)
	}
	return resp, string(b)
}

// records waits until n exchanges have ended and returns what the log was told.
func (l *lab) records(n int) []accesslog.Record {
	l.t.Helper()
	var all []accesslog.Record
	waitFor(l.t, fmt.Sprintf("%d exchanges to end", n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		all = append(all[:0], l.log...)
		return len(all) >= n
	})
	return all
}

// settled waits until nothing is under way, and fails if a backend's count is off.
func (l *lab) settled() {
	l.t.Helper()
	waitFor(l.t, "all exchanges to end", func() bool {
		for _, s := range l.catalog.Table().Services() {
			for _, b := range s.Backends {
				if b.State.InFlight() != 0 {
					return false
				}
			}
		}
		return l.proxy.Stats().Active == 0
	})
}

// dial opens a raw connection to the proxy and sends the text.
func (l *lab) dial(text string) (*net.TCPConn, *bufio.Reader) {
	l.t.Helper()
	c, err := net.Dial("tcp", l.front.Listener.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		l.t.Fatal(err)
	}
	return c.(*net.TCPConn), bufio.NewReader(c)
}

// httpBackend is a real HTTP backend.
func httpBackend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// named answers with its name.
func named(t testing.TB, name string) string {
	return httpBackend(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) })
}

// rawBackend handles connections by itself; conn is closed after the function.
func rawBackend(t testing.TB, f func(conn *net.TCPConn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				f(c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "http://" + ln.Addr().String()
}

// readHead reads up to the empty line that ends a head.
func readHead(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

// replies answers each request's head with the text, on connections that stay open.
func replies(t testing.TB, text string) string {
	return rawBackend(t, func(conn *net.TCPConn, r *bufio.Reader) {
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	})
}

// resets breaks each connection off by a reset, after the request's head.
func resets(t testing.TB) string {
	return rawBackend(t, func(conn *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		conn.SetLinger(0)
	})
}

// refuses is an address that nobody listens on.
func refuses(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

// waitFor polls for what other goroutines do soon.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(500 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}
