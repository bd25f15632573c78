package proxy

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/probe"
)

// probingPolicy has new backends wait for a probe, which the test makes in the prober's place.
func probingPolicy() probe.Options {
	return probe.Options{Interval: time.Hour, InitialState: probe.InitiallyProbing}
}

func TestAnExchangeWaitsForTheFirstProbeOfItsService(t *testing.T) {
	for verdict, want := range map[backend.Health]int{backend.Up: 200, backend.Down: 503} {
		t.Run(verdict.String(), func(t *testing.T) {
			p := defaultPolicy()
			p.Probe, p.PanicThreshold = probingPolicy(), -1
			l := newLab(t, p)
			l.announce("web", []string{named(t, "a")})
			s := l.service("web").Backends[0].State
			if s.Health() != backend.Probing {
				t.Fatalf("a new backend is %v", s.Health())
			}
			status := make(chan int)
			go func() {
				resp, err := l.front.Client().Get(l.front.URL)
				if err != nil {
					status <- 0
					return
				}
				resp.Body.Close()
				status <- resp.StatusCode
			}()
			waitFor(t, "the exchange", func() bool { return l.proxy.Stats().Active == 1 })
			if n := s.Stats.Read().Codes; n != [6]uint64{} {
				t.Errorf("asked before its first probe: %v", n)
			}
			s.Probed(verdict, backend.ProbeResult{})
			if got := <-status; got != want {
				t.Errorf("status %d, want %d", got, want)
			}
		})
	}
}

func TestANewBackendTakesNothingBeforeItsFirstProbeWhileOthersServe(t *testing.T) {
	p := defaultPolicy()
	p.Probe = probingPolicy()
	l := newLab(t, p)
	a, b := named(t, "a"), named(t, "b")
	l.announce("web", []string{a})
	l.service("web").Backends[0].State.Probed(backend.Up, backend.ProbeResult{})
	l.announce("web", []string{a, b})
	for range 20 {
		if _, body := l.get("/"); body != "a" {
			t.Fatalf("%q answered", body)
		}
	}
}

func TestAnOutlierIsEjectedByItsExchangesAndReturnsInTime(t *testing.T) {
	p := defaultPolicy()
	p.Retry.MaxRetries = 0
	p.Outlier = breaker.OutlierOptions{ConsecutiveErrors: 3, BaseEjection: 50 * time.Millisecond, MaxEjectionPercent: 50}
	var sick atomic.Bool
	sick.Store(true)
	l := newLab(t, p)
	l.announce("web", []string{named(t, "a"), httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			w.WriteHeader(500)
		}
		io.WriteString(w, "b")
	})})
	failed := 0
	for range 20 {
		if resp, _ := l.get("/"); resp.StatusCode != 200 {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%d exchanges failed, want the three that ejected the backend", failed)
	}
	s := l.service("web").Backends[1].State
	if s.Ejections() != 1 || s.Events()[0].What != "ejected" {
		t.Errorf("%d ejections, events %v", s.Ejections(), s.Events())
	}
	sick.Store(false)
	waitFor(t, "the end of the ejection", func() bool {
		l.service("web").Runtime.Judge(time.Now(), true)
		return s.Ejection() == nil
	})
	seen := map[string]bool{}
	for range 4 {
		_, body := l.get("/")
		seen[body] = true
	}
	if !seen["b"] {
		t.Error("the released backend takes nothing")
	}
}

func TestWhatCountsAsAFailureIsThePolicys(t *testing.T) {
	p := defaultPolicy()
	p.Retry.MaxRetries = 0
	p.Breaker = breaker.Options{FailureThreshold: 1, Counts: breaker.Reset | breaker.ConnectFailed}
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/reset" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(500)
	})})
	b := l.service("web").Backends[0].State.Breaker
	for range 5 {
		l.get("/")
	}
	if st := b.State(time.Now()); st != breaker.Closed {
		t.Errorf("the breaker is %v after answers that do not count", st)
	}
	l.get("/reset")
	if st := b.State(time.Now()); st != breaker.Open {
		t.Errorf("the breaker is %v after a reset, want open", st)
	}
}

func TestWhatIsMoreThanABackendCanTakeGoesElsewhereAndThenIsShed(t *testing.T) {
	p := defaultPolicy()
	p.Limit = breaker.LimitOptions{Max: 2, Initial: 2}
	l := newLab(t, p)
	release := make(chan struct{})
	var under atomic.Int64
	slow := func(w http.ResponseWriter, r *http.Request) {
		under.Add(1)
		<-release
	}
	l.announce("web", []string{httpBackend(t, slow), httpBackend(t, slow)})
	done := make(chan int)
	for range 4 {
		go func() {
			resp, err := http.Get(l.front.URL)
			if err != nil {
				done <- 0
				return
			}
			resp.Body.Close()
			done <- resp.StatusCode
		}()
	}
	waitFor(t, "four exchanges", func() bool { return under.Load() == 4 })
	resp, body := l.get("/")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || body == "" {
		t.Errorf("%d %v %q, want 503 and when to try again", resp.StatusCode, resp.Header, body)
	}
	if n := l.proxy.Stats().Failed["overloaded"]; n != 1 {
		t.Errorf("counted %v", l.proxy.Stats().Failed)
	}
	close(release)
	for range 4 {
		if code := <-done; code != 200 {
			t.Errorf("status %d", code)
		}
	}
}
