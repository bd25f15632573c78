package upstream

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func state(url string) *backend.State {
	return backend.New(backend.Key{Service: "web", ID: "b", URL: url}, breaker.Options{}, nil)
}

func pools(t testing.TB, o Options) *Pools {
	p := New(o)
	t.Cleanup(p.CloseIdle)
	return p
}

func request(t testing.TB, ctx context.Context) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "example.com"
	return r
}

// ask makes an attempt and reads the response.
func ask(t testing.TB, p *Pools, s *backend.State, policy *routing.Policy) *Error {
	t.Helper()
	resp, err := p.RoundTrip(request(t, t.Context()), s, policy)
	if err != nil {
		return err
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return nil
}

// counted is a server that counts its open connections, in all and now.
func counted(t testing.TB, secure bool) (s *httptest.Server, opened, open *atomic.Int64) {
	opened, open = new(atomic.Int64), new(atomic.Int64)
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hi") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, opened, open
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	s, opened, _ := counted(t, false)
	p, st := pools(t, Options{}), state(s.URL)
	for range 5 {
		if err := ask(t, p, st, &routing.Policy{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 5 attempts", n)
	}
}

func TestRetiredBackendLosesItsIdleConnectionsAtOnce(t *testing.T) {
	s, opened, open := counted(t, false)
	p, st := pools(t, Options{}), state(s.URL)
	ask(t, p, st, &routing.Policy{})
	st.Retire()
	waitFor(t, func() bool { return open.Load() == 0 })
	if p.Len() != 0 {
		t.Errorf("%d pools are left", p.Len())
	}
	for range 2 { // by an earlier table
		if err := ask(t, p, st, &routing.Policy{}); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return open.Load() == 0 })
	if n := opened.Load(); n != 3 {
		t.Errorf("%d connections, want one for each attempt", n)
	}
}

func TestAttemptUnderWayOutlivesTheBackendsRetirement(t *testing.T) {
	s, _, open := counted(t, false)
	p, st := pools(t, Options{}), state(s.URL)
	resp, err := p.RoundTrip(request(t, t.Context()), st, &routing.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	st.Retire()
	b, rerr := io.ReadAll(resp.Body)
	resp.Body.Close()
	if rerr != nil || string(b) != "hi" {
		t.Errorf("read %q, %v", b, rerr)
	}
	waitFor(t, func() bool { return open.Load() == 0 })
}

func TestChangedPolicyGetsNewConnections(t *testing.T) {
	s, opened, open := counted(t, false)
	p, st := pools(t, Options{}), state(s.URL)
	a := &routing.Policy{}
	b := &routing.Policy{Timeouts: routing.Timeouts{Connect: time.Minute}}
	for _, policy := range []*routing.Policy{a, a, b, b, {Timeouts: b.Timeouts, Algorithm: "random"}} {
		if err := ask(t, p, st, policy); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return open.Load() == 1 })
	if n := opened.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestTLSIsVerifiedAsThePolicySays(t *testing.T) {
	s, _, _ := counted(t, true)
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "bad.pem")
	os.WriteFile(good, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600)
	os.WriteFile(bad, []byte("no certificate"), 0o600)
	for name, c := range map[string]struct {
		tls routing.BackendTLS
		ok  bool
	}{
		"system's authorities":   {routing.BackendTLS{}, false},
		"own authority":          {routing.BackendTLS{CAFile: good}, true},
		"own, by name":           {routing.BackendTLS{CAFile: good, ServerName: "example.com"}, true},
		"own, by another name":   {routing.BackendTLS{CAFile: good, ServerName: "example.org"}, false},
		"not verified":           {routing.BackendTLS{InsecureSkipVerify: true}, true},
		"file without authority": {routing.BackendTLS{CAFile: bad}, false},
		"no such file":           {routing.BackendTLS{CAFile: filepath.Join(dir, "none")}, false},
	} {
		p := pools(t, Options{})
		err := ask(t, p, state(s.URL), &routing.Policy{TLS: c.tls})
		if (err == nil) != c.ok || err != nil && (err.Kind != BadTLS || err.Sent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnusableAuthoritiesAreReadAgainLater(t *testing.T) {
	s, _, _ := counted(t, true)
	file := filepath.Join(t.TempDir(), "ca.pem")
	p, st, policy := pools(t, Options{}), state(s.URL), &routing.Policy{TLS: routing.BackendTLS{CAFile: file}}
	if err := ask(t, p, st, policy); err == nil {
		t.Fatal("no error without the file")
	}
	os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600)
	if err := ask(t, p, st, policy); err == nil {
		t.Error("the file is read at each attempt")
	}
	pl := p.pool(st)
	pl.mu.Lock()
	pl.retryAt = time.Now()
	pl.mu.Unlock()
	if err := ask(t, p, st, policy); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

func TestBackendsAreSpokenToByHTTP11Alone(t *testing.T) {
	protos := make(chan string, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { protos <- r.Proto }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	if err := ask(t, pools(t, Options{}), state(s.URL), &routing.Policy{TLS: routing.BackendTLS{InsecureSkipVerify: true}}); err != nil {
		t.Fatal(err)
	}
	if got := <-protos; got != "HTTP/1.1" {
		t.Errorf("spoke %s", got)
	}
}

// listen hands each connection to the function and closes it afterwards.
func listen(t testing.TB, f func(net.Conn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return "http://" + ln.Addr().String()
}

func TestFailuresHaveTheirKind(t *testing.T) {
	closed := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return "http://" + ln.Addr().String()
	}()
	read := func(c net.Conn) { c.Read(make([]byte, 4096)) }
	says := func(text string) string {
		return listen(t, func(c net.Conn) { read(c); io.WriteString(c, text) })
	}
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for name, c := range map[string]struct {
		url    string
		policy routing.Policy
		kind   Kind
		sent   bool
	}{
		"nobody listens":          {closed, routing.Policy{}, Refused, false},
		"no such host":            {"http://no-such-host.invalid:80", routing.Policy{}, Refused, false},
		"closed without a word":   {says(""), routing.Policy{}, Reset, true},
		"closed within the head":  {says("HTTP/1.1 200 OK\r\nX: 1\r\n"), routing.Policy{}, Reset, true},
		"no HTTP":                 {says("hello\r\n\r\n"), routing.Policy{}, Malformed, true},
		"a bad length":            {says("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), routing.Policy{}, Malformed, true},
		"an odd encoding":         {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: odd\r\n\r\n"), routing.Policy{}, Malformed, true},
		"a head beyond the limit": {says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), routing.Policy{}, Malformed, true},
		"no head in time":         {silent, routing.Policy{Timeouts: routing.Timeouts{ResponseHead: 20 * time.Millisecond}}, HeadTimeout, true},
		"no TLS in time":          {strings.Replace(silent, "http:", "https:", 1), routing.Policy{Timeouts: routing.Timeouts{Connect: 20 * time.Millisecond}}, ConnectTimeout, false},
		"TLS broken off":          {strings.Replace(says(""), "http:", "https:", 1), routing.Policy{}, BadTLS, false},
		"an unusable address":     {"http://[::1", routing.Policy{}, BadTLS, false},
	} {
		err := ask(t, pools(t, Options{}), state(c.url), &c.policy)
		if err == nil || err.Kind != c.kind || err.Sent != c.sent {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
}

func TestEndedContextIsToldAsSuch(t *testing.T) {
	url := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := pools(t, Options{}).RoundTrip(request(t, ctx), state(url), &routing.Policy{})
	if err == nil || err.Kind != Canceled || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestIdleConnectionThatTheBackendClosesCostsNoRequest(t *testing.T) {
	s, opened, _ := counted(t, false)
	p, st := pools(t, Options{}), state(s.URL)
	for range 20 {
		if err := ask(t, p, st, &routing.Policy{}); err != nil {
			t.Fatal(err)
		}
		s.CloseClientConnections()
	}
	if opened.Load() < 2 {
		t.Error("the connections were never closed")
	}
}

func TestCloseTellsOnce(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, _, _ := counted(t, secure)
		d, err := newDialer("127.0.0.1", secure, settings{tls: routing.BackendTLS{InsecureSkipVerify: true}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.dial(t.Context(), "tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.(*tls.Conn); ok != secure {
			t.Fatalf("a connection of type %T", c)
		}
		n := 0
		Lend(httptrace.GotConnInfo{Conn: c}, func() { n++ })
		c.Close()
		c.Close()
		if n != 1 {
			t.Errorf("told %d times", n)
		}
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 10 s")
		}
	}
}
