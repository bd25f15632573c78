package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
)

const judged = `
health_check: {interval: 50ms, timeout: 1s, path: /health, failure_threshold: 2}
circuit_breaker: {failure_threshold: 5, failure_rate: 0.5, min_volume: 10, reset_timeout: 1h}
outlier_detection: {consecutive_5xx: 4, base_ejection_time: 1h}
`

func TestABackendThatDiesUnderLoadCostsNoGETAndIsOutAtOnce(t *testing.T) {
	var all []*testBackend
	for i := range 4 {
		all = append(all, startBackend(t, fmt.Sprint("b", i)))
	}
	lb := startBalancer(t, list(all...)+judged, nil)
	lb.ready()
	l := startLoad(lb, 8, lb.url()+"/")
	l.more(t, 200)
	dead := lb.server.Table().Service("default").Backend("b0").State
	all[0].kill()
	await(t, "the dead backend is down", func() bool { return dead.Health() == backend.Down })
	ready := lb.server.Table().Service("default").Runtime.Ready()
	if ready.Backend("b0") != nil {
		t.Error("the dead backend is still ready")
	}
	l.more(t, 500)
	if n := all[0].requests.Load(); n == 0 {
		t.Error("the backend was dead from the start, so the test shows nothing")
	}
	l.end(t)
}

// Each backend is drained, waits until nothing is under way, and is replaced by a new process on its port.
func TestARollingRestartUnderLoadFailsNoRequestOfAnyMethod(t *testing.T) {
	var all []*testBackend
	for i := range 10 {
		all = append(all, startBackend(t, fmt.Sprint("b", i)))
	}
	lb := startBalancer(t, list(all...)+judged, nil)
	lb.ready()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	sent, failed := map[string]int{}, map[string]int{}
	for _, method := range []string{"GET", "POST", "PATCH", "DELETE"} {
		wg.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				req, err := http.NewRequest(method, lb.url()+"/", strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := lb.client.Do(req)
				if err == nil {
					resp.Body.Close()
				}
				mu.Lock()
				if sent[method]++; err != nil || resp.StatusCode != http.StatusOK {
					failed[method]++
				}
				mu.Unlock()
			}
		})
	}
	for i, b := range all {
		name := fmt.Sprint("b", i)
		if code := lb.api("PATCH", "/api/v1/services/default/backends/"+name, `{"draining": true}`); code/100 != 2 {
			t.Fatalf("drain: status %d", code)
		}
		s := lb.server.Table().Service("default").Backend(name).State
		await(t, "the drained backend is idle", func() bool { return s.Draining() && s.InFlight() == 0 })
		b.kill()
		b.start()
		if code := lb.api("PATCH", "/api/v1/services/default/backends/"+name, `{"draining": false}`); code/100 != 2 {
			t.Fatalf("end of drain: status %d", code)
		}
		before := b.requests.Load()
		await(t, "the restarted backend serves", func() bool { return b.requests.Load() > before })
	}
	close(stop)
	wg.Wait()
	if len(failed) > 0 {
		t.Errorf("failed %v of %v", failed, sent)
	}
}

// What is known of a backend goes through everything that changes around it.
func TestAThousandChangesResetNothing(t *testing.T) {
	a, b, c := startBackend(t, "a"), startBackend(t, "b"), startBackend(t, "c")
	b.health.Store(http.StatusInternalServerError)
	const still = `
health_check: {interval: 1h, timeout: 1s, path: /health}
circuit_breaker: {failure_threshold: 3, reset_timeout: 1h}
outlier_detection: {consecutive_5xx: 2, base_ejection_time: 1h}
adaptive_concurrency: {max_limit: 50}
`
	lb := startBalancer(t, list(a, b, c)+still, nil)
	lb.ready()
	state := func(id string) *backend.State { return lb.server.Table().Service("default").Backend(id).State }
	await(t, "the first probes", func() bool { return state("a").Health() == backend.Up && state("b").Health() == backend.Down })
	hold := make(chan struct{})
	a.hold.Store(&hold)
	c.hold.Store(&hold)
	done := make(chan int)
	go func() {
		code, _ := lb.get(lb.url() + "/")
		done <- code
	}()
	sa, sb, sc := state("a"), state("b"), state("c")
	await(t, "an exchange is under way", func() bool { return sa.InFlight()+sc.InFlight() == 1 })
	for range 3 { // as exchanges would
		now := time.Now()
		if permit, ok := sc.Breaker.Allow(now); ok {
			sc.Breaker.Done(permit, now, breaker.Failure)
		}
		svc := lb.server.Table().Service("default")
		if sc.Outlier().Observe(&svc.Policy.Outlier, breaker.ServerError, 0) {
			svc.Runtime.Judge(now, false)
		}
	}
	probe, limit := sb.LastProbe(), sa.Limit()
	for i := range 1000 {
		switch i % 4 {
		case 0: // a backend comes and goes
			if code := lb.api("PUT", "/api/v1/services/default/backends/x", `{"url": "http://127.0.0.1:1"}`); code/100 != 2 {
				t.Fatalf("adding: status %d", code)
			}
		case 1:
			lb.api("DELETE", "/api/v1/services/default/backends/x", "")
		case 2: // a weight
			lb.api("PATCH", "/api/v1/services/default/backends/a", fmt.Sprintf(`{"weight": %d}`, 1+i%7))
		case 3: // the configuration
			if i%20 == 3 {
				lb.write(list(a, b, c) + still + fmt.Sprintf("forget_after: %ds\nretry: {max_retries: %d}\n", 60+i, i%5))
				if err := lb.server.Reload(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	await(t, "the last change", func() bool { return len(lb.server.Table().Service("default").Backends) == 3 })
	for id, was := range map[string]*backend.State{"a": sa, "b": sb, "c": sc} {
		if state(id) != was {
			t.Errorf("%s has another record", id)
		}
	}
	switch {
	case sb.Health() != backend.Down, sb.LastProbe() != probe:
		t.Errorf("b is %v and was probed again", sb.Health())
	case sc.Breaker.State(time.Now()).String() != "open":
		t.Errorf("c's breaker is %v", sc.Breaker.State(time.Now()))
	case limit == nil || sa.Limit() != limit:
		t.Error("what was learned of a's limit is gone")
	case sc.Ejection() == nil:
		t.Error("c's ejection is gone")
	case sa.InFlight()+sc.InFlight() != 1:
		t.Errorf("%d exchanges are under way, want 1", sa.InFlight()+sc.InFlight())
	}
	close(hold)
	if code := <-done; code != http.StatusOK {
		t.Errorf("the exchange that saw it all ended with %d", code)
	}
}

// api sends a request to the admin API and returns its status.
func (b *balancer) api(method, path, body string) int {
	b.t.Helper()
	req, err := http.NewRequest(method, b.admin()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
