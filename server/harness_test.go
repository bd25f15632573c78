package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testBackend is an HTTP server that answers with its name, and can be killed and started again on its port.
type testBackend struct {
	t    testing.TB
	name string
	addr string

	requests atomic.Int64
	health   atomic.Int64                  // the status of /health
	hold     atomic.Pointer[chan struct{}] // answers wait for it, if set

	mu     sync.Mutex
	server *http.Server
	done   chan struct{}
}

func startBackend(t testing.TB, name string) *testBackend {
	t.Helper()
	b := &testBackend{t: t, name: name, addr: "127.0.0.1:0"}
	b.health.Store(http.StatusOK)
	b.start()
	t.Cleanup(b.kill)
	return b
}

func (b *testBackend) start() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	ln, err := net.Listen("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	b.server = &http.Server{Handler: b}
	b.done = make(chan struct{})
	go func(s *http.Server, done chan struct{}) {
		defer close(done)
		_ = s.Serve(ln)
	}(b.server, b.done)
}

// kill cuts all connections and frees the port.
func (b *testBackend) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.server.Close()
	<-b.done
}

func (b *testBackend) url() string { return "http://" + b.addr }

func (b *testBackend) port() int {
	b.t.Helper()
	addr, err := netip.ParseAddrPort(b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return int(addr.Port())
}

func (b *testBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		w.WriteHeader(int(b.health.Load()))
		return
	}
	b.requests.Add(1)
	if hold := b.hold.Load(); hold != nil {
		<-*hold
	}
	_, _ = io.WriteString(w, b.name)
}

// balancer is a running server and what it logs.
type balancer struct {
	t      testing.TB
	server *server.Server
	logs   *syncBuffer
	file   string
	client *http.Client
	stop   func() error
}

// startBalancer runs a balancer with a configuration text; listeners and admin take free ports. It ends with the test.
func startBalancer(t testing.TB, text string, override func(*config.Config)) *balancer {
	t.Helper()
	b := &balancer{t: t, logs: new(syncBuffer), file: filepath.Join(t.TempDir(), "config.yaml")}
	b.write(text)
	var err error
	b.server, err = server.New(t.Context(), server.Options{
		ConfigFile: b.file,
		LogOutput:  b.logs,
		Version:    "test",
		Override: func(c *config.Config) error {
			for i := range c.Listen {
				c.Listen[i].Address, c.Listen[i].Port = "127.0.0.1", 0
			}
			c.Admin.Address = "127.0.0.1:0"
			if override != nil {
				override(c)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.server.Run(ctx) }()
	b.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the test's own certificates
	b.client = &http.Client{Transport: tr, Timeout: 20 * time.Second}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := b.stop(); err != nil {
			t.Errorf("the balancer ended with: %v", err)
		}
		if t.Failed() {
			t.Logf("the balancer logged:\n%s", b.logs)
		}
	})
	return b
}

// write replaces the configuration file as editors do: by renaming a new one over it.
func (b *balancer) write(text string) {
	b.t.Helper()
	next := b.file + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(next, b.file); err != nil {
		b.t.Fatal(err)
	}
}

func (b *balancer) url() string   { return "http://" + b.server.Addrs().Listeners[0].String() }
func (b *balancer) admin() string { return "http://" + b.server.Addrs().Admin.String() }

// get returns the status and body of a GET; an error of the connection is status 0.
func (b *balancer) get(url string) (int, string) {
	b.t.Helper()
	resp, err := b.client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// spread counts the answers of n GETs by body; one that is not 200 fails the test.
func (b *balancer) spread(n int) map[string]int {
	b.t.Helper()
	counts := map[string]int{}
	for range n {
		code, body := b.get(b.url() + "/")
		if code != http.StatusOK {
			b.t.Fatalf("status %d: %s", code, body)
		}
		counts[body]++
	}
	return counts
}

// await waits until a condition holds, and fails the test with what is missing after ten seconds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after 10 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// ready waits until the balancer is ready.
func (b *balancer) ready() {
	b.t.Helper()
	await(b.t, "the balancer is ready", func() bool {
		code, _ := b.get(b.admin() + "/readyz")
		return code == http.StatusOK
	})
}

// awaitLog waits for a text in the log.
func (b *balancer) awaitLog(text string) {
	b.t.Helper()
	await(b.t, fmt.Sprintf("the log has %q", text), func() bool { return strings.Contains(b.logs.String(), text) })
}

// load sends GETs from several clients until it is ended, and then tells how many were sent and which failed.
type load struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	sent   atomic.Int64
	failed syncBuffer
}

func startLoad(b *balancer, clients int, url string) *load {
	l := &load{stop: make(chan struct{})}
	for range clients {
		l.wg.Go(func() { l.client(b, url) })
	}
	return l
}

func (l *load) client(b *balancer, url string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			l.sent.Add(1)
			if code, body := b.get(url); code != http.StatusOK {
				fmt.Fprintf(&l.failed, "%d %s\n", code, strings.TrimSpace(body))
			}
		}
	}
}

// end ends the load and fails the test for each request that failed.
func (l *load) end(t testing.TB) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	if s := l.failed.String(); s != "" {
		t.Errorf("of %d requests failed:\n%s", l.sent.Load(), s)
	}
}

// more waits until further requests were sent.
func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	until := l.sent.Load() + n
	await(t, fmt.Sprintf("%d more requests were sent", n), func() bool { return l.sent.Load() >= until })
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
