package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

func TestExchangesAreSpreadByTheAlgorithm(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "0"), named(t, "1"), named(t, "2")})
	got := map[string]int{}
	for range 30 {
		_, body := l.get("/")
		got[body]++
	}
	if got["0"] != 10 || got["1"] != 10 || got["2"] != 10 {
		t.Errorf("answers: %v, want 10 of each", got)
	}
	l.settled()
	for _, b := range l.service("web").Backends {
		if n := b.State.Stats.Read().Codes[2]; n != 10 {
			t.Errorf("%s counts %d attempts, want 10", b.ID, n)
		}
	}
	if n := l.service("web").Runtime.Stats.Read().Codes[2]; n != 30 {
		t.Errorf("the service counts %d exchanges, want 30", n)
	}
}

func TestErrorsHaveTheirStatus(t *testing.T) {
	quick := defaultPolicy()
	quick.Retry.MaxRetries = 0
	hasty := quick
	hasty.Timeouts.ResponseHead = 50 * time.Millisecond
	exchange := defaultPolicy()
	exchange.Timeouts.Exchange = 50 * time.Millisecond
	hang := func(t testing.TB) string {
		return rawBackend(t, func(_ *net.TCPConn, r *bufio.Reader) { io.Copy(io.Discard, r) })
	}
	for _, c := range []struct {
		name   string
		policy routing.Policy
		urls   func(t testing.TB) []string
		status int
		word   string
	}{
		{"no backend at all", quick, func(t testing.TB) []string { return nil }, 503, "no-backend"},
		{"refused", quick, func(t testing.TB) []string { return []string{refuses(t)} }, 502, "refused"},
		{"reset", quick, func(t testing.TB) []string { return []string{resets(t)} }, 502, "reset"},
		{"garbage", quick, func(t testing.TB) []string { return []string{replies(t, "SSH-2.0-OpenSSH\r\n")} }, 502, "malformed"},
		{"status below 100", quick, func(t testing.TB) []string { return []string{replies(t, "HTTP/1.1 042 No\r\n\r\n")} }, 502, "malformed"},
		{"bad header", quick, func(t testing.TB) []string { return []string{replies(t, "HTTP/1.1 200 OK\r\nno colon\r\n\r\n")} }, 502, "malformed"},
		{"head too large", quick, func(t testing.TB) []string {
			return []string{replies(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 300<<10)+"\r\n\r\n")}
		}, 502, "malformed"},
		{"unasked 101", quick, func(t testing.TB) []string {
			return []string{replies(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")}
		}, 502, "malformed"},
		{"clear text on a TLS port", quick, func(t testing.TB) []string {
			return []string{strings.Replace(rawBackend(t, func(c *net.TCPConn, _ *bufio.Reader) {
				io.WriteString(c, "HTTP/1.1 400 Bad\r\n\r\n")
			}), "http:", "https:", 1)}
		}, 502, "bad-tls"},
		{"no head in time", hasty, func(t testing.TB) []string { return []string{hang(t)} }, 504, "head-timeout"},
		{"exchange too long", exchange, func(t testing.TB) []string { return []string{hang(t)} }, 504, "exchange-timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, c.policy)
			l.announce("web", c.urls(t), discovery.Route{Name: "all", Service: "web"})
			resp, body := l.get("/")
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d", resp.StatusCode, c.status)
			}
			if strings.Contains(body, "127.0.0.1") || strings.Contains(body, "web") || len(body) > 60 || !strings.HasSuffix(body, "\n") {
				t.Errorf("the body is %q", body)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
				t.Errorf("content type %q", ct)
			}
			if ra := resp.Header.Get("Retry-After"); (ra == "1") != (c.status == 503) {
				t.Errorf("Retry-After is %q", ra)
			}
			if r := l.records(1)[0]; r.Error != c.word || r.Status != c.status {
				t.Errorf("logged %d %q, want %d %q", r.Status, r.Error, c.status, c.word)
			}
			l.settled()
			if n := l.proxy.Stats().Failed[c.word]; n != 1 {
				t.Errorf("counted %d of %s", n, c.word)
			}
		})
	}
}

func TestNoRouteIs404(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("api", []string{named(t, "api")})
	resp, _ := l.get("/")
	if resp.StatusCode != 404 || l.proxy.Stats().NoRoute != 1 {
		t.Errorf("status %d, counted %d", resp.StatusCode, l.proxy.Stats().NoRoute)
	}
}

func TestNoTableIs503(t *testing.T) {
	l := newLab(t, defaultPolicy(), func(o *Options, _ *httptest.Server) {
		o.Table = func() *routing.Table { return nil }
	})
	if resp, _ := l.get("/"); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "ok")})
	for name, c := range map[string]struct {
		request string
		status  string
	}{
		"CONNECT":               {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "501"},
		"fragment in target":    {"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"star with GET":         {"GET * HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"other scheme":          {"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"odd Host":              {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"},
		"no Host":               {"GET / HTTP/1.1\r\n\r\n", "400"},
		"two Hosts":             {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		"space before colon":    {"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "400"},
		"two Content-Lengths":   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
		"odd transfer encoding": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"},
		"HTTP/1.0 without Host": {"GET / HTTP/1.0\r\n\r\n", "200"},
	} {
		_, r := l.dial(c.request)
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, " "+c.status+" ") {
			t.Errorf("%s: answered %q (%v), want %s", name, line, err, c.status)
		}
	}
}

func TestResponseThatBreaksOffBreaksOffForTheClient(t *testing.T) {
	for name, text := range map[string][2]string{
		"within its length":    {"Content-Length: 100\r\n\r\npart", ""},
		"within a chunk":       {"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", "64\r\nmore"},
		"before the last":      {"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", ""},
		"with a malformed one": {"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", "xyz\r\n"},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+" "+proto, func(t *testing.T) {
				p := defaultPolicy()
				p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}
				l := newLab(t, p, func(_ *Options, s *httptest.Server) {
					if proto == "HTTP/2.0" {
						s.EnableHTTP2, s.TLS = true, &tls.Config{}
					}
				})
				seen := make(chan struct{})
				l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
					readHead(r)
					io.WriteString(c, "HTTP/1.1 200 OK\r\n"+text[0])
					<-seen
					io.WriteString(c, text[1])
				})})
				resp, err := l.front.Client().Get(l.front.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
					t.Error(err)
				}
				close(seen)
				if b, err := io.ReadAll(resp.Body); err == nil || resp.Proto != proto {
					t.Errorf("%s: read %q and no error", resp.Proto, b)
				}
				if r := l.records(1)[0]; r.Error != "broken-response" || r.Status != 200 {
					t.Errorf("logged %d %q", r.Status, r.Error)
				}
				if n := l.proxy.Stats().Broken; n != 1 {
					t.Errorf("counted %d", n)
				}
				l.settled()
				if s := l.service("web").Backends[0].State.Breaker.State(time.Now()); s != breaker.Open {
					t.Errorf("the breaker is %v: a broken response is a failure", s)
				}
			})
		}
	}
}

func TestClientThatLeavesIsLoggedAndLetsTheBackendGo(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	asked := make(chan struct{})
	p := defaultPolicy()
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(left)
	})})
	c, _ := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	c.Close()
	<-left
	if r := l.records(1)[0]; r.Status != 499 || r.Error != "client-gone" || r.Attempts != 1 {
		t.Errorf("logged %d %q after %d attempts", r.Status, r.Error, r.Attempts)
	}
	l.settled()
	if s := l.service("web").Backends[0].State.Breaker.State(time.Now()); s != breaker.Closed {
		t.Errorf("the breaker is %v: the backend was not to blame", s)
	}
}

func TestServerErrorsAreRelayedAndCountForTheBreaker(t *testing.T) {
	p := defaultPolicy()
	p.Breaker = breaker.Options{FailureThreshold: 3, ResetTimeout: time.Hour}
	asked := 0
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Error(w, "mine", http.StatusServiceUnavailable)
	})})
	for range 3 {
		if resp, body := l.get("/"); resp.StatusCode != 503 || body != "mine\n" || resp.Header.Get("Retry-After") != "" {
			t.Fatalf("status %d, body %q; want the backend's answer", resp.StatusCode, body)
		}
	}
	waitFor(t, "the breaker to open", func() bool { return len(l.service("web").Runtime.Ready().Backends) == 0 })
	if resp, body := l.get("/"); resp.StatusCode != 503 || body == "mine\n" || asked != 3 {
		t.Errorf("status %d, body %q after %d requests; want the balancer's own answer", resp.StatusCode, body, asked)
	}
}

func TestHalfOpenBreakerIsNotHeldByALongResponse(t *testing.T) {
	p := defaultPolicy()
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Millisecond, HalfOpenLimit: 1}
	release := make(chan struct{})
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fail":
			w.WriteHeader(500)
		case "/stream":
			w.(http.Flusher).Flush()
			<-release
		}
	})})
	defer close(release)
	l.get("/fail")
	state := l.service("web").Backends[0].State
	waitFor(t, "half-open", func() bool {
		return state.Breaker.State(time.Now()) == breaker.HalfOpen && len(l.service("web").Runtime.Ready().Backends) == 1
	})
	resp, err := l.front.Client().Get(l.front.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	waitFor(t, "the breaker to close", func() bool { return state.Breaker.State(time.Now()) == breaker.Closed })
}

func TestExchangeDeadlineEndsAResponseUnderWay(t *testing.T) {
	p := defaultPolicy()
	p.Timeouts.Exchange = time.Second
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})})
	resp, err := l.front.Client().Get(l.front.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "some" {
		t.Errorf("read %q, %v; want it to break off", b, err)
	}
	if r := l.records(1)[0]; r.Error != "exchange-timeout" {
		t.Errorf("logged %q", r.Error)
	}
}

func TestExchangeDeadlineEndsAClientThatDoesNotRead(t *testing.T) {
	p := defaultPolicy()
	p.Timeouts.Exchange = 200 * time.Millisecond
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})})
	l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := l.records(1)[0]; r.Error != "exchange-timeout" || r.Duration > 10*time.Second {
		t.Errorf("logged %q after %v", r.Error, r.Duration)
	}
	l.settled()
}

func TestExchangeDeadlineDoesNotDisturbTheNextExchange(t *testing.T) {
	p := defaultPolicy()
	p.Timeouts.Exchange = 500 * time.Millisecond
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
	})})
	c, r := l.dial("")
	for i := range 4 {
		path, want := "/", 200
		if i%2 == 1 {
			path, want = "/slow", 504
		}
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("request %d on one connection: %v, %v; want %d", i, resp, err, want)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

func TestRoutesLeadToTheirServices(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "web")})
	l.announce("api", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RequestURI)
	})}, discovery.Route{Name: "api", Path: "/api", StripPrefix: "/api", Service: "api"})
	for path, want := range map[string]string{"/": "web", "/apis": "web", "/api": "/", "/api/a%2Fb?c=%zz": "/a%2Fb?c=%zz"} {
		if _, body := l.get(path); body != want {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
	for _, r := range l.catalog.Table().Routes() {
		if r.Name == "api" && r.Source == "test" && r.Requests.Load() != 2 {
			t.Errorf("the route counts %d, want 2", r.Requests.Load())
		}
	}
	if r := l.records(4); r[0].Service == "" || r[0].Route == "" || r[0].Backend != "b0" {
		t.Errorf("logged %+v", r[0])
	}
}

func TestRefusedBackendCostsNoRequest(t *testing.T) {
	p := defaultPolicy()
	p.Algorithm = balance.RoundRobin
	l := newLab(t, p)
	l.announce("web", []string{refuses(t), named(t, "up"), refuses(t)})
	for range 20 {
		if resp, body := l.get("/"); resp.StatusCode != 200 || body != "up" {
			t.Fatalf("status %d, body %q", resp.StatusCode, body)
		}
	}
}
