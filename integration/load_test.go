package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// requestTimeout is how long a client waits before it counts a request as failed.
const requestTimeout = 20 * time.Second

// load sends GETs at a constant rate, each on its time whether those before were answered or not, so that a balancer
// that stalls is not spared by waiting clients.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	client *http.Client
	url    string

	mu       sync.Mutex
	sent     int
	failures []string       // the first few
	failed   int            // all of them
	by       map[string]int // answers by backend
	slowest  time.Duration
}

// startLoad begins; it ends with [load.stop], or with the test.
func startLoad(t *testing.T, url string, perSecond int) *load {
	t.Helper()
	return startLoadBy(t, &http.Transport{MaxIdleConnsPerHost: 256}, url, perSecond)
}

// startLoadBy is startLoad by a transport of the caller's choice.
func startLoadBy(t *testing.T, by *http.Transport, url string, perSecond int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, url: url, by: make(map[string]int), client: &http.Client{Timeout: requestTimeout, Transport: by}}
	l.done.Go(func() { l.run(ctx, time.Second/time.Duration(perSecond)) })
	t.Cleanup(l.end)
	return l
}

func (l *load) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.done.Go(l.request)
		}
	}
}

func (l *load) request() {
	start := time.Now()
	name, err := get(l.client, l.url)
	took := time.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.slowest = max(l.slowest, took)
	if err == nil {
		l.by[name]++
		return
	}
	if l.failed++; l.failed <= 5 {
		l.failures = append(l.failures, fmt.Sprintf("at %s after %v: %v", start.Format("15:04:05.000"), took.Round(time.Millisecond), err))
	}
}

// end stops sending and waits for the answers under way.
func (l *load) end() {
	l.cancel()
	l.done.Wait()
	l.client.CloseIdleConnections()
}

// stop ends the load and fails the test if any request failed or hardly any was sent.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.end()
	t.Logf("%d requests, %d failed, slowest %v, by backend %v", l.sent, l.failed, l.slowest.Round(time.Millisecond), l.by)
	if l.failed > 0 {
		t.Errorf("%d of %d requests failed:\n%s", l.failed, l.sent, strings.Join(l.failures, "\n"))
	}
	if l.sent < 100 {
		t.Errorf("only %d requests were sent; the load proves nothing", l.sent)
	}
}

// get returns the name of the backend that answered. Any status but 200 is an error.
func get(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("status %d, then %w", resp.StatusCode, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
	}
	return answerer(resp, body)
}

// spread counts who answers n requests that are sent one after another.
func spread(t *testing.T, url string, n int) map[string]int {
	t.Helper()
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	by := make(map[string]int)
	for range n {
		name, err := get(client, url)
		if err != nil {
			t.Fatalf("request through the balancer: %v", err)
		}
		by[name]++
	}
	return by
}

// eventually waits until something holds, at most for the given time, and returns how long it took.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if holds() {
			tick.Stop()
			return time.Since(start)
		}
		if time.Since(start) > within {
			tick.Stop()
			t.Fatalf("%s: not within %v", what, within)
		}
		<-tick.C
	}
}
