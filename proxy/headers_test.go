package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// echoHead starts a proxy before a backend that tells the head of each request.
func echoHead(t *testing.T, change ...func(*Options, *httptest.Server)) (*lab, chan *http.Request) {
	got := make(chan *http.Request, 1)
	l := newLab(t, defaultPolicy(), change...)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) { got <- r })})
	return l, got
}

func TestHopByHopFieldsEndHere(t *testing.T) {
	l, got := echoHead(t)
	l.dial("GET / HTTP/1.1\r\nHost: x\r\nConnection: close, X-Mine, Host\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n" +
		"Proxy-Authorization: x\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX-Other: 2\r\n\r\n")
	r := <-got
	for _, name := range []string{"Connection", "X-Mine", "Keep-Alive", "Te", "Proxy-Authorization", "Proxy-Connection", "Upgrade", "Http2-Settings"} {
		if v, ok := r.Header[name]; ok {
			t.Errorf("%s: %q went through", name, v)
		}
	}
	if r.Header.Get("X-Other") != "2" || r.Host != "x" {
		t.Errorf("X-Other is %q, Host %q", r.Header.Get("X-Other"), r.Host)
	}
}

func TestHopByHopFieldsOfAResponseEndHere(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{replies(t, "HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"+
		"Proxy-Authenticate: x\r\nUpgrade: h2c\r\nX-Other: 2\r\nContent-Length: 0\r\n\r\n")})
	resp, _ := l.get("/")
	for _, name := range []string{"Connection", "X-Mine", "Keep-Alive", "Proxy-Authenticate", "Upgrade", "Content-Type"} {
		if v, ok := resp.Header[name]; ok {
			t.Errorf("%s: %q went through or was made up", name, v)
		}
	}
	if resp.Header.Get("X-Other") != "2" {
		t.Errorf("X-Other is %q", resp.Header.Get("X-Other"))
	}
}

func TestNothingIsAddedToARequestButForwardingFields(t *testing.T) {
	l, got := echoHead(t)
	l.dial("GET / HTTP/1.1\r\nHost: Example.com:81\r\n\r\n")
	r := <-got
	want := http.Header{
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"Example.com:81"},
		"Forwarded": {`for=127.0.0.1;host="Example.com:81";proto=http`},
	}
	for name, v := range r.Header {
		if strings.Join(want[name], "|") != strings.Join(v, "|") {
			t.Errorf("%s: %q, want %q", name, v, want[name])
		}
	}
	if len(r.Header) != len(want) || r.Host != "Example.com:81" {
		t.Errorf("header %v, host %q", r.Header, r.Host)
	}
}

func TestForwardingClaimsOfStrangersAreReplaced(t *testing.T) {
	l, got := echoHead(t)
	l.dial("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n" +
		"Forwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Port: 1\r\n\r\n")
	h := (<-got).Header
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "x",
		"Forwarded": `for=127.0.0.1;host="x";proto=http`, "X-Real-Ip": "", "X-Forwarded-Port": "",
	} {
		if v := strings.Join(h.Values(name), "|"); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

func TestForwardingClaimsOfTrustedProxiesAreKept(t *testing.T) {
	l, got := echoHead(t, func(o *Options, _ *httptest.Server) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	l.dial("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9, 1.2.3.4\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n" +
		"X-Forwarded-Host: public\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\r\n")
	h := (<-got).Header
	for name, want := range map[string]string{
		"X-Forwarded-For": "9.9.9.9, 1.2.3.4, 10.0.0.1, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "public",
		"Forwarded": `for=1.2.3.4, for=127.0.0.1;host="x";proto=http`, "X-Real-Ip": "1.2.3.4",
	} {
		if v := strings.Join(h.Values(name), "|"); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if r := l.records(1)[0]; r.Client.String() != "1.2.3.4" {
		t.Errorf("the client is %v, want 1.2.3.4: the last that no trusted proxy is", r.Client)
	}
}

func TestClientAddressIsWhatTrustedProxiesSay(t *testing.T) {
	p := New(Options{Table: nil, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	defer p.Close(t.Context())
	for _, c := range []struct {
		peer string
		xff  []string
		want string
	}{
		{"192.0.2.1", []string{"1.1.1.1"}, "192.0.2.1"},
		{"10.0.0.1", nil, "10.0.0.1"},
		{"10.0.0.1", []string{"1.1.1.1"}, "1.1.1.1"},
		{"10.0.0.1", []string{"2.2.2.2, 1.1.1.1 , 10.0.0.2"}, "1.1.1.1"},
		{"10.0.0.1", []string{"2.2.2.2", "10.0.0.3"}, "2.2.2.2"},
		{"10.0.0.1", []string{"10.0.0.9,10.0.0.3"}, "10.0.0.9"},
		{"10.0.0.1", []string{"nonsense, 10.0.0.3"}, "10.0.0.3"},
		{"10.0.0.1", []string{"nonsense"}, "10.0.0.1"},
		{"10.0.0.1", []string{""}, "10.0.0.1"},
		{"10.0.0.1", []string{"1.1.1.1:5000"}, "1.1.1.1"},
		{"10.0.0.1", []string{"[2001:db8::1]:5000"}, "2001:db8::1"},
		{"10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"10.0.0.1", []string{"::ffff:1.1.1.1"}, "1.1.1.1"},
	} {
		r := &request{Peer: netip.MustParseAddr(c.peer)}
		if got := p.identify(r, http.Header{"X-Forwarded-For": c.xff}, new(element)); got.addr.String() != c.want {
			t.Errorf("%s with %q: %v, want %s", c.peer, c.xff, got.addr, c.want)
		}
	}
}

func TestForwardedQuotesIPv6(t *testing.T) {
	c := client{peer: netip.MustParseAddr("2001:db8::1"), text: "2001:db8::1", secure: true}
	h := http.Header{}
	c.forward(h, "", new(element))
	if got := h.Get("Forwarded"); got != `for="[2001:db8::1]";proto=https` {
		t.Errorf("Forwarded: %s", got)
	}
}

func TestTrailersAreAskedForByTE(t *testing.T) {
	l, got := echoHead(t)
	l.dial("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE\r\nTE: gzip;q=0.5, Trailers\r\n\r\n")
	if h := (<-got).Header; h.Get("Te") != "trailers" || h.Get("Connection") != "TE" {
		t.Errorf("TE: %q, Connection: %q", h.Get("Te"), h.Get("Connection"))
	}
}

func TestResponseFieldsComeAsTheyAre(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{replies(t, "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: s\r\n"+
		"Content-Encoding: gzip\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nhi")})
	r, _ := http.NewRequest("GET", l.front.URL, nil)
	r.Header.Set("Accept-Encoding", "identity")
	resp, body := l.do(r)
	if c := resp.Header.Values("Set-Cookie"); len(c) != 2 || c[0] != "a=1" || c[1] != "b=2" {
		t.Errorf("Set-Cookie: %q", c)
	}
	if resp.Header.Get("Date") != "Thu, 01 Jan 1970 00:00:00 GMT" || resp.Header.Get("Server") != "s" ||
		resp.Header.Get("Content-Encoding") != "gzip" || body != "hi" || resp.ContentLength != 2 {
		t.Errorf("header %v, body %q", resp.Header, body)
	}
	if _, ok := resp.Header["Content-Type"]; ok {
		t.Errorf("a content type was guessed: %q", resp.Header["Content-Type"])
	}
}

func TestResponsesWithoutBodyKeepTheirFields(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		switch r.URL.Path {
		case "/head":
			w.Header().Set("Content-Length", "1234")
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		}
	})})
	for path, status := range map[string]int{"/head": 200, "/204": 204, "/304": 304} {
		method := "GET"
		if path == "/head" {
			method = "HEAD"
		}
		r, _ := http.NewRequest(method, l.front.URL+path, nil)
		resp, body := l.do(r)
		if resp.StatusCode != status || body != "" || resp.Header.Get("ETag") != `"x"` {
			t.Errorf("%s: status %d, body %q, header %v", path, resp.StatusCode, body, resp.Header)
		}
		if path == "/head" && resp.ContentLength != 1234 {
			t.Errorf("HEAD tells a length of %d", resp.ContentLength)
		}
	}
}

func TestTLSIsToldToTheBackendAndTheLog(t *testing.T) {
	l, got := echoHead(t, func(_ *Options, s *httptest.Server) { s.TLS = testTLS() })
	resp, err := l.front.Client().Get(l.front.URL)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if h := (<-got).Header; h.Get("X-Forwarded-Proto") != "https" || !strings.HasSuffix(h.Get("Forwarded"), "proto=https") {
		t.Errorf("header %v", h)
	}
	if r := l.records(1)[0]; r.TLS != "TLS 1.3" {
		t.Errorf("logged TLS %q", r.TLS)
	}
}

func TestForwardingFieldsCannotBeDisguised(t *testing.T) {
	got := make(chan http.Header, 1)
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) { got <- r.Header })})
	_, r := l.dial("GET / HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_PROTO: 6.6.6.6\r\nX_Real-IP: 6.6.6.6\r\n" +
		"X-Forwarded-Ssl: 6.6.6.6\r\nX-Forwarded-Scheme: 6.6.6.6\r\nX_Mine: kept\r\n\r\n")
	if _, err := readHead(r); err != nil {
		t.Fatal(err)
	}
	h := <-got
	for name, values := range h {
		if slices.Contains(values, "6.6.6.6") {
			t.Errorf("the backend got %s", name)
		}
	}
	if h.Get("X_Mine") != "kept" {
		t.Errorf("a field of the client's own is lost: %v", h)
	}
}
