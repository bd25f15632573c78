package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/routing"
)

func TestWhatMayBeRetried(t *testing.T) {
	methods := []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "LOCK", "get"}
	for k := range kindCount {
		for i, method := range methods {
			repeatable := i < 6
			for _, sent := range []bool{false, true} {
				for _, whole := range []bool{false, true} {
					failed := k == backendRefused || k == connectTimeout || k == backendTLS || k == backendReset ||
						k == backendMalformed || k == headTimeout || k == unwanted
					want := failed && whole && (repeatable || !sent)
					if got := mayRetry(k, method, sent, whole); got != want {
						t.Errorf("%v of %s, sent %v, whole %v: %v, want %v", k, method, sent, whole, got, want)
					}
				}
			}
		}
	}
}

func TestRetries(t *testing.T) {
	stream := func() io.Reader { return struct{ io.Reader }{strings.NewReader("body")} }
	for _, c := range []struct {
		name    string
		first   func(t testing.TB) string
		method  string
		body    io.Reader
		max     int
		status  int
		retries uint64
	}{
		{"GET after a refusal", refuses, "GET", nil, 1, 200, 1},
		{"GET after a reset", resets, "GET", nil, 1, 200, 1},
		{"GET after garbage", func(t testing.TB) string { return replies(t, "garbage\r\n\r\n") }, "GET", nil, 1, 200, 1},
		{"DELETE after a reset", resets, "DELETE", nil, 1, 200, 1},
		{"POST without a body after a reset", resets, "POST", nil, 1, 502, 0},
		{"POST without a body after a refusal", refuses, "POST", nil, 1, 200, 1},
		{"POST with a body after a refusal", refuses, "POST", stream(), 1, 200, 1},
		{"PUT with a body after a refusal", refuses, "PUT", stream(), 1, 200, 1},
		{"PUT with a body after a reset", resets, "PUT", stream(), 1, 502, 0},
		{"GET without retries", refuses, "GET", nil, 0, 502, 0},
		{"GET after a 503", func(t testing.TB) string {
			return replies(t, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
		}, "GET", nil, 1, 503, 0},
		{"GET after a 103 and a reset", func(t testing.TB) string {
			return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
			})
		}, "GET", nil, 1, 502, 0},
		{"GET after a head that no body followed", func(t testing.TB) string {
			return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			})
		}, "GET", nil, 1, 200, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := defaultPolicy()
			p.Retry.MaxRetries = c.max
			l := newLab(t, p)
			l.proxy.headDelay = time.Minute // a slow machine must not make a head too late
			bodies := make(chan string, 1)
			l.announce("web", []string{c.first(t), httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				bodies <- string(b)
			})})
			// The first pick of round-robin is the first backend.
			r, err := http.NewRequest(c.method, l.front.URL, c.body)
			if err != nil {
				t.Fatal(err)
			}
			resp, _ := l.do(r)
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d", resp.StatusCode, c.status)
			}
			if c.status == 200 {
				if b := <-bodies; c.body != nil && b != "body" {
					t.Errorf("the second backend read %q", b)
				}
			}
			svc := l.service("web")
			if n := svc.Runtime.Stats.Read().Retries; n != c.retries {
				t.Errorf("the service counts %d retries, want %d", n, c.retries)
			}
			if n := svc.Backends[0].State.Stats.Read().Retries; n != c.retries {
				t.Errorf("the backend counts %d retries, want %d", n, c.retries)
			}
			if r := l.records(1)[0]; r.Attempts != 1+int(c.retries) {
				t.Errorf("logged %d attempts", r.Attempts)
			}
			l.settled()
		})
	}
}

func TestRetriesGoToBackendsNotTriedYet(t *testing.T) {
	p := defaultPolicy()
	p.Retry = routing.Retry{MaxRetries: 3, InitialInterval: time.Millisecond}
	l := newLab(t, p)
	l.announce("web", []string{resets(t), resets(t), resets(t), resets(t)})
	if resp, _ := l.get("/"); resp.StatusCode != 502 {
		t.Errorf("status %d", resp.StatusCode)
	}
	for _, b := range l.service("web").Backends {
		if n := b.State.Stats.Read().Codes[0]; n != 1 {
			t.Errorf("%s was tried %d times, want once", b.ID, n)
		}
	}
}

func TestOnlyBackendIsTriedAgain(t *testing.T) {
	l := newLab(t, defaultPolicy())
	var asked atomic.Int64
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		readHead(r)
		if asked.Add(1) == 3 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})})
	if resp, _ := l.get("/"); resp.StatusCode != 200 || asked.Load() != 3 {
		t.Errorf("status %d after %d attempts", resp.StatusCode, asked.Load())
	}
}

func TestBreakerThatOpensMeanwhileEndsRetries(t *testing.T) {
	p := defaultPolicy()
	p.Retry.MaxRetries = 5
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}
	l := newLab(t, p)
	l.announce("web", []string{resets(t), resets(t)})
	if resp, _ := l.get("/"); resp.StatusCode != 502 {
		t.Errorf("status %d, want that of the last attempt", resp.StatusCode)
	}
	if r := l.records(1)[0]; r.Attempts != 2 {
		t.Errorf("%d attempts, want 2: both breakers are open then", r.Attempts)
	}
	waitFor(t, "the ready set to be empty", func() bool { return len(l.service("web").Runtime.Ready().Backends) == 0 })
	if resp, _ := l.get("/"); resp.StatusCode != 503 {
		t.Errorf("status %d, want 503", resp.StatusCode)
	}
}

func TestBudgetEndsRetries(t *testing.T) {
	p := defaultPolicy()
	p.Retry = routing.Retry{MaxRetries: 1, Budget: 0.1}
	l := newLab(t, p)
	l.announce("web", []string{resets(t), resets(t)})
	for range 150 {
		l.get("/")
	}
	// Ten seconds' floor is 100, and a tenth of the exchanges comes on top; a run longer than that is allowed more.
	if n := l.service("web").Runtime.Stats.Read().Retries; n < 100 || n > 125 {
		t.Errorf("%d retries of 150 exchanges", n)
	}
}

func TestRetryWaits(t *testing.T) {
	r := &routing.Retry{InitialInterval: 50 * time.Millisecond, MaxInterval: 300 * time.Millisecond, Multiplier: 2, Randomization: 0.5}
	for n, whole := range map[int]time.Duration{1: 50, 2: 100, 3: 200, 4: 300, 50: 300} {
		whole *= time.Millisecond
		for range 50 {
			if d := retryWait(r, n); d < whole/2 || d > whole*3/2 {
				t.Fatalf("wait %d is %v, want %v to %v", n, d, whole/2, whole*3/2)
			}
		}
	}
	if d := retryWait(&routing.Retry{InitialInterval: time.Second}, 1000); d != time.Second {
		t.Errorf("without multiplier and bound: %v, want 1s", d)
	}
	if d := retryWait(&routing.Retry{InitialInterval: time.Second, Multiplier: 10}, 1000); d != time.Hour {
		t.Errorf("without bound: %v, want 1h", d)
	}
}

func TestBudgetIsAShareOverTenSecondsAndAFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take := func(b *budget, share float64) (n int) {
			for b.retry(time.Now(), share) {
				n++
			}
			return n
		}
		var b budget
		if n := take(&b, 0.2); n != 100 {
			t.Errorf("%d retries without exchanges, want the floor of 100", n)
		}
		for range 1000 {
			b.exchange(time.Now())
		}
		if n := take(&b, 0.2); n != 200 {
			t.Errorf("%d more after 1000 exchanges, want 200", n)
		}
		time.Sleep(9 * time.Second)
		if n := take(&b, 0.2); n != 0 {
			t.Errorf("%d more after 9 s, want none", n)
		}
		time.Sleep(time.Second)
		if n := take(&b, 0.2); n != 100 {
			t.Errorf("%d after 10 s, want the floor again", n)
		}
		time.Sleep(time.Hour)
		for range 10 {
			b.exchange(time.Now())
			time.Sleep(time.Second)
		}
		if n := take(&b, 1); n != 109 {
			t.Errorf("%d, want the floor and what 9 of the last 10 seconds held", n)
		}
	})
}
