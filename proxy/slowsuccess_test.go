package proxy

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/breaker"
)

func TestASlowSuccessCountsWhenItEnds(t *testing.T) {
	t.Parallel()
	const window = time.Second
	p := defaultPolicy()
	p.Retry.MaxRetries = 0
	p.Breaker = breaker.Options{FailureRate: 0.5, Window: window, MinVolume: 2, ResetTimeout: time.Hour}
	l := newLab(t, p)
	l.announce("web", []string{httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			w.WriteHeader(500)
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(window + window/5)
	})})
	var slow sync.WaitGroup
	for range 3 {
		slow.Go(func() {
			if resp, err := l.front.Client().Get(l.front.URL + "/slow"); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	time.Sleep(window + window/10)
	waitFor(t, "the slow ones", func() bool { return l.proxy.Stats().Active == 0 })
	ended := time.Now()
	slow.Wait()
	l.get("/")
	l.get("/")
	if time.Since(ended) > window/2 {
		t.Skip("the machine is too busy to tell")
	}
	if s := l.service("web").Backends[0].State.Breaker.State(time.Now()); s != breaker.Closed {
		t.Errorf("the breaker is %v after 3 successes and 2 failures within a second", s)
	}
}
