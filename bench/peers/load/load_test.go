//go:build linux

package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers; its address is what a spec takes.
func server(t *testing.T, secure bool, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func hello(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "hello")
}

// run obeys a spec. On a machine that is busy with other things it takes longer, until something was answered.
func run(t *testing.T, s Spec) Result {
	t.Helper()
	s.Method, s.Path = orElse(s.Method, "GET"), orElse(s.Path, "/")
	s.Proxy = []int{os.Getpid()}
	for s.Duration = 150 * time.Millisecond; ; s.Duration *= 4 {
		res := runOnce(t, s)
		if res.Requests > 0 || len(res.Errors) > 0 || s.Duration > 5*time.Second {
			return res
		}
	}
}

func runOnce(t *testing.T, s Spec) Result {
	t.Helper()
	in, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Run(bytes.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	var res Result
	if err := json.NewDecoder(&out).Decode(&res); err != nil {
		t.Fatal(err)
	}
	return res
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func TestEveryKindOfLoadIsAnsweredAndCounted(t *testing.T) {
	for _, c := range []struct {
		name string
		spec Spec
	}{
		{"closed loop", Spec{Kind: Loop, Conns: 4}},
		{"closed loop with a small body", Spec{Kind: Loop, Conns: 2, Method: "POST", Body: 1 << 10}},
		{"closed loop with a large body", Spec{Kind: Loop, Conns: 2, Method: "POST", Body: 3 << 20}},
		{"closed loop in TLS", Spec{Kind: Loop, Conns: 4, TLS: true}},
		{"connections", Spec{Kind: Connect, Conns: 4}},
		{"connections in TLS", Spec{Kind: Connect, Conns: 4, TLS: true}},
		{"held connections", Spec{Kind: Hold, Conns: 50}},
		{"held connections in TLS", Spec{Kind: Hold, Conns: 50, TLS: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var served atomic.Int64
			c.spec.Addr = server(t, c.spec.TLS, func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				if int(n) != c.spec.Body {
					w.WriteHeader(http.StatusBadRequest)
				}
				served.Add(1)
				hello(w, r)
			})
			res := run(t, c.spec)
			if len(res.Errors) > 0 || res.Requests == 0 || res.Requests > served.Load() {
				t.Fatalf("%+v, %d served", res, served.Load())
			}
			if res.CPU.Total <= 0 || res.Elapsed <= 0 {
				t.Errorf("without CPU or time: %+v", res)
			}
			if c.spec.Kind != Hold && (res.P50 <= 0 || res.P99 < res.P50) {
				t.Errorf("latencies %v, %v", res.P50, res.P99)
			}
			if c.spec.Kind == Hold && res.Requests != int64(c.spec.Conns) {
				t.Errorf("%d connections are held", res.Requests)
			}
		})
	}
}

func TestLargeAnswersAreReadToTheirEnd(t *testing.T) {
	for _, secure := range []bool{false, true} {
		large := strings.Repeat("x", 300<<10)
		addr := server(t, secure, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = io.WriteString(w, large)
		})
		if res := run(t, Spec{Kind: Loop, Addr: addr, Conns: 2, TLS: secure}); len(res.Errors) > 0 || res.Requests == 0 {
			t.Errorf("TLS %v: %+v", secure, res)
		}
	}
}

func TestAnOpenLoopKeepsItsRate(t *testing.T) {
	addr := server(t, false, hello)
	res := run(t, Spec{Kind: Loop, Addr: addr, Conns: 8, Rate: 200})
	if len(res.Errors) > 0 || res.Requests != 30 {
		t.Errorf("200 a second over 150 ms: %+v", res)
	}
}

func TestAnOpenLoopChargesAStallToEveryRequestThatWasDue(t *testing.T) {
	var first atomic.Bool
	addr := server(t, false, func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			time.Sleep(100 * time.Millisecond) // the fault itself
		}
		hello(w, r)
	})
	res := run(t, Spec{Kind: Loop, Addr: addr, Conns: 1, Rate: 100})
	// 15 are due in 150 ms, 10 of them within the stall: the middle one of all waits for some 30 ms.
	if len(res.Errors) > 0 || res.P50 < 10*time.Millisecond {
		t.Errorf("%+v", res)
	}
}

func TestASessionSendsItsCookieBack(t *testing.T) {
	var fresh, known atomic.Int64
	addr := server(t, false, func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("id"); err == nil && c.Value == "42" {
			known.Add(1)
		} else {
			fresh.Add(1)
			http.SetCookie(w, &http.Cookie{Name: "id", Value: "42", Path: "/", HttpOnly: true})
		}
		hello(w, r)
	})
	res := run(t, Spec{Kind: Loop, Addr: addr, Conns: 3, Session: true})
	if fresh.Load() != 3 || known.Load() == 0 || len(res.Errors) > 0 {
		t.Errorf("%d without, %d with a cookie, %+v", fresh.Load(), known.Load(), res)
	}
}

func TestOtherStatusesAreErrors(t *testing.T) {
	addr := server(t, false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	for _, kind := range []Kind{Loop, Connect, Hold} {
		res := run(t, Spec{Kind: kind, Addr: addr, Conns: 2})
		if res.Errors["status 502"] == 0 || res.Requests != 0 {
			t.Errorf("%s: %+v", kind, res)
		}
	}
}

// raw answers each request with bytes as they stand, and then closes.
func raw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, answer)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	for answer, want := range map[string]string{
		"":                               "closed by the proxy",
		"HTTP/1.1 200 OK\r\nContent-Len": "closed by the proxy",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort": "closed by the proxy",
		"HTTP/1.1 200 OK\r\n\r\nhello":                       "no Content-Length",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhello":  "more than the answer",
		strings.Repeat("x", 20<<10):                          "head too large",
	} {
		res := run(t, Spec{Kind: Loop, Addr: raw(t, answer), Conns: 1})
		if res.Errors[want] == 0 || res.Requests != 0 {
			t.Errorf("%.40q: %+v, want errors of %q", answer, res, want)
		}
	}
}

func TestHeldConnectionsThatTheProxyClosesAreTold(t *testing.T) {
	// Connections are held over an input that ends once the server has closed them.
	s := httptest.NewServer(http.HandlerFunc(hello))
	in, feed := io.Pipe()
	out, results := io.Pipe()
	failed := make(chan error, 1)
	go func() { failed <- Run(in, results) }()
	spec := Spec{Kind: Hold, Addr: s.Listener.Addr().String(), Method: "GET", Path: "/", Conns: 5, Proxy: []int{os.Getpid()}}
	if err := json.NewEncoder(feed).Encode(spec); err != nil {
		t.Fatal(err)
	}
	read := json.NewDecoder(out)
	var first, last Result
	if err := read.Decode(&first); err != nil {
		t.Fatal(err)
	}
	s.Close()
	feed.Close()
	if err := read.Decode(&last); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if first.Requests != 5 || len(first.Errors) > 0 || last.Errors["closed while idle"] != 5 {
		t.Errorf("at first %+v, at last %+v", first, last)
	}
}

func TestASpecThatCannotBeObeyedIsAnError(t *testing.T) {
	for spec, want := range map[string]string{
		`{"Kind":"dance"}`:                    "unknown kind",
		`{`:                                   "read what to do",
		`{"Kind":"loop","TLS":true,"Body":1}`: "closed loop without bodies",
		`{"Kind":"loop","Conns":1,"Addr":"localhost:80"}`:            "not an IPv4 address",
		`{"Kind":"loop","Conns":0,"Addr":"127.0.0.1:1","Proxy":[0]}`: "process 0",
	} {
		err := Run(strings.NewReader(spec), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", spec, err, want)
		}
	}
}
