package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

func patient(t routing.Timeouts) routing.Policy {
	p := defaultPolicy()
	t.Connect = 5 * time.Second
	p.Timeouts = t
	return p
}

// overHTTP2 has a lab's client speak HTTP/2.
func overHTTP2(_ *Options, s *httptest.Server) { s.EnableHTTP2, s.TLS = true, testTLS() }

// doors are labs for HTTP/1.1, by whichever door it has now, and for HTTP/2.
func doors(t *testing.T, p routing.Policy, f func(t *testing.T, l *lab)) {
	for name, change := range map[string][]func(*Options, *httptest.Server){"HTTP/1.1": nil, "HTTP/2": {overHTTP2}} {
		t.Run(name, func(t *testing.T) { f(t, newLab(t, p, change...)) })
	}
}

// struck waits until a bound has struck so often.
func (l *lab) struck(name string, n uint64) {
	l.t.Helper()
	waitFor(l.t, name+" to strike", func() bool { return l.proxy.Strikes()[name] == n })
}

func TestABackendThatFallsSilentWithinItsResponseIsGivenUp(t *testing.T) {
	doors(t, patient(routing.Timeouts{BackendIdle: 30 * time.Millisecond}), func(t *testing.T, l *lab) {
		gone := make(chan struct{})
		l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			readHead(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			r.ReadByte()
			close(gone)
		})})
		resp, err := l.front.Client().Get(l.front.URL)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" {
			t.Errorf("read %q, %v", b, err)
		}
		resp.Body.Close()
		<-gone
		if r := l.records(1)[0]; r.Error != "backend-idle" || r.Status != 200 {
			t.Errorf("logged %d %q", r.Status, r.Error)
		}
		l.struck("backend_idle", 1)
	})
}

func TestABackendThatSendsNowAndThenIsNotGivenUp(t *testing.T) {
	doors(t, patient(routing.Timeouts{BackendIdle: 2 * time.Second, ClientIdle: 50 * time.Millisecond}), func(t *testing.T, l *lab) {
		l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			for range 4 { // the client has nothing to take for longer than it may take nothing
				io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				time.Sleep(80 * time.Millisecond)
			}
		})})
		if _, body := l.get("/"); body != "xxxx" {
			t.Errorf("read %q", body)
		}
	})
}

func TestAClientThatStopsSendingItsBodyIsGivenUp(t *testing.T) {
	doors(t, patient(routing.Timeouts{ClientIdle: 50 * time.Millisecond}), func(t *testing.T, l *lab) {
		gone := make(chan struct{})
		l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			io.Copy(io.Discard, r)
			close(gone)
		})})
		if l.front.TLS == nil {
			_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nsome")
			if resp, _ := readAnswer(t, r); resp.StatusCode != 408 || !resp.Close {
				t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
			}
		} else {
			body, stop := io.Pipe()
			time.AfterFunc(time.Millisecond, func() { stop.Write([]byte("some")) })
			go func() {
				<-gone
				stop.Close() // the client itself would wait for the rest
			}()
			r, _ := http.NewRequest("POST", l.front.URL, body)
			if resp, err := l.front.Client().Do(r); err == nil {
				resp.Body.Close()
			}
		}
		<-gone
		if r := l.records(1)[0]; r.Error != "body-timeout" {
			t.Errorf("logged %q", r.Error)
		}
		l.struck("client_idle", 1)
	})
}

func TestAClientThatSendsItsBodySlowlyIsServed(t *testing.T) {
	doors(t, patient(routing.Timeouts{ClientIdle: 2 * time.Second, BackendIdle: 2 * time.Second}), func(t *testing.T, l *lab) {
		l.announce("web", []string{httpBackend(t, echoTarget)})
		body, send := io.Pipe()
		go func() {
			for range 5 {
				io.WriteString(send, "x")
				time.Sleep(20 * time.Millisecond)
			}
			send.Close()
		}()
		r, _ := http.NewRequest("POST", l.front.URL+"/", body)
		if resp, got := l.do(r); resp.StatusCode != 200 || got != "/ xxxxx" {
			t.Errorf("status %d, %q", resp.StatusCode, got)
		}
		if resp, _ := l.get("/"); resp.StatusCode != 200 { // no deadline is left behind
			t.Errorf("then: status %d", resp.StatusCode)
		}
	})
}

func TestABackendThatStopsTakingABodyIsGivenUp(t *testing.T) {
	t.Parallel()
	if !byEngine {
		t.Skip("net/http's transport writes by itself; timeouts.response_head and TCP_USER_TIMEOUT bound that")
	}
	l := newLab(t, patient(routing.Timeouts{BackendIdle: 100 * time.Millisecond}))
	hold := make(chan struct{})
	defer close(hold)
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		<-hold
	})})
	c, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n")
	go io.Copy(c, io.LimitReader(zeros{}, 64<<20)) // ends with the connection
	if resp, _ := readAnswer(t, r); resp.StatusCode != 504 || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	if r := l.records(1)[0]; r.Error != "backend-idle" {
		t.Errorf("logged %q", r.Error)
	}
}

func TestAClientThatTakesNothingOfItsResponseIsGivenUp(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}
	doors(t, patient(routing.Timeouts{ClientIdle: 200 * time.Millisecond}), func(t *testing.T, l *lab) {
		l.announce("web", []string{httpBackend(t, endless)})
		if l.front.TLS != nil {
			resp, err := l.front.Client().Get(l.front.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
		} else {
			l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		if r := l.records(1)[0]; r.Error != "client-idle" {
			t.Errorf("logged %q", r.Error)
		}
		l.struck("client_idle", 1)
	})
}

func TestATunnelThatNobodyUsesIsCut(t *testing.T) {
	l := newLab(t, patient(routing.Timeouts{TunnelIdle: 500 * time.Millisecond}))
	gone := make(chan struct{})
	l.announce("web", []string{switching(t, func(c *net.TCPConn, r *bufio.Reader) {
		io.Copy(c, r)
		close(gone)
	})})
	c, r := l.dial(upgradeEcho)
	readHead(r)
	for i := range 6 { // each side has something to say for longer than a tunnel may be silent
		io.WriteString(c, "x")
		if b, err := r.ReadByte(); err != nil || b != 'x' {
			t.Fatalf("byte %d: %v", i, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, err := r.ReadByte(); err == nil || isTimeout(err) {
		t.Errorf("the tunnel goes on: %v", err)
	}
	<-gone
	if rec := l.records(1)[0]; rec.Error != "tunnel-idle" || rec.BytesIn != 6 {
		t.Errorf("logged %q after %d bytes", rec.Error, rec.BytesIn)
	}
	l.struck("tunnel_idle", 1)
	l.settled()
}

func TestATunnelWhoseClientTakesNothingIsCut(t *testing.T) {
	t.Parallel()
	for name, half := range map[string]bool{"ended its sending": true, "sends": false} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, patient(routing.Timeouts{TunnelIdle: 100 * time.Millisecond}))
			l.announce("web", []string{switching(t, func(c *net.TCPConn, r *bufio.Reader) {
				io.Copy(c, zeros{}) // it takes nothing either
			})})
			c, r := l.dial(upgradeEcho)
			readHead(r)
			if half {
				c.CloseWrite()
			} else {
				io.Copy(c, zeros{}) // ends with the connection
			}
			if rec := l.records(1)[0]; rec.Error != "tunnel-idle" {
				t.Errorf("logged %q", rec.Error)
			}
			l.settled()
		})
	}
}

func TestATunnelThatOneSideUsesGoesOn(t *testing.T) {
	l := newLab(t, patient(routing.Timeouts{TunnelIdle: time.Second}))
	l.announce("web", []string{switching(t, func(c *net.TCPConn, r *bufio.Reader) {
		for range 20 {
			io.WriteString(c, "x")
			time.Sleep(100 * time.Millisecond)
		}
	})})
	_, r := l.dial(upgradeEcho)
	readHead(r)
	if b, err := io.ReadAll(r); err != nil || string(b) != strings.Repeat("x", 20) {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestADeadlineOfOneExchangeIsNotTheNextOnes(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLab(t, patient(routing.Timeouts{ClientIdle: time.Millisecond}))
	l.announce("web", []string{named(t, "ok")})
	_, addr := startEngine(t, l, EngineOptions{Local: func(_, path string) http.Handler {
		if path != "/local" {
			return nil
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "local") })
	}})
	c, r := dialTo(t, addr, "")
	for _, path := range []string{"/", "/local", "/"} {
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := readAnswer(t, r); resp.StatusCode != 200 || body == "" {
			t.Fatalf("%s: status %d, %q", path, resp.StatusCode, body)
		}
		time.Sleep(time.Second) // longer than any of its deadlines
	}
}

func TestARefusalLeavesNoDeadlineToTheNextConnection(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLab(t, patient(routing.Timeouts{}))
	large := strings.Repeat("x", 16<<20) // more than goes out without a wait
	_, addr := startEngine(t, l, EngineOptions{Local: func(string, string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, large) })
	}})
	const many = 4 // what connections work in is mostly used again, not always
	for range many {
		_, r := dialTo(t, addr, "GET / HTTP/1.1\r\nHost : x\r\n\r\n")
		if resp, _ := readAnswer(t, r); resp.StatusCode != 400 {
			t.Fatalf("status %d", resp.StatusCode)
		}
		io.Copy(io.Discard, r)
	}
	time.Sleep(2 * lingerTime)
	for range many {
		_, r := dialTo(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := readAnswer(t, r); resp.StatusCode != 200 || body != large {
			t.Fatalf("status %d, %d bytes", resp.StatusCode, len(body))
		}
	}
}
