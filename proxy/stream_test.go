package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

func TestEventsComeAsTheyAreSent(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			next := make(chan string)
			l := newLab(t, defaultPolicy(), func(_ *Options, s *httptest.Server) {
				if proto == "HTTP/2.0" {
					s.EnableHTTP2, s.TLS = true, testTLS()
				}
			})
			l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.(http.Flusher).Flush()
				for e := range next {
					fmt.Fprintf(w, "data: %s\n\n", e)
					w.(http.Flusher).Flush()
				}
			})})
			resp, err := l.front.Client().Get(l.front.URL) // returns although there is no event yet
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.Proto != proto {
				t.Fatalf("spoke %s", resp.Proto)
			}
			r := bufio.NewReader(resp.Body)
			for i := range 5 {
				next <- fmt.Sprint(i)
				line, err := r.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
					t.Fatalf("read %q, %v, want %q", line, err, want)
				}
				r.ReadString('\n')
			}
			close(next)
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("the end is %v", err)
			}
		})
	}
}

func TestPartOfABodyOfKnownLengthIsNotHeldBack(t *testing.T) {
	goOn := make(chan struct{})
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
		<-goOn
		io.WriteString(c, "half")
		<-goOn
		io.WriteString(c, "rest")
	})})
	resp, err := l.front.Client().Get(l.front.URL) // the head alone
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	goOn <- struct{}{}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "half" {
		t.Fatalf("read %q, %v", buf, err)
	}
	goOn <- struct{}{}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "rest" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestRequestBodyStreamsWhileTheResponseDoes(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				w.Write([]byte(strings.ToUpper(string(buf[:n]))))
				w.(http.Flusher).Flush()
			}
			if err != nil {
				return
			}
		}
	})})
	out, in := io.Pipe()
	req, _ := http.NewRequest("POST", l.front.URL, out)
	go io.WriteString(in, "a")
	resp, err := l.front.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 1)
	for i, s := range []string{"a", "b", "c"} {
		if i > 0 {
			io.WriteString(in, s)
		}
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != strings.ToUpper(s) {
			t.Fatalf("sent %q, read %q, %v", s, buf, err)
		}
	}
	in.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 {
		t.Errorf("the end: %q, %v", b, err)
	}
	if r := l.records(1)[0]; r.BytesIn != 3 || r.BytesOut != 3 {
		t.Errorf("logged %d bytes in and %d out, want 3 and 3", r.BytesIn, r.BytesOut)
	}
}

func TestEarlyResponseDoesNotWaitForTheBody(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nbig\n")
		io.Copy(io.Discard, r)
	})})
	_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly some")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("%v, %v", resp, err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "big\n" {
		t.Errorf("read %q, %v", b, err)
	}
	if !resp.Close {
		t.Error("the connection is said to go on, though the request never ended")
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
	l.records(1)
	l.settled()
}

func TestTrailersPassBothWays(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, announced := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s announced %v", proto, announced), func(t *testing.T) {
				l := newLab(t, defaultPolicy(), func(_ *Options, s *httptest.Server) {
					if proto == "HTTP/2.0" {
						s.EnableHTTP2, s.TLS = true, testTLS()
					}
				})
				got := make(chan http.Header, 1)
				l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					got <- r.Trailer
					name := "X-Sum"
					if announced {
						w.Header().Set("Trailer", name)
					} else {
						name = http.TrailerPrefix + name
					}
					io.WriteString(w, "hi")
					w.(http.Flusher).Flush()
					w.Header().Set(name, "42")
				})})
				r, _ := http.NewRequest("POST", l.front.URL, struct{ io.Reader }{strings.NewReader("body")})
				r.Trailer = http.Header{"X-Check": {"7"}}
				resp, body := l.do(r)
				if body != "hi" || resp.Trailer.Get("X-Sum") != "42" {
					t.Errorf("body %q, trailer %v", body, resp.Trailer)
				}
				if tr := <-got; tr.Get("X-Check") != "7" {
					t.Errorf("the backend got trailer %v", tr)
				}
			})
		}
	}
}

func TestUnannouncedTrailersOfARequestPass(t *testing.T) {
	got := make(chan http.Header, 1)
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	})})
	l.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Check: 7\r\n\r\n")
	if tr := <-got; tr.Get("X-Check") != "7" {
		t.Errorf("the backend got trailer %v", tr)
	}
}

func TestInformationalResponsesPass(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			l := newLab(t, defaultPolicy(), func(_ *Options, s *httptest.Server) {
				if proto == "HTTP/2.0" {
					s.EnableHTTP2, s.TLS = true, testTLS()
				}
			})
			l.announce("web", []string{replies(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n"+
				"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")})
			var links []string
			r, _ := http.NewRequest("GET", l.front.URL, nil)
			r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					links = append(links, fmt.Sprint(code, h.Get("Link"), h.Get("Connection")))
					return nil
				},
			}))
			resp, body := l.do(r)
			if strings.Join(links, " ") != "103</a> 103</b>" || body != "ok" || resp.Header.Get("Link") != "" {
				t.Errorf("got %q, then %q with %v", links, body, resp.Header)
			}
		})
	}
}

func TestHTTP10ClientsGetNoInformationalResponse(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{replies(t, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")})
	_, r := l.dial("GET / HTTP/1.0\r\n\r\n")
	if line, _ := r.ReadString('\n'); !strings.Contains(line, " 200 ") {
		t.Errorf("got %q", line)
	}
}

func TestBodyThatAwaitsContinueIsSentWhenTheBackendAsks(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // has net/http send 100
		w.Write(b)
	})})
	c, r := l.dial("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
	line, _ := r.ReadString('\n')
	if !strings.Contains(line, " 100 ") {
		t.Fatalf("got %q, want 100", line)
	}
	r.ReadString('\n')
	io.WriteString(c, "body")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != "body" {
		t.Errorf("status %d, body %q", resp.StatusCode, b)
	}
}

func TestBodyThatAwaitsContinueIsNotSentWhenTheBackendRefuses(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) })})
	_, r := l.dial("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
	if line, _ := r.ReadString('\n'); !strings.Contains(line, " 401 ") {
		t.Errorf("got %q, want 401 and no 100", line)
	}
}

func TestClientsBrokenBodyIsItsOwnFault(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) { io.ReadAll(r.Body) })})
	_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
	if line, _ := r.ReadString('\n'); !strings.Contains(line, " 400 ") {
		t.Errorf("a bad chunk: got %q, want 400", line)
	}
	c, _ := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
	c.CloseWrite()
	all := l.records(2)
	if all[0].Error != "bad-request" || all[1].Error != "client-gone" {
		t.Errorf("logged %q and %q", all[0].Error, all[1].Error)
	}
	if n := l.service("web").Backends[0].State.Stats.Read().Codes[0]; n != 0 {
		t.Errorf("the backend is blamed for %d", n)
	}
}

func TestBodyBeyondTheServersLimitIs413(t *testing.T) {
	l := newLab(t, defaultPolicy(), func(_ *Options, s *httptest.Server) {})
	limited := http.MaxBytesHandler(l.proxy, 10)
	front := httptest.NewServer(limited)
	defer front.Close()
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) { io.ReadAll(r.Body) })})
	resp, err := http.Post(front.URL, "text/plain", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 100))})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != 413 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestSlowBodyBeyondTheExchangesTimeIs408(t *testing.T) {
	p := defaultPolicy()
	p.Timeouts.Exchange = 100 * time.Millisecond
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) { io.ReadAll(r.Body) })})
	_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
	if line, _ := r.ReadString('\n'); !strings.Contains(line, " 408 ") {
		t.Errorf("got %q", line)
	}
	l.settled()
}

func TestBackendThatBreaksOffEndsAStalledUpload(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		l := newLab(t, defaultPolicy(), func(_ *Options, s *httptest.Server) {
			if scheme == "https" {
				s.EnableHTTP2, s.TLS = true, testTLS()
			}
		})
		l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			readHead(r)
			r.ReadByte()
			c.SetLinger(0)
		})})
		var resp *http.Response
		if scheme == "http" {
			_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
			var err error
			if resp, err = http.ReadResponse(r, nil); err != nil {
				t.Fatal(err)
			}
		} else {
			out, in := io.Pipe()
			defer in.Close()
			req, _ := http.NewRequest("POST", l.front.URL, out)
			go in.Write([]byte("abc")) // and nothing more
			resp, _ = l.do(req)
		}
		if resp.StatusCode != 502 {
			t.Errorf("%s: status %d, want 502", resp.Proto, resp.StatusCode)
		}
		if r := l.records(1)[0]; r.Error != "reset" {
			t.Errorf("logged %q", r.Error)
		}
		l.settled()
	}
}

func TestLargeBodiesPassWhole(t *testing.T) {
	const size = 20 << 20
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		l := newLab(t, defaultPolicy(), func(_ *Options, s *httptest.Server) {
			if proto == "HTTP/2.0" {
				s.EnableHTTP2, s.TLS = true, &tls.Config{}
			}
		})
		l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			io.CopyN(w, zeros{}, n)
		})})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		r, _ := http.NewRequestWithContext(ctx, "POST", l.front.URL, io.LimitReader(zeros{}, size))
		resp, err := l.front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Errorf("%s: read %d bytes, %v", proto, n, err)
		}
		resp.Body.Close()
		cancel()
		if rec := l.records(1)[0]; rec.BytesIn != size || rec.BytesOut != size {
			t.Errorf("logged %d in, %d out", rec.BytesIn, rec.BytesOut)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
