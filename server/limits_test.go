package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/internal/testcert"
	"github.com/vietddude/load-balancer/proxy/proxyproto"
)

// forwardedFor is a backend that answers with whom the request is said to come from.
func forwardedFor(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return "http://" + ln.Addr().String()
}

// dial connects to the first listener. The connection has a deadline and is closed with the test.
func (b *balancer) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", b.server.Addrs().Listeners[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// askOn sends a request on a connection and reads the answer.
func askOn(t testing.TB, c net.Conn) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// isClosed reports whether the balancer closed the connection without a word.
func isClosed(c net.Conn) bool {
	n, err := c.Read(make([]byte, 1))
	return n == 0 && err != nil && !isTimeout(err)
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

// metric is a metric's line on the admin address, without the name; empty if there is none.
func (b *balancer) metric(t testing.TB, name string) string {
	t.Helper()
	resp, err := b.client.Get("http://" + b.server.Addrs().Admin.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func source(addr string) proxyproto.Header {
	return proxyproto.Header{Source: netip.MustParseAddrPort(addr), Destination: netip.MustParseAddrPort("192.0.2.80:443")}
}

func TestAPROXYHeaderTellsTheClientsAddressInClearAndUnderTLS(t *testing.T) {
	files := testcert.Write(t, t.TempDir(), "127.0.0.1")
	for _, secure := range []string{"", "http/1.1", "h2"} {
		lb := startBalancer(t, fmt.Sprintf(`
listen: {port: 80, proxy_protocol: {from: [127.0.0.0/8]}, tls: {enabled: %v, cert_file: %q, key_file: %q}}
backends: [{id: a, url: %q}]
`, secure != "", files.CertFile, files.KeyFile, forwardedFor(t)), nil)
		lb.ready()
		for _, v := range []proxyproto.Version{proxyproto.V1, proxyproto.V2} {
			c := lb.dial(t)
			_, _ = c.Write(source("203.0.113.7:5000").Append(nil, v))
			var got string
			switch secure {
			case "":
				_, got = askOn(t, c)
				_, again := askOn(t, c)
				if got != again {
					t.Errorf("first %q, then %q", got, again)
				}
			default:
				s := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{secure}})
				tr := &http.Transport{
					DialTLSContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return s, s.HandshakeContext(ctx) },
					ForceAttemptHTTP2: secure == "h2",
				}
				resp, err := (&http.Client{Transport: tr}).Get("https://" + c.RemoteAddr().String())
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				tr.CloseIdleConnections()
				got = string(b)
			}
			if got != "203.0.113.7" {
				t.Errorf("%q, version %d: the backend was told %q", secure, v, got)
			}
		}
		if secure == "" { // a health check of the proxy's own
			c := lb.dial(t)
			_, _ = c.Write(proxyproto.Header{}.Append(nil, proxyproto.V2))
			if _, got := askOn(t, c); got != "127.0.0.1" {
				t.Errorf("the proxy's own connection is said to be from %q", got)
			}
		}
	}
}

func TestAConnectionWithoutTheHeaderThatItMustHaveIsClosed(t *testing.T) {
	lb := startBalancer(t, fmt.Sprintf(`
listen: {port: 80, proxy_protocol: {from: [127.0.0.1]}}
limits: {head_timeout: 100ms}
backends: [{id: a, url: %q}]
`, forwardedFor(t)), nil)
	lb.ready()
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROXY TCP4 1.2.3.4\r\n       ", "PROXY TCP4 1.2.3.4 ", ""} {
		c := lb.dial(t)
		_, _ = io.WriteString(c, text)
		if !isClosed(c) {
			t.Errorf("%q was answered", text)
		}
	}
	if n := lb.metric(t, `lb_limits_total{limit="proxy_protocol"}`); n != "4" {
		t.Errorf("%q are counted, want 4", n)
	}
}

func TestAHeaderFromElsewhereIsABadRequest(t *testing.T) {
	lb := startBalancer(t, fmt.Sprintf(`
listen: {port: 80, proxy_protocol: {from: [192.0.2.0/24]}}
backends: [{id: a, url: %q}]
`, forwardedFor(t)), nil)
	lb.ready()
	c := lb.dial(t)
	_, _ = c.Write(source("203.0.113.7:5000").Append(nil, proxyproto.V1))
	if resp, _ := askOn(t, c); resp.StatusCode != 400 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if _, got := askOn(t, lb.dial(t)); got != "127.0.0.1" {
		t.Errorf("without a header: from %q", got)
	}
}

func TestConnectionsBeyondTheBoundsAreClosed(t *testing.T) {
	backend := forwardedFor(t)
	for name, limits := range map[string]string{
		"connections":             "connections: 2",
		"connections_per_address": "connections_per_address: 2",
	} {
		t.Run(name, func(t *testing.T) {
			lb := startBalancer(t, fmt.Sprintf("limits: {%s}\nbackends: [{id: a, url: %q}]\n", limits, backend), nil)
			lb.ready()
			lb.client.CloseIdleConnections()
			await(t, "the client's own connections are closed", func() bool { return lb.metric(t, "lb_connections_active") == "0" })
			first, second, third := lb.dial(t), lb.dial(t), lb.dial(t)
			askOn(t, first)
			askOn(t, second)
			if !isClosed(third) {
				t.Error("a third connection was served")
			}
			if n := lb.metric(t, `lb_limits_total{limit="`+name+`"}`); n != "1" {
				t.Errorf("%q are counted, want 1", n)
			}
			first.Close()
			await(t, "there is room again", func() bool { return lb.metric(t, "lb_connections_active") == "1" })
			askOn(t, lb.dial(t))
		})
	}
}

func TestClientsBehindAProxyAreCountedByTheAddressItTells(t *testing.T) {
	lb := startBalancer(t, fmt.Sprintf(`
listen: {port: 80, proxy_protocol: {from: [127.0.0.1]}}
limits: {connections_per_address: 1}
backends: [{id: a, url: %q}]
`, forwardedFor(t)), nil)
	lb.ready()
	for i, c := range []struct {
		addr   string
		closed bool
	}{{"203.0.113.7:1", false}, {"203.0.113.8:1", false}, {"203.0.113.7:2", true}} {
		conn := lb.dial(t)
		_, _ = conn.Write(source(c.addr).Append(nil, proxyproto.V1))
		if c.closed {
			if !isClosed(conn) {
				t.Errorf("connection %d was served", i)
			}
			continue
		}
		askOn(t, conn)
	}
}

func TestAConnectionEndsInGoodOrderAfterItsLastRequest(t *testing.T) {
	lb := startBalancer(t, fmt.Sprintf("limits: {requests: 2}\nbackends: [{id: a, url: %q}]\n", forwardedFor(t)), nil)
	lb.ready()
	c := lb.dial(t)
	for i := range 2 {
		if resp, _ := askOn(t, c); resp.StatusCode != 200 || resp.Close != (i == 1) {
			t.Errorf("answer %d: status %d, close %v", i, resp.StatusCode, resp.Close)
		}
	}
	if !isClosed(c) {
		t.Error("the connection goes on")
	}
}

func TestHTTP2ConnectionsEndInGoodOrderToo(t *testing.T) {
	files := testcert.Write(t, t.TempDir(), "127.0.0.1")
	lb := startBalancer(t, fmt.Sprintf(`
listen: {port: 443, tls: {cert_file: %q, key_file: %q}}
limits: {requests: 3, head_fields: 20}
backends: [{id: a, url: %q}]
`, files.CertFile, files.KeyFile, forwardedFor(t)), nil)
	lb.ready()
	conns := 0
	tr := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conns++
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
		return d.DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	url := "https://" + lb.server.Addrs().Listeners[0].String()
	for i := range 6 {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Errorf("answer %d: status %d by %s", i, resp.StatusCode, resp.Proto)
		}
	}
	if conns < 2 {
		t.Errorf("%d connections for 6 requests", conns)
	}
	r, _ := http.NewRequest("GET", url, nil)
	for i := range 21 {
		r.Header.Set(fmt.Sprintf("X-%d", i), "x")
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := lb.metric(t, `lb_limits_total{limit="head_fields"}`); resp.StatusCode != 431 || n != "1" {
		t.Errorf("21 fields: status %d, %q are counted", resp.StatusCode, n)
	}
}

func TestABackendsBoundsAreThoseOfTheConfiguration(t *testing.T) {
	a := startBackend(t, "a")
	hold := make(chan struct{})
	a.hold.Store(&hold)
	lb := startBalancer(t, fmt.Sprintf(`
connections: {max_conns: 1, max_queue: 1, queue_timeout: 50ms}
backends: [{id: a, url: %q}]
`, a.url()), nil)
	lb.ready()
	first := make(chan int, 1)
	go func() {
		status, _ := lb.get(lb.url())
		first <- status
	}()
	await(t, "the backend is asked", func() bool { return a.requests.Load() == 1 })
	if status, body := lb.get(lb.url()); status != 503 || !strings.Contains(body, "room") {
		t.Errorf("a second exchange: status %d, %q", status, body)
	}
	const labels = `{backend="a",service="default"}`
	for name, want := range map[string]string{
		"lb_backend_queue_timeouts_total" + labels:          "1",
		"lb_backend_queued" + labels:                        "0",
		"lb_backend_connections" + labels:                   "1",
		`lb_limits_total{limit="queue_timeout"}`:            "1",
		`lb_exchanges_failed_total{reason="queue-timeout"}`: "1",
	} {
		if got := lb.metric(t, name); got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	close(hold)
	if status := <-first; status != 200 {
		t.Errorf("the first exchange: status %d", status)
	}
}

func TestWhatIsRetriedIsWhatTheConfigurationSays(t *testing.T) {
	bad, good := startBackend(t, "bad"), startBackend(t, "good")
	for on, want := range map[string]int64{"[reset, 503]": 0, "reset": 2} {
		bad.health.Store(http.StatusServiceUnavailable)
		lb := startBalancer(t, fmt.Sprintf(`
retry: {on: %s}
backends: [{id: bad, url: %q}, {id: good, url: %q}]
`, on, bad.url(), good.url()), nil)
		lb.ready()
		failed := int64(0)
		for range 4 {
			if status, _ := lb.get(lb.url() + "/health"); status != 200 {
				failed++
			}
		}
		if failed != want {
			t.Errorf("retry.on %s: %d of 4 failed, want %d", on, failed, want)
		}
	}
}

func TestBackendsAreToldClientsByAPROXYHeader(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan proxyproto.Header, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		h, _ := proxyproto.Read(c)
		told <- h
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	lb := startBalancer(t, fmt.Sprintf("proxy_protocol: v1\nbackends: [{id: a, url: \"http://%s\"}]\n", ln.Addr()), nil)
	lb.ready()
	c := lb.dial(t)
	if resp, _ := askOn(t, c); resp.StatusCode != 204 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if h := <-told; h.Source.String() != c.LocalAddr().String() || h.Destination.String() != c.RemoteAddr().String() {
		t.Errorf("told %v, want %v and %v", h, c.LocalAddr(), c.RemoteAddr())
	}
}
