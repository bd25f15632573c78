package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
)

// keeper is a client's side that keeps what it was to write and fails, as HTTP/2's does when its stream ends meanwhile.
type keeper struct {
	*httptest.ResponseRecorder
	kept []byte
}

func (k *keeper) Write(p []byte) (int, error) {
	k.kept = p
	return 0, errors.New("the stream has ended")
}

func TestNoBufferIsUsedAgainThatAFailedWriteMayStillRead(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat(r.URL.Path[1:], 1000))
	})})
	var all []*keeper
	for range 20 {
		k := &keeper{ResponseRecorder: httptest.NewRecorder()}
		func() {
			defer func() {
				if recover() != http.ErrAbortHandler {
					t.Error("the failed response was not aborted")
				}
			}()
			r := httptest.NewRequest("GET", "/a", nil)
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
			l.proxy.ServeHTTP(k, r)
		}()
		all = append(all, k)
		l.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/b", nil))
	}
	for _, k := range all {
		if len(k.kept) == 0 || bytes.Contains(k.kept, []byte("b")) {
			t.Fatalf("a client that was to get %d bytes of a gets another client's", len(k.kept))
		}
	}
}

// deadlines counts what is done to the client's connection.
type deadlines struct {
	*httptest.ResponseRecorder
	n int
}

func (d *deadlines) SetReadDeadline(time.Time) error { d.n++; return nil }

func TestAnEndedExchangeLeavesTheClientsConnectionAlone(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	in, out := io.Pipe()
	defer out.Close()
	c := newCall(w, httptest.NewRequest("POST", "/", in))
	var read sync.WaitGroup
	read.Go(func() { c.Read(make([]byte, 1)) })
	waitFor(t, "the body to be read", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.reading
	})
	c.interrupt()
	if w.n != 1 {
		t.Fatalf("%d deadlines for a body that is waited for, want 1", w.n)
	}
	c.end()
	c.interrupt() // the connection to the backend is closed a moment later
	if w.n != 1 {
		t.Error("the client's connection was used after the exchange had ended")
	}
	out.Close()
	read.Wait()
}

func TestASwitchBeforeTheRequestIsCompleteIsRefused(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.proxy.unreadGrace = 20 * time.Millisecond
	l.announce("web", []string{replies(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")})
	_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 1000\r\n\r\nonly some")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 502 || !resp.Close {
		t.Fatalf("%v, %v; want 502 and the connection's end", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on: %v", err)
	}
	l.settled()
}

func TestAnAnswerWaitsForAStalledBodyOnlySoLong(t *testing.T) {
	for _, framing := range []string{"Content-Length: 10", "Content-Length: 10000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			l := newLab(t, defaultPolicy())
			l.proxy.unreadGrace = 20 * time.Millisecond
			_, r := l.dial("POST / HTTP/1.1\r\nHost: x\r\n" + framing + "\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 404 && resp.StatusCode != 503 {
				t.Fatalf("%v, %v", resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("what follows is %v, want the connection's end", err)
			}
		})
	}
}

func TestAnsweredRequestsWhoseBodyCameKeepTheConnection(t *testing.T) {
	l := newLab(t, defaultPolicy())
	c, r := l.dial("")
	for range 3 {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.Close {
			t.Fatalf("%v, %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

func TestA204HasNoLength(t *testing.T) {
	for status, want := range map[int]string{200: "5", 204: "", 304: "5"} {
		h := http.Header{"Content-Length": {"5"}}
		if forwardResponse(h, status); h.Get("Content-Length") != want {
			t.Errorf("a %d has length %q, want %q", status, h.Get("Content-Length"), want)
		}
	}
}

func TestInformationalResponsesHaveAnEnd(t *testing.T) {
	interim := "HTTP/1.1 102 Processing\r\nContent-Length: 3\r\n\r\n"
	if byEngine { // which refuses such a length
		interim = "HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n"
	}
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		for {
			if _, err := io.WriteString(c, interim); err != nil {
				return
			}
		}
	})})
	_, r := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	for n := 0; ; n++ {
		head, err := readHead(r)
		switch {
		case err != nil:
			t.Fatal(err)
		case strings.Contains(head, "Length") && strings.Contains(head, " 102 "):
			t.Fatalf("passed on %q", head)
		case strings.HasPrefix(head, "HTTP/1.1 102"):
			continue
		case !strings.HasPrefix(head, "HTTP/1.1 502") || n != maxInformational:
			t.Errorf("after %d: %q", n, head)
		}
		return
	}
}

func TestAStreamThatOutlivesItsTrialHoldsNoSlot(t *testing.T) {
	p := defaultPolicy()
	p.Retry.MaxRetries = 0
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: 200 * time.Millisecond, HalfOpenLimit: 2}
	l := newLab(t, p)
	asked, answer, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
	defer close(end)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(500)
			return
		}
		asked <- struct{}{}
		<-answer
		w.(http.Flusher).Flush()
		<-end
	})})
	b := l.service("web").Backends[0].State.Breaker
	l.get("/fail")
	ready := func() bool {
		return b.State(time.Now()) == breaker.HalfOpen && l.service("web").Runtime.Ready().Pick(balance.Query{}) != nil
	}
	waitFor(t, "the breaker to be half-open", ready)
	_, r := l.dial("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n") // a trial
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatal("the trial was refused")
	}
	l.get("/fail") // another one, which opens the breaker
	close(answer)
	if _, err := readHead(r); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the breaker to be half-open again", ready)
	now := time.Now()
	for i := range 2 {
		if _, ok := b.Allow(now); !ok {
			t.Errorf("trial %d is refused, though no other is under way", i)
		}
	}
}
