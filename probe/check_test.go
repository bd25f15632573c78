package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// once probes a target once with real connections and returns the error.
func once(t *testing.T, target *target) error {
	t.Helper()
	c := checker{dial: new(net.Dialer).DialContext, userAgent: "test"}
	return onceWith(t, &c, target)
}

func onceWith(t *testing.T, c *checker, target *target) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), target.Options.timeout())
	defer cancel()
	err := c.check(ctx, target)
	t.Cleanup(func() {
		if target.conn != nil {
			target.conn.Close()
		}
	})
	return err
}

func to(url, path string) *target {
	return &target{Target: Target{URL: url, Options: Options{Interval: time.Second, Timeout: 10 * time.Second, Path: path}}}
}

// script is a server that answers the first request of each connection with the next of the texts, and closes it.
func script(t *testing.T, texts ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, text := range texts {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(conn))
			io.WriteString(conn, text)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return "http://" + l.Addr().String()
}

func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want one with %q", err, want)
	}
}

func TestStatusesFrom200To399SucceedAndNoRedirectIsFollowed(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		code := map[string]int{"/200": 200, "/204": 204, "/302": 302, "/399": 399, "/400": 400, "/500": 500}[r.URL.Path]
		w.Header().Set("Location", "/500")
		w.WriteHeader(code)
	}))
	defer s.Close()
	for _, path := range []string{"/200", "/204", "/302", "/399"} {
		if err := once(t, to(s.URL, path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, status := range map[string]string{"/400": "400", "/500": "500"} {
		err := once(t, to(s.URL, path))
		if want := "GET " + s.URL + path + ": status " + status + ", want 200–399"; err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("%d requests for 6 probes", n)
	}
}

func TestTheRequestIsAPlainGet(t *testing.T) {
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r }))
	defer s.Close()
	if err := once(t, to(s.URL, "health?full=1")); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.Method != "GET" || r.RequestURI != "/health?full=1" || r.UserAgent() != "test" || "http://"+r.Host != s.URL || r.ContentLength != 0 {
		t.Errorf("asked %s %s of %s as %s", r.Method, r.RequestURI, r.Host, r.UserAgent())
	}
}

func TestDefaultPortsStayOutOfTheHostField(t *testing.T) {
	for url, want := range map[string]string{
		"http://web:80": "web", "https://web:443": "web", "http://web:443": "web:443", "http://[::1]:80": "[::1]", "https://web:8443": "web:8443",
	} {
		at, err := to(url, "/").locate()
		if err != nil || at.authority() != want {
			t.Errorf("%s: the host is %q (%v), want %q", url, at.authority(), err, want)
		}
	}
}

func TestAConnectionThatTheServerClosedWhileIdleIsNoFailure(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	target := to(script(t, ok, ok, ok), "/")
	c := checker{dial: new(net.Dialer).DialContext}
	for i := range 3 {
		if err := onceWith(t, &c, target); err != nil {
			t.Fatalf("probe %d: %v", i, err)
		}
		if target.conn == nil {
			t.Fatalf("probe %d did not keep its connection, so the test shows nothing", i)
		}
	}
}

func TestATimeoutNoticeOnAnIdleConnectionIsNoFailure(t *testing.T) {
	ok, late := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
	target := to(script(t, ok+late, ok, late), "/")
	c := checker{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &oneByOne{conn}, err
	}}
	for i := range 2 {
		if err := onceWith(t, &c, target); err != nil {
			t.Fatalf("probe %d: %v", i, err)
		}
	}
	target.conn = nil
	wantErr(t, onceWith(t, &c, target), "status 408")
}

// oneByOne reads no further than asked for, as if the rest had not arrived yet.
type oneByOne struct{ net.Conn }

func (c *oneByOne) Read(b []byte) (int, error) { return c.Conn.Read(b[:1]) }

func TestBodiesOfAllFramingsAreReadAndTheConnectionIsKeptIfItCanBe(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		kept bool
	}{
		"length":           {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
		"chunked":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true},
		"none":             {"HTTP/1.1 204 No Content\r\n\r\n", true},
		"until close":      {"HTTP/1.1 200 OK\r\n\r\nok", false},
		"close announced":  {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false},
		"http 1.0":         {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
		"after a 103":      {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
		"bytes after it":   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok?", false},
		"beyond the limit": {"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1_000_000), false},
	} {
		t.Run(name, func(t *testing.T) {
			target := to(script(t, c.text), "/")
			if err := once(t, target); err != nil {
				t.Fatal(err)
			}
			if kept := target.conn != nil; kept != c.kept {
				t.Errorf("connection kept: %v, want %v", kept, c.kept)
			}
		})
	}
}

func TestWhatIsNoResponseIsAFailureWithItsReason(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "the connection was closed before the response was complete"},
		"half a head":       {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "the connection was closed before the response was complete"},
		"half a body":       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "the connection was closed before the response was complete"},
		"another protocol":  {"SSH-2.0-OpenSSH_9.2\r\n", "malformed HTTP"},
		"upgrade":           {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "status 101, want 200–399"},
		"endless hints":     {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), "more than 8 informational responses"},
		"an endless head":   {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100_000), "the response's head is longer than 64 KiB"},
		"a bad chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the response's body broke off"},
		"a very long noise": {strings.Repeat("noise", 1000) + "\r\n", "malformed HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			target := to(script(t, c.text), "/")
			err := once(t, target)
			// A server that closes with unread input may reset the connection instead.
			if !errors.Is(err, syscall.ECONNRESET) {
				wantErr(t, err, c.want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if target.conn != nil {
				t.Error("the connection was kept")
			}
		})
	}
}

func TestARefusedConnectionIsToldInWords(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	err = once(t, to("http://"+addr, "/health"))
	if want := "GET http://" + addr + "/health: connection refused"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %q", err, want)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error("the cause is lost")
	}
	target := to("http://"+addr, "")
	target.Options.Type = TCP
	err = once(t, target)
	if want := "connect " + addr + ": connection refused"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %q", err, want)
	}
}

func TestATCPProbeSucceedsWithTheConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	target := to("http://"+l.Addr().String(), "")
	target.Options.Type = TCP
	if err := once(t, target); err != nil {
		t.Fatal(err)
	}
}

func TestSettingsThatCannotBeProbedAreFailuresNotPanics(t *testing.T) {
	target := to("http://127.0.0.1:1", "/")
	target.Options.Type = "smtp"
	wantErr(t, once(t, target), `unknown probe type "smtp", want http, tcp or grpc`)
	wantErr(t, once(t, to("http://127.0.0.1:1", "/a\r\nX: y")), "cannot be asked for")
	wantErr(t, once(t, to("http://%zz", "/")), "cannot be probed")
}

func TestHTTPSTargetsAreVerifiedAsTheirSettingsSay(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	ca, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, text := range map[string][]byte{ca: block, empty: nil} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		tls  TLS
		want string // empty for success
	}{
		"system's authorities": {TLS{}, "certificate"},
		"its authority":        {TLS{CAFile: ca}, ""},
		"another name of it":   {TLS{CAFile: ca, ServerName: "example.com"}, ""},
		"a wrong name":         {TLS{CAFile: ca, ServerName: "example.org"}, "example.org"},
		"no verification":      {TLS{InsecureSkipVerify: true}, ""},
		"no such file":         {TLS{CAFile: filepath.Join(dir, "none.pem")}, "no such file"},
		"no certificate in it": {TLS{CAFile: empty}, "holds no certificate in PEM form"},
	} {
		t.Run(name, func(t *testing.T) {
			target := to(s.URL, "/")
			target.TLS = c.tls
			err := once(t, target)
			if c.want != "" {
				wantErr(t, err, c.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	dials := 0
	c := checker{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	target := to(s.URL, "/")
	target.TLS.CAFile = ca
	for range 5 {
		if err := onceWith(t, &c, target); err != nil {
			t.Fatal(err)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections for 5 probes, want 1", dials)
	}
}

func TestAChangedFileOfAuthoritiesIsReadAgain(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("nothing yet"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := checker{dial: new(net.Dialer).DialContext}
	target := to(s.URL, "/")
	target.TLS.CAFile = ca
	wantErr(t, onceWith(t, &c, target), "holds no certificate")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, onceWith(t, &c, target), "status 404")
}

func TestAPlainProbeOfATLSPortFailsInWords(t *testing.T) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, errors.New("none")
	}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err == nil {
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	err = once(t, to("http://"+l.Addr().String(), "/"))
	if err == nil {
		t.Error("a TLS port passed as HTTP")
	}
	l.Close()
	<-ended
}
