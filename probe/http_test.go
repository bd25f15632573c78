package probe

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTheRequestIsAsTheOptionsSay(t *testing.T) {
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r }))
	defer s.Close()
	target := to(s.URL, "/live")
	target.Options.Method, target.Options.Host = "HEAD", "health.example.com"
	target.Options.Headers = "x-token: a: b \n\nUser-Agent: me\n"
	if err := once(t, target); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.Method != "HEAD" || r.Host != "health.example.com" || r.Header.Get("X-Token") != "a: b" || r.UserAgent() != "me" || len(r.Header["User-Agent"]) != 1 {
		t.Errorf("asked %s %s of %s with %v", r.Method, r.RequestURI, r.Host, r.Header)
	}
	if target.conn == nil {
		t.Error("the connection was not kept after HEAD")
	}
}

func TestStatusesAreWhatIsAskedFor(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(map[string]int{"/200": 200, "/401": 401, "/404": 404, "/408": 408}[r.URL.Path])
	}))
	defer s.Close()
	for path, want := range map[string]string{"/401": "", "/404": "", "/408": "", "/200": "status 200, want 401, 404–410"} {
		target := to(s.URL, path)
		target.Options.Statuses = "401, 404-410"
		for range 2 { // 408 on a reused connection included
			if err := onceWith(t, &checker{dial: new(net.Dialer).DialContext}, target); want == "" && err != nil {
				t.Errorf("%s: %v", path, err)
			} else if want != "" {
				wantErr(t, err, want)
			}
		}
	}
}

func TestTheBodyMustHoldWhatIsAskedFor(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			io.WriteString(w, strings.Repeat("x", maxBody-2)+"ready")
			return
		}
		io.WriteString(w, `{"status": "ready", "lag": 12}`)
	}))
	defer s.Close()
	for _, c := range []struct{ path, body, regexp, want string }{
		{"/", `"ready"`, "", ""},
		{"/", "", `"lag": \d+\b`, ""},
		{"/", "status", "ready", ""},
		{"/", "warming", "", `the response's body does not hold "warming"`},
		{"/", "", `"lag": \d\b`, `the response's body does not match "\"lag\": \\d\\b"`},
		{"/long", "xx", "", ""},
		{"/long", "ready", "", `does not hold "ready"`}, // it lies beyond what is read
	} {
		target := to(s.URL, c.path)
		target.Options.Body, target.Options.BodyRegexp = c.body, c.regexp
		if err := once(t, target); c.want == "" && err != nil {
			t.Errorf("%+v: %v", c, err)
		} else if c.want != "" {
			wantErr(t, err, c.want)
		}
	}
}

func TestAnotherPortAndSchemeAreProbedUnderTheirOwnName(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	target := to("http://127.0.0.1:1", "/")
	target.Options.Port, target.Options.Scheme = s.Listener.Addr().(*net.TCPAddr).Port, "https"
	target.TLS = TLS{InsecureSkipVerify: true}
	if err := once(t, target); err != nil {
		t.Error(err)
	}
	target = to("http://127.0.0.1:1", "/")
	target.Options.Port, target.Options.Scheme = 2, "https"
	wantErr(t, once(t, target), "GET https://127.0.0.1:2/: connection refused")
	target.Options.Type = TCP
	wantErr(t, once(t, target), "connect 127.0.0.1:2: connection refused")
}

func TestOptionsThatMakeNoRequestAreFailuresWithTheirReason(t *testing.T) {
	for want, o := range map[string]Options{
		"holds the byte 0x0d":            {Path: "/a\r\nX: y"},
		`the probe's method "G T" is no`: {Method: "G T"},
		"the probe's host":               {Host: "a b"},
		"Host is set by host":            {Headers: "host: x"},
		"Content-Length is the probe's":  {Headers: "Content-Length: 5"},
		"X-A is named twice":             {Headers: "X-A: 1\nx-a: 2"},
		"is written Name: value":         {Headers: "secret"},
		`"a b" is no name`:               {Headers: "a b: c"},
		"no status from 200 to 599":      {Statuses: "100-200"},
		"no range such as":               {Statuses: "300-200"},
		"the pattern for the probe's":    {BodyRegexp: "("},
	} {
		target := to("http://127.0.0.1:1", "/")
		o.Interval, o.Timeout = time.Second, time.Second
		target.Options = o
		wantErr(t, once(t, target), want)
	}
}

func TestParseStatusesGivesANormalForm(t *testing.T) {
	got, err := ParseStatuses(" 200 -299,401 ")
	if err != nil || got != "200-299, 401" {
		t.Errorf("got %q, %v", got, err)
	}
}
