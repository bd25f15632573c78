package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/internal/steady"
	"github.com/vietddude/load-balancer/routing"
)

// hedgePolicy hedges after a millisecond, and has breakers open by the first failure.
func hedgePolicy() routing.Policy {
	p := defaultPolicy()
	p.Retry.MaxRetries = 0
	p.Hedge = routing.Hedge{Percentile: 95, MinDelay: time.Millisecond, MaxDelay: time.Millisecond}
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}
	return p
}

// byVersions runs a test over both versions of HTTP. HTTP/2 has one door only.
func byVersions(t *testing.T, policy routing.Policy, f func(t *testing.T, l *lab)) {
	t.Run("HTTP/1.1", func(t *testing.T) { f(t, newLab(t, policy)) })
	if byEngine {
		return
	}
	t.Run("HTTP/2.0", func(t *testing.T) {
		f(t, newLab(t, policy, func(_ *Options, s *httptest.Server) { s.EnableHTTP2, s.TLS = true, testTLS() }))
	})
}

// hedges are what the service counts.
func (l *lab) hedges() map[string]uint64 {
	all := make(map[string]uint64)
	for i, n := range l.service("web").Runtime.Stats.Read().Hedges {
		all[backend.HedgeOutcome(i).String()] = n
	}
	return all
}

// blameless fails if a backend was blamed for anything.
func (l *lab) blameless() {
	l.t.Helper()
	l.settled()
	for _, b := range l.service("web").Backends {
		if s := b.State.Breaker.State(time.Now()); s != breaker.Closed {
			l.t.Errorf("the breaker of %s is %v", b.ID, s)
		}
		if n := b.State.Stats.Read(); n.Codes[0]+n.Codes[4]+n.Codes[5] > 0 {
			l.t.Errorf("%s has counted %v", b.ID, n.Codes)
		}
	}
}

// silent takes requests and never answers; asked counts them.
func silent(t testing.TB, asked *atomic.Int64) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			asked.Add(1)
		}
	})
}

func TestAHedgeAnswersForABackendThatDoesNot(t *testing.T) {
	byVersions(t, hedgePolicy(), func(t *testing.T, l *lab) {
		var asked atomic.Int64
		l.announce("web", []string{silent(t, &asked), named(t, "fast")})
		n := 0
		for ; l.hedges()["won"] < 3; n++ {
			if resp, body := l.get("/"); resp.StatusCode != 200 || body != "fast" {
				t.Fatalf("answered %d %q", resp.StatusCode, body)
			}
		}
		l.blameless()
		counts := map[string]uint64{}
		for _, r := range l.records(n) {
			if counts[r.Hedge]++; r.Backend != "b1" || r.Status != 200 || r.Error != "" || (r.Hedge != "") != (r.Attempts == 2) {
				t.Errorf("logged %+v", r)
			}
		}
		if got := l.hedges(); counts["won"] != got["won"] || counts["lost"] != got["lost"] || counts["neither"] > 0 {
			t.Errorf("logged %v, counted %v", counts, got)
		}
		slow := l.service("web").Backends[0].State
		if beaten := slow.Stats.Read().Beaten; beaten != counts["won"]+counts["lost"] {
			t.Errorf("%d were given up, want that of each of %v", beaten, counts)
		}
		if slow.Latency.Peak(steady.Millis(time.Now())) < time.Millisecond/2 {
			t.Errorf("a backend that does not answer counts as a fast one")
		}
		if svc := l.service("web").Runtime.Stats.Read(); svc.Retries != 0 || svc.Codes[2] != uint64(n) {
			t.Errorf("%d retries, codes %v, want 0 and %d", svc.Retries, svc.Codes, n)
		}
	})
}

// Whichever attempt is answered first, the other one is given up.
func TestTheFirstAnswerCounts(t *testing.T) {
	p := hedgePolicy()
	p.Algorithm = balance.Random
	byVersions(t, p, func(t *testing.T, l *lab) {
		var asked atomic.Int64
		both := make(chan struct{}, 1)
		left := make(chan struct{}, 100)
		l.announce("web", []string{
			httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
				<-both
				io.WriteString(w, "first")
			}),
			rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				for {
					if _, err := readHead(r); err != nil {
						if asked.Load() > 0 {
							left <- struct{}{}
						}
						return
					}
					asked.Add(1)
					both <- struct{}{}
				}
			}),
		})
		for got := l.hedges(); got["won"] == 0 || got["lost"] == 0; got = l.hedges() {
			if resp, body := l.get("/"); resp.StatusCode != 200 || body != "first" {
				t.Fatalf("answered %d %q", resp.StatusCode, body)
			}
			<-left // the connection of the other attempt has ended
		}
		l.blameless()
		if b := l.service("web").Backends[1].State.Stats.Read(); b.Beaten != uint64(asked.Load()) || b.Codes != [6]uint64{} {
			t.Errorf("asked %d times, %d given up, codes %v", asked.Load(), b.Beaten, b.Codes)
		}
	})
}

// meeting is a backend that does something once both attempts have come.
type meeting struct {
	mu    sync.Mutex
	first chan struct{} // closed when the second comes; nil when none waits
}

// join returns true for the one who came last, and for the other one when that has come.
func (m *meeting) join() (last bool) {
	m.mu.Lock()
	if c := m.first; c != nil {
		m.first = nil
		m.mu.Unlock()
		close(c)
		return true
	}
	c := make(chan struct{})
	m.first = c
	m.mu.Unlock()
	<-c
	return false
}

func TestBothAttemptsFail(t *testing.T) {
	byVersions(t, hedgePolicy(), func(t *testing.T, l *lab) {
		var m meeting
		b := func(c *net.TCPConn, r *bufio.Reader) {
			if _, err := readHead(r); err == nil {
				m.join()
				c.SetLinger(0)
			}
		}
		l.announce("web", []string{rawBackend(t, b), rawBackend(t, b)})
		if resp, _ := l.get("/"); resp.StatusCode != 502 {
			t.Errorf("status %d, want 502", resp.StatusCode)
		}
		l.settled()
		if got := l.hedges(); got["neither"] != 1 || l.records(1)[0].Hedge != "neither" || l.records(1)[0].Error != "reset" {
			t.Errorf("counted %v, logged %+v", got, l.records(1)[0])
		}
		for _, b := range l.service("web").Backends {
			if b.State.Breaker.State(time.Now()) != breaker.Open || b.State.Stats.Read().Codes[0] != 1 {
				t.Errorf("the failure of %s does not count: %v", b.ID, b.State.Stats.Read().Codes)
			}
		}
	})
}

func TestBothAttemptsFailAndTheExchangeIsTriedAgain(t *testing.T) {
	p := hedgePolicy()
	p.Retry.MaxRetries = 1
	byVersions(t, p, func(t *testing.T, l *lab) {
		var m meeting
		var n atomic.Int64
		b := func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) > 2 {
				io.WriteString(w, "third")
				return
			}
			m.join()
			panic(http.ErrAbortHandler)
		}
		l.announce("web", []string{httpBackend(t, b), httpBackend(t, b), httpBackend(t, b)})
		if resp, body := l.get("/"); resp.StatusCode != 200 || body != "third" {
			t.Errorf("answered %d %q", resp.StatusCode, body)
		}
		l.settled()
		if got := l.service("web").Runtime.Stats.Read(); got.Retries != 1 || l.records(1)[0].Attempts != 3 {
			t.Errorf("%d retries, logged %+v", got.Retries, l.records(1)[0])
		}
	})
}

// One attempt fails while the other one goes on: whichever it is, the other one counts.
func TestOneAttemptFails(t *testing.T) {
	byVersions(t, hedgePolicy(), func(t *testing.T, l *lab) {
		var m meeting
		failed := make(chan struct{}, 1)
		b := func(w http.ResponseWriter, r *http.Request) {
			if m.join() {
				<-failed
				io.WriteString(w, "last")
				return
			}
			failed <- struct{}{}
			panic(http.ErrAbortHandler)
		}
		l.announce("web", []string{httpBackend(t, b), httpBackend(t, b)})
		if resp, body := l.get("/"); resp.StatusCode != 200 || body != "last" {
			t.Errorf("answered %d %q", resp.StatusCode, body)
		}
		l.settled()
		open := 0
		for _, b := range l.service("web").Backends {
			if b.State.Breaker.State(time.Now()) == breaker.Open {
				open++
			}
		}
		if open > 1 {
			t.Errorf("%d breakers are open, want at most that of the backend that failed", open)
		}
	})
}

// An error does not win against an attempt that may still be answered well, but counts if that is not.
func TestAnErrorIsKeptUntilTheOtherAttemptIsOver(t *testing.T) {
	for _, c := range []struct {
		name        string
		early, late int
		want        int
		on          int // a status that retry.on has
	}{
		{"a good answer comes", 500, 200, 200, 0},
		{"a failure comes", 500, 0, 500, 0},
		{"another error comes", 500, 500, 500, 0},
		{"one that is retried", 429, 200, 200, 429},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := hedgePolicy()
			if c.on > 0 {
				p.Retry.Statuses.Add(c.on)
			}
			byVersions(t, p, func(t *testing.T, l *lab) {
				var m meeting
				answered := make(chan struct{}, 1)
				b := func(w http.ResponseWriter, r *http.Request) {
					if m.join() {
						w.WriteHeader(c.early)
						w.(http.Flusher).Flush()
						answered <- struct{}{}
						return
					}
					<-answered
					time.Sleep(time.Millisecond) // more often than not the early answer is there
					if c.late == 0 {
						panic(http.ErrAbortHandler)
					}
					w.WriteHeader(c.late)
				}
				l.announce("web", []string{httpBackend(t, b), httpBackend(t, b)})
				if resp, _ := l.get("/"); resp.StatusCode != c.want {
					t.Errorf("status %d, want %d", resp.StatusCode, c.want)
				}
				l.settled()
			})
		})
	}
}

func TestAHedgeIsWithinTheBudget(t *testing.T) {
	p := hedgePolicy()
	p.Retry.Budget = 0.01
	byVersions(t, p, func(t *testing.T, l *lab) {
		g := newGated(t)
		l.announce("web", []string{g.url, httpBackend(t, g.answer)})
		kept := l.proxy.service(l.catalog.Table(), l.service("web"))
		for i := range 16 {
			kept.budget.add(time.Now().Add(time.Duration(i)*time.Second), 0, 2*budgetFloor*budgetSeconds)
		}
		done := l.start("/")
		waitFor(t, "a hedge to be refused", func() bool { return l.hedges()["over-budget"] == 1 })
		close(g.open)
		if s := <-done; s != 200 || g.asked.Load() != 1 {
			t.Errorf("status %d, asked %d times", s, g.asked.Load())
		}
		l.blameless()
	})
}

func TestAHedgeCountsAgainstTheBudget(t *testing.T) {
	p := hedgePolicy()
	p.Retry.Budget = 0.01
	l := newLab(t, p)
	var asked atomic.Int64
	l.announce("web", []string{silent(t, &asked), named(t, "fast")})
	for l.hedges()["won"] == 0 {
		l.get("/")
	}
	kept := l.proxy.service(l.catalog.Table(), l.service("web"))
	total := uint64(0)
	for i := range kept.budget.cells {
		_, _, n := unpack(kept.budget.cells[i].Load())
		total += n
	}
	if got := l.hedges(); total != got["won"]+got["lost"] {
		t.Errorf("%d of the budget are used up by %v", total, got)
	}
}

func TestAHedgeTakesASeat(t *testing.T) {
	p := hedgePolicy()
	p.Connections = routing.Connections{MaxConns: 1, MaxQueue: 10, QueueTimeout: time.Minute}
	byVersions(t, p, func(t *testing.T, l *lab) {
		g := newGated(t)
		l.announce("web", []string{g.url, httpBackend(t, g.answer)})
		one := l.start("/") // and its hedge take both seats
		waitFor(t, "a hedge", func() bool { return g.asked.Load() == 2 })
		two := l.start("/") // queues
		waitFor(t, "one to queue", func() bool {
			bs := l.service("web").Backends
			return bs[0].State.Seats.Waiting()+bs[1].State.Seats.Waiting() == 1
		})
		g.open <- struct{}{}
		if s := <-one; s != 200 {
			t.Errorf("status %d", s)
		}
		close(g.open)
		if s := <-two; s != 200 {
			t.Errorf("status %d of the one that has queued", s)
		}
		l.blameless()
		if g.most.Load() > 3 { // a backend may not have noticed that an attempt was given up
			t.Errorf("%d at a time", g.most.Load())
		}
	})
}

func TestAHedgeFindsNoSeat(t *testing.T) {
	p := hedgePolicy()
	p.Connections = routing.Connections{MaxConns: 1, MaxQueue: 10, QueueTimeout: time.Minute}
	byVersions(t, p, func(t *testing.T, l *lab) {
		g := newGated(t)
		l.announce("web", []string{g.url, httpBackend(t, g.answer)})
		post := func() <-chan int {
			done := make(chan int, 1)
			go func() {
				resp, err := l.front.Client().Post(l.front.URL, "text/plain", strings.NewReader("x"))
				if err != nil {
					done <- 0
					return
				}
				resp.Body.Close()
				done <- resp.StatusCode
			}()
			return done
		}
		one := post()
		waitFor(t, "the first to be asked", func() bool { return g.asked.Load() == 1 })
		two := l.start("/")
		waitFor(t, "a hedge to find no room", func() bool { return l.hedges()["no-backend"] == 1 })
		close(g.open)
		if a, b := <-one, <-two; a != 200 || b != 200 {
			t.Errorf("status %d and %d", a, b)
		}
		l.blameless()
	})
}

func TestWhatIsNotHedged(t *testing.T) {
	for name, request := range map[string]string{
		"POST":            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"DELETE":          "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET with a body": "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
		"an upgrade":      "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, hedgePolicy())
			g := newGated(t)
			l.announce("web", []string{g.url, httpBackend(t, g.answer)})
			_, r := l.dial(request)
			waitFor(t, "the request", func() bool { return g.asked.Load() > 0 })
			time.Sleep(20 * time.Millisecond) // for what must not happen
			close(g.open)
			if resp, _ := readAnswer(t, r); resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
			l.settled()
			if n := g.asked.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestOneBackendIsNotHedged(t *testing.T) {
	byVersions(t, hedgePolicy(), func(t *testing.T, l *lab) {
		g := newGated(t)
		l.announce("web", []string{g.url})
		done := l.start("/")
		waitFor(t, "the request", func() bool { return g.asked.Load() > 0 })
		time.Sleep(20 * time.Millisecond) // for what must not happen
		close(g.open)
		if s := <-done; s != 200 || g.asked.Load() != 1 {
			t.Errorf("status %d, asked %d times", s, g.asked.Load())
		}
		for outcome, n := range l.hedges() {
			if n > 0 {
				t.Errorf("%d %s", n, outcome)
			}
		}
	})
}

func TestASessionIsNotHedged(t *testing.T) {
	p := hedgePolicy()
	p.Affinity = affinity.Options{Type: affinity.Cookie}
	byVersions(t, p, func(t *testing.T, l *lab) {
		var ofSession atomic.Int64
		b := func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Cookie") != "" {
				ofSession.Add(1)
			}
			if r.URL.Path == "/slow" {
				time.Sleep(20 * time.Millisecond)
			}
		}
		l.announce("web", []string{httpBackend(t, b), httpBackend(t, b)})
		resp, _ := l.get("/")
		n := l.hedges()
		r, _ := http.NewRequest("GET", l.front.URL+"/slow", nil)
		for _, c := range resp.Cookies() {
			r.AddCookie(c)
		}
		if resp, _ := l.do(r); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		if got := l.hedges(); ofSession.Load() != 1 || fmt.Sprint(got) != fmt.Sprint(n) {
			t.Errorf("asked %d times, %v", ofSession.Load(), got)
		}
		for l.hedges()["won"]+l.hedges()["lost"] == n["won"]+n["lost"] { // nor is who has none left alone
			l.get("/slow")
		}
		l.blameless()
	})
}

func TestTheClientLeavesDuringBothAttempts(t *testing.T) {
	byVersions(t, hedgePolicy(), func(t *testing.T, l *lab) {
		var asked atomic.Int64
		l.announce("web", []string{silent(t, &asked), silent(t, &asked)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			r, _ := http.NewRequestWithContext(ctx, "GET", l.front.URL, nil)
			_, err := l.front.Client().Do(r)
			done <- err
		}()
		waitFor(t, "both attempts", func() bool { return asked.Load() == 2 })
		cancel()
		<-done
		if r := l.records(1)[0]; r.Status != 499 || r.Error != "client-gone" || r.Hedge != "neither" {
			t.Errorf("logged %+v", r)
		}
		l.settled()
		for _, b := range l.service("web").Backends {
			if n := b.State.Stats.Read(); b.State.Breaker.State(time.Now()) != breaker.Closed || n.Codes[0]+n.Codes[5] > 0 || n.Codes[4] != 1 {
				t.Errorf("%s has counted %v", b.ID, n.Codes)
			}
		}
	})
}

func TestTheDeadlinePassesDuringBothAttempts(t *testing.T) {
	p := hedgePolicy()
	p.Timeouts.Exchange = 200 * time.Millisecond
	byVersions(t, p, func(t *testing.T, l *lab) {
		var asked atomic.Int64
		l.announce("web", []string{silent(t, &asked), silent(t, &asked)})
		if resp, _ := l.get("/"); resp.StatusCode != 504 {
			t.Errorf("status %d, want 504", resp.StatusCode)
		}
		l.settled()
		open := 0
		for _, b := range l.service("web").Backends {
			if b.State.Breaker.State(time.Now()) == breaker.Open {
				open++
			}
		}
		if open != 1 || l.records(1)[0].Error != "exchange-timeout" {
			t.Errorf("%d backends are to blame, logged %+v, want the first one's alone", open, l.records(1)[0])
		}
	})
}

func TestTheHeadTimeoutOfOneAttemptDoesNotEndTheOther(t *testing.T) {
	p := hedgePolicy()
	p.Timeouts.ResponseHead = 300 * time.Millisecond
	p.Hedge.MinDelay, p.Hedge.MaxDelay = 150*time.Millisecond, 150*time.Millisecond
	byVersions(t, p, func(t *testing.T, l *lab) {
		var n atomic.Int64
		gone := make(chan struct{})
		b := func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				<-r.Context().Done()
				close(gone)
				return
			}
			<-gone
			io.WriteString(w, "second")
		}
		l.announce("web", []string{httpBackend(t, b), httpBackend(t, b)})
		// The second attempt has 150 ms after the first one's end; a machine that is slower than that has it time out too.
		if resp, body := l.get("/"); resp.StatusCode == 200 && body != "second" || resp.StatusCode != 200 && resp.StatusCode != 504 {
			t.Errorf("answered %d %q", resp.StatusCode, body)
		}
		l.settled()
	})
}

// A backend that takes connections and does not shake hands keeps nobody waiting.
func TestAHedgeAnswersForABackendThatIsBeingConnectedTo(t *testing.T) {
	p := hedgePolicy()
	p.Timeouts.Connect = time.Minute
	byVersions(t, p, func(t *testing.T, l *lab) {
		mute := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) { io.Copy(io.Discard, r) })
		l.announce("web", []string{"https" + mute[len("http"):], named(t, "fast")})
		for l.hedges()["won"] < 2 {
			if resp, body := l.get("/"); resp.StatusCode != 200 || body != "fast" {
				t.Fatalf("answered %d %q", resp.StatusCode, body)
			}
		}
		l.blameless()
		if n := l.service("web").Backends[0].State.Conns.Unmade(); n > 0 {
			t.Errorf("%d connections count as failed", n)
		}
	})
}

// The second attempt meets a connection that its backend has closed, and makes another one.
func TestAHedgeMeetsAConnectionThatHasEnded(t *testing.T) {
	p := hedgePolicy()
	byVersions(t, p, func(t *testing.T, l *lab) {
		var asked atomic.Int64
		l.announce("web", []string{silent(t, &asked), rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			for n := 0; ; n++ {
				if _, err := readHead(r); err != nil || n == 2 {
					return // the third request of a connection is not answered
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfast")
			}
		})})
		for l.hedges()["won"] < 12 {
			if resp, body := l.get("/"); resp.StatusCode != 200 || body != "fast" {
				t.Fatalf("answered %d %q", resp.StatusCode, body)
			}
		}
		l.blameless()
	})
}

func TestNoInformationalResponsePassesBesideAHedge(t *testing.T) {
	l := newLab(t, hedgePolicy())
	var m meeting
	hinted := make(chan struct{}, 1)
	b := func(c *net.TCPConn, r *bufio.Reader) {
		if _, err := readHead(r); err != nil {
			return
		}
		if m.join() {
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
			hinted <- struct{}{}
			readHead(r)
			return
		}
		<-hinted
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </y>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny")
		readHead(r)
	}
	l.announce("web", []string{rawBackend(t, b), rawBackend(t, b)})
	_, r := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, body := readAnswer(t, r); resp.StatusCode != 200 || body != "y" {
		t.Errorf("answered %d %q", resp.StatusCode, body)
	}
	l.settled()
}

func TestEngineIsCutDuringBothAttempts(t *testing.T) {
	ofEngine(t)
	l := newLab(t, hedgePolicy())
	var asked atomic.Int64
	l.announce("web", []string{silent(t, &asked), silent(t, &asked)})
	l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	waitFor(t, "both attempts", func() bool { return asked.Load() == 2 })
	l.engine.Close()
	l.settled()
}

// TestNoAnswerThatLostReachesAClient has answers come in any order, some of them broken, to clients that ask one thing after
// another: each gets the one that it has asked for, from whichever backend, and nothing else.
func TestNoAnswerThatLostReachesAClient(t *testing.T) {
	p := hedgePolicy()
	p.Breaker = breaker.Options{}
	p.Retry.MaxRetries = 2
	byVersions(t, p, func(t *testing.T, l *lab) {
		var seen sync.Map // how often a target was asked for
		b := func(w http.ResponseWriter, r *http.Request) {
			v, _ := seen.LoadOrStore(r.RequestURI, new(atomic.Int64))
			turn := int(v.(*atomic.Int64).Add(1)) - 1
			steps := strings.Split(r.URL.Query().Get("do"), ",")
			step := steps[min(turn, len(steps)-1)]
			ms, _ := strconv.Atoi(step[1:])
			time.Sleep(time.Duration(ms) * time.Millisecond / 2)
			switch step[0] {
			case 'e':
				w.WriteHeader(503)
				return
			case 'x':
				panic(http.ErrAbortHandler)
			case 'l':
				w.Write([]byte(strings.Repeat(r.RequestURI+"\n", 2000)))
				return
			}
			io.WriteString(w, strings.Repeat(r.RequestURI+"\n", 3))
		}
		var urls []string
		for range 4 {
			urls = append(urls, httpBackend(t, b))
		}
		l.announce("web", urls)
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			round++
			step := rapid.StringMatching(`[aalex][0-8]`)
			plans := rapid.SliceOfN(rapid.SliceOfN(rapid.SliceOfN(step, 1, 4), 1, 4), 1, 4).Draw(rt, "clients, requests, steps of attempts")
			var wg sync.WaitGroup
			for i, plan := range plans {
				wg.Go(func() {
					for j, steps := range plan {
						target := fmt.Sprintf("/%d/%d/%d?do=%s", round, i, j, strings.Join(steps, ","))
						resp, err := l.front.Client().Get(l.front.URL + target)
						if err != nil {
							if !strings.Contains(strings.Join(steps, ""), "x") {
								t.Errorf("%s: %v", target, err)
							}
							continue
						}
						body, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if resp.StatusCode == 200 && (err != nil || strings.Trim(string(body), "\n") == "" || strings.ReplaceAll(string(body), target+"\n", "") != "") {
							t.Errorf("%s: %v, got %.100q", target, err, body)
						}
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				rt.Fatal("see above")
			}
		})
		l.settled()
		if got := l.hedges(); got["won"] == 0 || got["lost"] == 0 {
			t.Errorf("hedges %v, the test wants some that win and some that lose", got)
		}
	})
}

func TestDecide(t *testing.T) {
	x := &exchange{at: attempt{policy: &routing.Policy{}}}
	for a := range kindCount {
		for b := range kindCount {
			for _, statuses := range [][2]int{{200, 200}, {200, 500}, {500, 200}, {500, 500}} {
				first := &attempt{kind: a, status: statuses[0], hedger: x}
				second := &attempt{kind: b, status: statuses[1]}
				took := decide(first, second)
				answers := 0
				for _, k := range []kind{first.kind, second.kind} {
					if k == fine {
						answers++
					}
				}
				final := a != fine && a != beaten && !kinds[a].again
				switch {
				case answers > 1:
					t.Errorf("%v and %v are both fine", a, b)
				case took != (second.taken && second.kind == fine):
					t.Errorf("%v and %v: took %v", a, b, took)
				case (a == fine || b == fine) && !final && answers == 0:
					t.Errorf("%v and %v: no answer is left", a, b)
				case final && (second.taken || first.kind != a):
					t.Errorf("%v and %v: what ended the exchange does not count", a, b)
				case a == fine && b == fine && took != (statuses == [2]int{500, 200}):
					t.Errorf("%v: took the second: %v", statuses, took)
				case a == fine && b != fine && (took || first.kind != fine):
					t.Errorf("%v beside an answer counts", b)
				}
			}
		}
	}
}
