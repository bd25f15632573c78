package server_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkOneSlowBackend measures what one slow backend of ten costs: the 99th percentile of latency at 400 requests a
// second, with all backends taking 20 ms in the mean (exponentially distributed), and with one of them ten times as long.
// Requests come at even distances whatever becomes of the ones before, and a latency counts from when its request was due.
func BenchmarkOneSlowBackend(b *testing.B) {
	for _, policy := range []string{
		"round-robin", "least-connections", "p2c", "ewma", "least-time",
		"round-robin\nhedge: {percentile: 95}", "p2c\nhedge: {percentile: 95}", "ewma\nhedge: {percentile: 95}",
	} {
		b.Run(strings.Replace(policy, "\n", ", ", 1), func(b *testing.B) {
			var slow atomic.Bool
			lb := startBalancer(b, "algorithm: "+policy+"\n"+sleepers(b, &slow), nil)
			lb.ready()
			for b.Loop() {
				slow.Store(false)
				steadily(b, lb, 2*time.Second)
				fast := steadily(b, lb, 8*time.Second)
				slow.Store(true)
				steadily(b, lb, 2*time.Second)
				slowed := steadily(b, lb, 8*time.Second)
				b.ReportMetric(float64(fast.Microseconds())/1000, "ms-p99-fast")
				b.ReportMetric(float64(slowed.Microseconds())/1000, "ms-p99-slow")
				b.ReportMetric(float64(slowed)/float64(fast), "ratio")
			}
		})
	}
}

// sleepers starts ten backends and returns the configuration that lists them; one is slow when it is told so.
func sleepers(b *testing.B, slow *atomic.Bool) string {
	var list strings.Builder
	list.WriteString("backends:\n")
	for i := range 10 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			d := time.Duration(rand.ExpFloat64() * 20 * float64(time.Millisecond))
			if i == 4 && slow.Load() {
				d *= 10
			}
			time.Sleep(d)
			_, _ = io.WriteString(w, "done")
		}))
		b.Cleanup(s.Close)
		fmt.Fprintf(&list, "  - {id: b%d, url: %q}\n", i, s.URL)
	}
	return list.String()
}

// steadily asks at a constant rate for so long and returns the 99th percentile of latency.
func steadily(b *testing.B, lb *balancer, length time.Duration) time.Duration {
	const every = time.Second / 400
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	all := make([]time.Duration, length/every)
	var wg sync.WaitGroup
	var failed atomic.Int64
	start := time.Now()
	for i := range all {
		due := start.Add(time.Duration(i) * every)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			resp, err := client.Get(lb.url() + "/")
			if err != nil || resp.StatusCode != http.StatusOK {
				failed.Add(1)
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			all[i] = time.Since(due)
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		b.Errorf("%d of %d requests failed", n, len(all))
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}
