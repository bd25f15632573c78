package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/internal/testcert"
	"github.com/vietddude/load-balancer/proxy/upstream"
)

// engineLab is a lab behind an engine, whatever door the others have now.
func engineLab(t testing.TB, change ...func(*Options, *httptest.Server)) *lab {
	t.Helper()
	ofEngine(t)
	return newLab(t, defaultPolicy(), change...)
}

// echoTarget answers with the target that was asked for and the body.
func echoTarget(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	io.WriteString(w, r.RequestURI+" "+string(b))
}

// readAnswer reads a response and its body.
func readAnswer(t testing.TB, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestEnginePipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	l := engineLab(t)
	l.announce("web", []string{httpBackend(t, echoTarget), httpBackend(t, echoTarget)})
	var ask strings.Builder
	for i := range 50 {
		body := strings.Repeat("x", i*7%1000)
		switch i % 3 {
		case 0:
			fmt.Fprintf(&ask, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&ask, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
		case 2:
			fmt.Fprintf(&ask, "POST /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
		}
	}
	_, r := l.dial(ask.String())
	for i := range 50 {
		want := fmt.Sprintf("/%d %s", i, []string{"", strings.Repeat("x", i*7%1000), "abc"}[i%3])
		if resp, got := readAnswer(t, r); got != want || resp.StatusCode != 200 || resp.Close {
			t.Fatalf("answer %d is %d %q, want %q", i, resp.StatusCode, got, want)
		}
	}
	l.settled()
}

func TestEngineRefusesTwoFramingsAndReadsNothingAfterThem(t *testing.T) {
	l := engineLab(t)
	var asked atomic.Int64
	l.announce("web", []string{httpBackend(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })})
	_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := readAnswer(t, r); resp.StatusCode != 400 || !resp.Close {
		t.Errorf("status %d, close %v; want 400 and close", resp.StatusCode, resp.Close)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("then %v, want the end", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the backend was asked %d times", n)
	}
}

func TestEngineStatusOfWhatCannotBeRead(t *testing.T) {
	l := engineLab(t)
	for request, want := range map[string]int{
		"GET / HTTP/2.0\r\nHost: x\r\n\r\n":                                      505,
		"GET /" + strings.Repeat("a", 70<<10):                                    414,
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 70<<10):         431,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n": 501,
		"GET / HTTP/1.1\nHost: x\n\n":                                            400,
	} {
		_, r := l.dial(request)
		if resp, _ := readAnswer(t, r); resp.StatusCode != want || !resp.Close {
			t.Errorf("%.40q: status %d, want %d and close", request, resp.StatusCode, want)
		}
	}
}

func TestEngineFindsOutAnEndedPooledConnectionBeforeAPOST(t *testing.T) {
	end, ended := make(chan struct{}), make(chan struct{})
	var conns atomic.Int64
	l := engineLab(t)
	l.policy.Retry.MaxRetries = 0
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		n := conns.Add(1)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			if n == 1 {
				<-end
				c.Close()
				close(ended)
				return
			}
		}
	})})
	c, r := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	readAnswer(t, r)
	l.settled()
	close(end)
	<-ended
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
	if resp, body := readAnswer(t, r); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("status %d, body %q", resp.StatusCode, body)
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	if all := l.records(2); all[1].Attempts != 1 {
		t.Errorf("%d attempts, want 1", all[1].Attempts)
	}
}

func TestEngineUsesNoConnectionThatMoreCameThrough(t *testing.T) {
	var conns atomic.Int64
	l := engineLab(t)
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		n := conns.Add(1)
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%dHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", n%10)
		}
	})})
	for i := 1; i < 6; i++ {
		if _, body := l.get("/"); body != fmt.Sprint(i) {
			t.Fatalf("answer %d is %q", i, body)
		}
	}
}

func TestEngineReusesConnections(t *testing.T) {
	var conns atomic.Int64
	l := engineLab(t)
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		conns.Add(1)
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})})
	for range 20 {
		l.get("/")
		l.settled()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the backend, want 1", n)
	}
}

// startEngine serves a lab's proxy by an engine of its own.
func startEngine(t testing.TB, l *lab, o EngineOptions) (*Engine, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := NewEngine(l.proxy, o)
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln) }()
	t.Cleanup(func() {
		e.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return e, ln.Addr().String()
}

func dialTo(t testing.TB, addr, text string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	return c.(*net.TCPConn), bufio.NewReader(c)
}

func TestEngineEndsSlowHeadsAndIdleConnections(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "ok")})
	_, addr := startEngine(t, l, EngineOptions{HeadTimeout: 300 * time.Millisecond, IdleTimeout: time.Second})
	_, r := dialTo(t, addr, "GET / HTTP/1.1\r\nHo")
	if resp, _ := readAnswer(t, r); resp.StatusCode != 408 || !resp.Close {
		t.Errorf("a slow head: status %d", resp.StatusCode)
	}
	_, r = dialTo(t, addr, "")
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("a silent connection: %v", err)
	}
	c, r := dialTo(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	readAnswer(t, r)
	started := time.Now()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection: %v", err)
	}
	if d := time.Since(started); d < 700*time.Millisecond {
		t.Errorf("it ended after %v", d)
	}
	c.Close()
	// One that asks again after a wait without buffers.
	c, r = dialTo(t, addr, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
	readAnswer(t, r)
	time.Sleep(200 * time.Millisecond) // beyond the first step
	io.WriteString(c, "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := readAnswer(t, r); resp.StatusCode != 200 {
		t.Errorf("after a wait: status %d", resp.StatusCode)
	}
}

func TestEngineAnswersAClientThatEndedItsSending(t *testing.T) {
	t.Parallel()
	l := engineLab(t)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond) // longer than until the first look
		io.WriteString(w, "answer")
	})})
	c, r := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.CloseWrite()
	if _, body := readAnswer(t, r); body != "answer" {
		t.Errorf("read %q", body)
	}
	if rec := l.records(1)[0]; rec.Error != "" {
		t.Errorf("logged %q", rec.Error)
	}
}

func TestEngineStopsAnAttemptWhoseClientLeft(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*net.TCPConn){
		"closed": func(c *net.TCPConn) { c.Close() },
		"reset":  func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			asked, left := make(chan struct{}), make(chan struct{})
			l := engineLab(t)
			l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				readHead(r)
				close(asked)
				r.ReadByte()
				close(left)
			})})
			c, _ := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-asked
			started := time.Now()
			leave(c)
			<-left
			if d := time.Since(started); d > 5*time.Second {
				t.Errorf("the backend was left after %v", d)
			}
			if rec := l.records(1)[0]; rec.Error != "client-gone" || rec.Status != 499 {
				t.Errorf("logged %d %q", rec.Status, rec.Error)
			}
		})
	}
}

func TestEngineServesHTTP10(t *testing.T) {
	l := engineLab(t)
	l.announce("web", []string{replies(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")})
	_, r := l.dial("GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
	head, _ := readHead(r)
	if strings.Contains(head, "chunked") || !strings.Contains(head, "Connection: close\r\n") {
		t.Errorf("head %q", head)
	}
	if b, err := io.ReadAll(r); string(b) != "ok" || err != nil {
		t.Errorf("body %q, %v", b, err)
	}
	l.announce("web", []string{replies(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")})
	_, r = l.dial("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
	for i := range 2 {
		resp, body := readAnswer(t, r)
		if body != "ok" || resp.Close != (i == 1) || (resp.Header.Get("Connection") == "keep-alive") != (i == 0) {
			t.Errorf("answer %d: %q, %v", i, body, resp.Header)
		}
	}
}

func TestEngineBodyThatEndsWithTheBackendsConnection(t *testing.T) {
	l := engineLab(t)
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nuntil the end")
	})})
	_, r := l.dial(strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2))
	for range 2 {
		if _, body := readAnswer(t, r); body != "until the end" {
			t.Errorf("read %q", body)
		}
	}
}

func TestEngineTargetsPassAsTheyAre(t *testing.T) {
	l := engineLab(t)
	got := make(chan string, 1)
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			line, _, _ := strings.Cut(head, "\r\n")
			_, rest, _ := strings.Cut(head, "Host: ")
			host, _, _ := strings.Cut(rest, "\r\n")
			got <- line + " " + host
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})})
	for ask, want := range map[string]string{
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":                        "OPTIONS * HTTP/1.1 x",
		"OPTIONS http://y HTTP/1.1\r\nHost: x\r\n\r\n":                 "OPTIONS * HTTP/1.1 y",
		"GET http://y:1/a%2fb?c HTTP/1.1\r\nHost: x\r\n\r\n":           "GET /a%2fb?c HTTP/1.1 y:1",
		"GET http://y?c HTTP/1.1\r\nHost: x\r\n\r\n":                   "GET /?c HTTP/1.1 y",
		"GET //a//b/../%2e HTTP/1.1\r\nHost: x\r\n\r\n":                "GET //a//b/../%2e HTTP/1.1 x",
		"M-SEARCH /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n": "M-SEARCH /a HTTP/1.1 x",
	} {
		_, r := l.dial(ask)
		readAnswer(t, r)
		if g := <-got; g != want {
			t.Errorf("%q: the backend was asked %q, want %q", ask, g, want)
		}
	}
}

func TestEngineShutdownEndsIdleConnectionsAndFinishesOthers(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan struct{})
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(asked)
			<-release
		}
		io.WriteString(w, "ok")
	})})
	e, addr := startEngine(t, l, EngineOptions{})
	_, fresh := dialTo(t, addr, "")
	_, idle := dialTo(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	readAnswer(t, idle)
	_, busy := dialTo(t, addr, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	waitFor(t, "three connections", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.conns) == 3
	})
	done := make(chan error, 1)
	go func() { done <- e.Shutdown(t.Context()) }()
	for _, r := range []*bufio.Reader{fresh, idle} {
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("an idle connection: %v", err)
		}
	}
	close(release)
	if resp, body := readAnswer(t, busy); body != "ok" || !resp.Close {
		t.Errorf("the exchange under way: %q, close %v", body, resp.Close)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEngineLocalHandlersAnswer(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "proxied")})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Query", r.URL.RawQuery)
		io.WriteString(w, strings.Repeat("m", 100<<10))
	})
	_, addr := startEngine(t, l, EngineOptions{Local: func(method, path string) http.Handler {
		if path == "/metrics" {
			return h
		}
		return nil
	}})
	_, r := dialTo(t, addr, "GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, body := readAnswer(t, r); len(body) != 100<<10 || resp.Header.Get("X-Query") != "a=b" {
		t.Errorf("%d bytes, %v", len(body), resp.Header)
	}
	if _, body := readAnswer(t, r); body != "proxied" {
		t.Errorf("then %q", body)
	}
}

func TestEngineHandsHTTP2Over(t *testing.T) {
	files := testcert.Write(t, t.TempDir(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, defaultPolicy())
	got := make(chan *tls.Conn, 1)
	e, addr := startEngine(t, l, EngineOptions{
		TLS:   &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}},
		HTTP2: func(c *tls.Conn) { got <- c },
	})
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: files.Pool(), NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := <-got
	defer s.Close()
	e.Close() // must not touch it
	go s.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestEngineOverTLSToABackendWithTLS(t *testing.T) {
	files := testcert.Write(t, t.TempDir(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	b := httptest.NewUnstartedServer(http.HandlerFunc(echoTarget))
	b.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	var conns atomic.Int64
	b.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	b.StartTLS()
	defer b.Close()
	l := engineLab(t, func(_ *Options, s *httptest.Server) { s.TLS = testTLS() })
	l.policy.TLS.InsecureSkipVerify = true
	l.proxy.settleDelay = 5 * time.Second // a slow machine must not close what could go on
	l.announce("web", []string{b.URL})
	large := bytes.Repeat([]byte("x"), 300<<10)
	for i := range 10 {
		r, _ := http.NewRequest("POST", l.front.URL+fmt.Sprint("/", i), bytes.NewReader(large[:i*30<<10]))
		if _, body := l.do(r); len(body) != len(fmt.Sprint("/", i, " "))+i*30<<10 {
			t.Errorf("%d bytes", len(body))
		}
		l.settled()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the backend, want 1", n)
	}
}

// Clients, backends and faults in any order: each client sees its own answer, an error of ours, or a broken connection.
func TestEngineNoAnswerGoesToTheWrongClient(t *testing.T) {
	l := engineLab(t)
	faulty := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			fault := req.Header.Get("X-Fault")
			if fault == "early" {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
				continue // with the body unread, which is the next garbage
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			p := req.URL.Path
			switch fault {
			case "reset":
				c.SetLinger(0)
				return
			case "end":
				return
			case "garbage":
				io.WriteString(c, "\x00\x01garbage\r\n\r\n")
			case "short":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(p)+5, p)
				return
			case "twice":
				// In one write: what comes after the next request was sent is that one's answer to everybody.
				io.WriteString(c, strings.Repeat(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(p), p), 2))
			case "behind":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s and more", len(p), p)
			case "badchunk":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n", len(p), p)
			case "close":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", p)
				return
			case "chunked":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(p), p)
			default:
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(p), p)
			}
		}
	})
	l.announce("web", []string{faulty})
	faults := []string{"", "", "", "chunked", "reset", "end", "garbage", "short", "twice", "behind", "badchunk", "close", "early"}
	var number atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		var wg sync.WaitGroup
		for range rapid.IntRange(1, 4).Draw(rt, "clients") {
			n := rapid.IntRange(1, 6).Draw(rt, "requests")
			type ask struct {
				fault string
				body  int
				leave bool
			}
			var asks []ask
			for range n {
				asks = append(asks, ask{
					rapid.SampledFrom(faults).Draw(rt, "fault"), rapid.SampledFrom([]int{0, 0, 1, 1000, 20000}).Draw(rt, "body"),
					rapid.IntRange(0, 9).Draw(rt, "leave") == 0,
				})
			}
			wg.Go(func() {
				c, err := net.Dial("tcp", l.front.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				r := bufio.NewReader(c)
				for _, a := range asks {
					path := fmt.Sprintf("/n%d", number.Add(1))
					head := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\nX-Fault: %s\r\n\r\n", path, a.fault)
					if a.body > 0 {
						head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nX-Fault: %s\r\nContent-Length: %d\r\n\r\n%s", path, a.fault, a.body, strings.Repeat("b", a.body))
					}
					io.WriteString(c, head)
					if a.leave {
						return
					}
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						if errors.Is(err, os.ErrDeadlineExceeded) {
							t.Errorf("%s: no answer in time", path)
						}
						return
					}
					b, err := io.ReadAll(resp.Body)
					if resp.StatusCode == 200 && !strings.HasPrefix(path, string(b)) {
						t.Errorf("%s was answered %q (%v)", path, b, a)
					}
					if resp.StatusCode == 200 && err == nil && string(b) != path {
						t.Errorf("%s was answered %q (%v)", path, b, a)
					}
					if err != nil || resp.Close {
						return
					}
				}
			})
		}
		wg.Wait()
	})
	l.settled()
}

func TestLookSeesWhatCame(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	look := upstream.NewLook(a.(*net.TCPConn))
	if !look.Quiet() {
		t.Error("a new connection is not quiet")
	}
	b.Close()
	waitFor(t, "the end to be seen", func() bool { return !look.Quiet() })
	if ended, broken := look.Peer(); !ended || broken {
		t.Errorf("ended %v, broken %v", ended, broken)
	}
	a.Close()
	if _, broken := look.Peer(); !broken {
		t.Error("a closed connection is not broken")
	}
}

func TestEngineEndsAConnectionWhoseClientEndedItWithItsFirstRequest(t *testing.T) {
	l := engineLab(t)
	l.announce("web", []string{named(t, "ok")})
	c, r := l.dial("")
	// In one event for the poller, as far as that can be had.
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.CloseWrite()
	readAnswer(t, r)
	started := time.Now()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("then %v, want the end", err)
	}
	if d := time.Since(started); d > 10*time.Second {
		t.Errorf("it came after %v", d)
	}
}

func TestEngineRestsAndGoesOn(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "ok")})
	_, addr := startEngine(t, l, EngineOptions{HeadTimeout: 200 * time.Millisecond, IdleTimeout: time.Minute})
	var conns []*net.TCPConn
	var readers []*bufio.Reader
	for range 10 {
		c, r := dialTo(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		readAnswer(t, r)
		conns, readers = append(conns, c), append(readers, r)
	}
	for range 3 {
		waitFor(t, "all connections to rest", func() bool {
			stacks := make([]byte, 1<<20)
			return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("proxy.(*link).wait(")) >= len(conns)
		})
		for i, c := range conns {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, body := readAnswer(t, readers[i]); resp.StatusCode != 200 || body != "ok" {
				t.Fatalf("status %d, body %q", resp.StatusCode, body)
			}
		}
	}
}
