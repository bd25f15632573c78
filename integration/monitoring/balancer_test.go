package monitoring

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/internal/testcert"
	"github.com/vietddude/load-balancer/server"
)

// TestEveryExpressionHasData starts a balancer in front of three backends, loads it, has Prometheus scrape it, and asks
// for everything that dashboards and alerts ask for.
func TestEveryExpressionHasData(t *testing.T) {
	program(t, "prometheus")
	balancer := startBalancer(t)
	load(t, "http://"+balancer)
	prometheus := startPrometheus(t, balancer)
	expectData(t, prometheus, append(panelExpressions(t), alertExpressions(t)...))
}

// startBalancer runs a balancer until the test ends, and returns the address of its clear listener. Its configuration
// has what makes each metric appear: TLS, probes, breakers, sessions, retries, hedges, a snapshot, a source with a
// zone and an item that is wrong.
func startBalancer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	pair := testcert.Write(t, dir, "localhost")
	discovered := filepath.Join(dir, "discovered.yaml")
	announce(t, discovered, backend(t))
	config := filepath.Join(dir, "config.yaml")
	write(t, config, fmt.Sprintf(`
listen:
  - {address: 127.0.0.1, port: 0}
  - {address: 127.0.0.1, port: 0, tls: {enabled: true, cert_file: %q, key_file: %q}}
admin: {address: "127.0.0.1:0"}
backends:
  - {id: backend1, url: %q}
  - {id: backend2, url: %q}
  - {id: gone, url: "http://127.0.0.1:1"}
discovery: [%q]
health_check: {interval: 300ms, timeout: 200ms, path: /health}
circuit_breaker: {failure_threshold: 5, reset_timeout: 1s, half_open_limit: 1}
sticky_session: {enabled: true, type: cookie}
retry: {max_retries: 2}
hedge: {percentile: 95}
metrics: {prometheus: {enabled: true, path: /metrics}}
snapshot: {path: %q}
`, pair.CertFile, pair.KeyFile, backend(t), backend(t), "file://"+discovered, filepath.Join(dir, "snapshot")))
	ctx, stop := context.WithCancel(context.Background())
	s, err := server.New(ctx, server.Options{ConfigFile: config, LogOutput: testLog{t}, Version: "test"})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the balancer ended with: %v", err)
		}
	})
	return s.Addrs().Listeners[0].String()
}

// announce writes a file for discovery, one of whose backends makes no sense, and changes the other's weight twice a
// second until the test ends.
func announce(t *testing.T, file, url string) {
	t.Helper()
	put := func(weight int) {
		write(t, file+".new", fmt.Sprintf("services:\n  shop:\n    backends:\n      - {id: a, url: %q, weight: %d, zone: east}\n"+
			"      - {id: b, url: \"http://nowhere:port\"}\nroutes:\n  - {name: shop, path: /shop, service: shop}\n", url, weight))
		if err := os.Rename(file+".new", file); err != nil {
			t.Error(err)
		}
	}
	put(1)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for weight := 2; ; weight = weight%9 + 1 {
			select {
			case <-stop:
				return
			case <-tick.C:
				put(weight)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
	})
}

// backend is the URL of a backend that answers its health check, and now and then a request with 500.
func backend(t *testing.T) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" && n.Add(1)%50 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, "hello\n")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// load sends requests until the test ends: most with a route, some without.
func load(t *testing.T, url string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	t.Cleanup(func() {
		stop()
		clients.Wait()
		client.CloseIdleConnections()
	})
	for _, path := range []string{"/", "/shop/cart"} {
		clients.Add(1)
		go func() {
			defer clients.Done()
			for tick := time.NewTicker(10 * time.Millisecond); ; {
				select {
				case <-ctx.Done():
					tick.Stop()
					return
				case <-tick.C:
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
				if err != nil {
					continue
				}
				if resp, err := client.Do(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		}()
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

// testLog passes the balancer's log to the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("balancer: %s", p)
	return len(p), nil
}
