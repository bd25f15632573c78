package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/vietddude/load-balancer/breaker"
)

// webSocketEcho is a backend that sends each message back.
func webSocketEcho(t testing.TB) string {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	return httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, msg, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, msg) != nil {
				return
			}
		}
	})
}

func dialWebSocket(t testing.TB, l *lab) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: 10 * time.Second}
	if l.front.TLS != nil {
		d.TLSClientConfig = l.front.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		d.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	c, resp, err := d.Dial("ws"+strings.TrimPrefix(l.front.URL, "http"), nil)
	if err != nil {
		t.Fatalf("%v (%v)", err, resp)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func echoOnce(t testing.TB, c *websocket.Conn, msg string) {
	t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.ReadMessage(); err != nil || string(got) != msg {
		t.Fatalf("sent %d bytes, read %d, %v", len(msg), len(got), err)
	}
}

func TestWebSocketsPass(t *testing.T) {
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			p := defaultPolicy()
			p.Timeouts.Exchange = 500 * time.Millisecond // tunnels are exempt
			l := newLab(t, p, func(_ *Options, s *httptest.Server) {
				if scheme == "wss" {
					s.TLS = testTLS()
				}
			})
			l.announce("web", []string{webSocketEcho(t)})
			c := dialWebSocket(t, l)
			started := time.Now()
			for i := 0; i < 5 || time.Since(started) < 700*time.Millisecond; i++ {
				echoOnce(t, c, strings.Repeat("x", i%1000))
			}
			echoOnce(t, c, strings.Repeat("x", 1<<20))
			if s := l.proxy.Stats(); s.Tunnels != 1 || s.Active != 1 || l.service("web").Backends[0].State.InFlight() != 1 {
				t.Errorf("stats %+v, in flight %d", s, l.service("web").Backends[0].State.InFlight())
			}
			c.Close()
			l.settled()
			if r := l.records(1)[0]; r.Status != 101 || r.Error != "" || r.BytesIn < 1<<20 || r.BytesOut < 1<<20 {
				t.Errorf("logged %+v", r)
			}
			if n := l.proxy.Stats().Tunnels; n != 0 {
				t.Errorf("%d tunnels are counted", n)
			}
		})
	}
}

// switching answers any upgrade to "echo" and hands the connection to the function.
func switching(t testing.TB, f func(c *net.TCPConn, r *bufio.Reader)) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		if head, err := readHead(r); err != nil || !strings.Contains(head, "Upgrade: echo\r\n") {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		f(c, r)
	})
}

const upgradeEcho = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

func TestTunnelEndsOneWayAndGoesOnTheOther(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{switching(t, func(c *net.TCPConn, r *bufio.Reader) {
		b, err := io.ReadAll(r) // to the client's half-close
		fmt.Fprintf(c, "read %q, %v", b, err)
	})})
	c, r := l.dial(upgradeEcho + "early ") // sent before the tunnel stands
	if head, err := readHead(r); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q, %v", head, err)
	}
	io.WriteString(c, "late")
	c.CloseWrite()
	if b, err := io.ReadAll(r); err != nil || string(b) != `read "early late", <nil>` {
		t.Errorf("read %q, %v", b, err)
	}
	l.settled()
}

func TestTunnelPassesTheBackendsHalfCloseOn(t *testing.T) {
	got := make(chan string, 1)
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{switching(t, func(c *net.TCPConn, r *bufio.Reader) {
		io.WriteString(c, "hello")
		c.CloseWrite()
		b, _ := io.ReadAll(r)
		got <- string(b)
	})})
	c, r := l.dial(upgradeEcho)
	readHead(r)
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
	io.WriteString(c, "still here")
	c.CloseWrite()
	if b := <-got; b != "still here" {
		t.Errorf("the backend read %q", b)
	}
	l.settled()
}

func TestTunnelEndsWhenASideBreaks(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{switching(t, func(c *net.TCPConn, r *bufio.Reader) {
		r.ReadByte()
		c.SetLinger(0)
	})})
	c, r := l.dial(upgradeEcho)
	readHead(r)
	io.WriteString(c, "x")
	if _, err := r.ReadByte(); err == nil {
		t.Error("the client's side goes on")
	}
	l.settled()
}

func TestRefusedUpgradeIsAnOrdinaryResponse(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "no")})
	_, r := l.dial(upgradeEcho)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != "no" {
		t.Errorf("status %d, body %q", resp.StatusCode, b)
	}
}

func TestAnotherUpgradeThanAskedForIsMalformed(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{replies(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")})
	_, r := l.dial(upgradeEcho)
	if line, _ := r.ReadString('\n'); !strings.Contains(line, " 502 ") {
		t.Errorf("got %q", line)
	}
	l.settled()
}

func TestOpenTunnelDoesNotHoldAHalfOpenBreaker(t *testing.T) {
	p := defaultPolicy()
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Millisecond, HalfOpenLimit: 1}
	l := newLab(t, p)
	l.announce("web", []string{webSocketEcho(t)})
	s := l.service("web").Backends[0].State
	permit, _ := s.Breaker.Allow(time.Now())
	s.Breaker.Done(permit, time.Now(), breaker.Failure)
	waitFor(t, "half-open", func() bool { return len(l.service("web").Runtime.Ready().Backends) == 1 })
	c := dialWebSocket(t, l)
	echoOnce(t, c, "x")
	if st := s.Breaker.State(time.Now()); st != breaker.Closed {
		t.Errorf("the breaker is %v", st)
	}
}

func TestCloseWaitsForTunnelsThenCutsThem(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{webSocketEcho(t)})
	ending, staying := dialWebSocket(t, l), dialWebSocket(t, l)
	echoOnce(t, ending, "x")
	echoOnce(t, staying, "x")
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { closed <- l.proxy.Close(ctx) }()
	ending.Close()
	waitFor(t, "one tunnel to end", func() bool { return l.proxy.Stats().Tunnels == 1 })
	echoOnce(t, staying, "still here")
	select {
	case err := <-closed:
		t.Fatalf("Close did not wait: %v", err)
	default:
	}
	cancel()
	if err := <-closed; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 tunnel") {
		t.Errorf("Close: %v", err)
	}
	if _, _, err := staying.ReadMessage(); err == nil {
		t.Error("the tunnel goes on")
	}
	l.settled()
	var words []string
	for _, r := range l.records(2) {
		words = append(words, r.Error)
	}
	if strings.Join(words, ",") != ",shut-down" {
		t.Errorf("logged %q", words)
	}
}

func TestCloseReturnsAtOnceWithoutTunnels(t *testing.T) {
	l := newLab(t, defaultPolicy())
	if err := l.proxy.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestManyTunnelsAreKeptApart(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{webSocketEcho(t), webSocketEcho(t)})
	var wg sync.WaitGroup
	for i := range 20 {
		c := dialWebSocket(t, l)
		wg.Go(func() {
			for j := range 20 {
				msg := fmt.Sprintf("%d/%d/%s", i, j, strings.Repeat("x", i*100))
				if err := c.WriteMessage(websocket.TextMessage, []byte(msg)); err != nil {
					t.Error(err)
					return
				}
				if _, got, err := c.ReadMessage(); err != nil || string(got) != msg {
					t.Errorf("sent %.10q, read %.10q, %v", msg, got, err)
					return
				}
			}
			c.Close()
		})
	}
	wg.Wait()
	l.settled()
}
