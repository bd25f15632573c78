package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/routing"
)

func retrying(statuses ...int) routing.Policy {
	p := defaultPolicy()
	for _, s := range statuses {
		p.Retry.Statuses.Add(s)
	}
	return p
}

// answers is a backend that gives these answers, one after the other, and the last for ever.
func answers(t testing.TB, asked *atomic.Int64, all ...string) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			n := min(int(asked.Add(1)), len(all))
			if _, err := io.WriteString(c, all[n-1]); err != nil {
				return
			}
		}
	})
}

const (
	busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
	good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
)

func busyFor(wait string) string {
	return strings.Replace(busy, "\r\n", "\r\nRetry-After: "+wait+"\r\n", 1)
}

func TestResponsesThatThePolicyHasRetried(t *testing.T) {
	past, soon := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for name, c := range map[string]struct {
		method  string
		first   []string // of one backend
		second  []string // of another, if there is one
		status  int
		body    string
		retries uint64
	}{
		"a status that is named":               {"GET", []string{busy, good}, nil, 200, "good", 1},
		"one that is not":                      {"GET", []string{strings.Replace(busy, "503", "500", 1), good}, nil, 500, "busy", 0},
		"by a method that is not repeated":     {"POST", []string{busy, good}, nil, 503, "busy", 0},
		"on another backend":                   {"GET", []string{busy}, []string{good}, 200, "good", 1},
		"until there are no retries left":      {"GET", []string{busy}, nil, 503, "busy", 2},
		"with a wait that is within bounds":    {"GET", []string{busyFor("0"), good}, nil, 200, "good", 1},
		"with a date that has passed":          {"GET", []string{busyFor(past), good}, nil, 200, "good", 1},
		"with a wait beyond bounds":            {"GET", []string{busyFor("60"), good}, nil, 503, "busy", 0},
		"with a date beyond bounds":            {"GET", []string{busyFor(soon), good}, nil, 503, "busy", 0},
		"with a wait that another can fulfil":  {"GET", []string{busyFor("60")}, []string{good}, 200, "good", 1},
		"with a wait that cannot be read":      {"GET", []string{busyFor("a while"), good}, nil, 200, "good", 1},
		"whose body is not all there at first": {"GET", []string{busy[:len(busy)-2]}, []string{good}, 200, "good", 1},
	} {
		t.Run(name, func(t *testing.T) {
			doors(t, retrying(503), func(t *testing.T, l *lab) {
				var asked, alsoAsked atomic.Int64
				urls := []string{answers(t, &asked, c.first...)}
				if c.second != nil {
					urls = append(urls, answers(t, &alsoAsked, c.second...))
				}
				l.announce("web", urls)
				for range 2 * len(urls) { // each backend is the first one once
					if asked.Load() > 0 {
						break
					}
					r, _ := http.NewRequest(c.method, l.front.URL, nil)
					resp, body := l.do(r)
					if c.second != nil && asked.Load() == 0 {
						continue
					}
					if resp.StatusCode != c.status || body != c.body {
						t.Errorf("status %d, %q; want %d, %q", resp.StatusCode, body, c.status, c.body)
					}
				}
				if n := l.service("web").Runtime.Stats.Read().Retries; n != c.retries {
					t.Errorf("%d retries, want %d", n, c.retries)
				}
				l.settled()
			})
		})
	}
}

func TestARetriedResponseCountsAgainstItsBackend(t *testing.T) {
	p := retrying(503)
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}
	l := newLab(t, p)
	var asked atomic.Int64
	l.announce("web", []string{answers(t, &asked, busy), replies(t, good)})
	for asked.Load() == 0 {
		if _, body := l.get("/"); body != "good" {
			t.Fatalf("read %q", body)
		}
	}
	b := l.service("web").Backends[0]
	if b.State.Breaker.State(time.Now()) != breaker.Open || b.State.Stats.Read().Codes[5] != 1 {
		t.Errorf("the breaker is %v, counted %v", b.State.Breaker.State(time.Now()), b.State.Stats.Read().Codes)
	}
}

func TestFailuresThatThePolicyExceptsAreNotRetried(t *testing.T) {
	for name, c := range map[string]struct {
		not   routing.Failures
		first func(testing.TB) string
	}{
		"connect":   {routing.ConnectFailed, refuses},
		"reset":     {routing.ResetFailed, resets},
		"malformed": {routing.MalformedFailed, func(t testing.TB) string { return replies(t, "garbage\r\n\r\n") }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, not := range []routing.Failures{c.not, ^c.not} {
				p := defaultPolicy()
				p.Retry.NotOn = not
				l := newLab(t, p)
				l.announce("web", []string{c.first(t)})
				resp, _ := l.get("/")
				want := uint64(2)
				if not == c.not {
					want = 0
				}
				if n := l.service("web").Runtime.Stats.Read().Retries; resp.StatusCode != 502 || n != want {
					t.Errorf("status %d after %d retries, want %d", resp.StatusCode, n, want)
				}
			}
		})
	}
}
