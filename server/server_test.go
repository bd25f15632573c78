package server_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/server"
)

// list is the backends block of a configuration.
func list(backends ...*testBackend) string {
	var b strings.Builder
	b.WriteString("backends:\n")
	for _, x := range backends {
		fmt.Fprintf(&b, "  - {id: %s, url: %q}\n", x.name, x.url())
	}
	return b.String()
}

func TestRequestsAreSpreadOverTheConfiguredBackends(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, list(a, b), nil)
	lb.ready()
	got := lb.spread(1000)
	if got["a"] != 500 || got["b"] != 500 {
		t.Errorf("spread %v, want 500 each", got)
	}
}

func TestWeightsAreKeptExactly(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, fmt.Sprintf("algorithm: weighted-round-robin\nbackends:\n  - {id: a, url: %q, weight: 1}\n  - {id: b, url: %q, weight: 3}\n", a.url(), b.url()), nil)
	lb.ready()
	got := lb.spread(400)
	if got["a"] != 100 || got["b"] != 300 {
		t.Errorf("spread %v, want 100 and 300", got)
	}
}

func TestNoGETFailsWhileABackendIsKilledUnderLoad(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, list(a, b), nil)
	lb.ready()
	l := startLoad(lb, 4, lb.url()+"/")
	l.more(t, 100)
	a.kill()
	l.more(t, 300)
	a.start()
	l.more(t, 100)
	l.end(t)
}

func TestProbesTakeABackendOutAndBackIn(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, list(a, b)+"health_check: {interval: 50ms, timeout: 1s, path: /health, failure_threshold: 2}\n", nil)
	lb.ready()
	a.health.Store(http.StatusInternalServerError)
	await(t, "only b answers", func() bool { return lb.spread(10)["b"] == 10 })
	a.health.Store(http.StatusOK)
	await(t, "a answers again", func() bool { return lb.spread(10)["a"] == 5 })
}

func TestAServiceWithoutAnyReadyBackendAnswers503(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, list(a)+"panic_threshold: never\nhealth_check: {interval: 50ms, path: /health, failure_threshold: 1}\n", nil)
	lb.ready()
	a.health.Store(http.StatusServiceUnavailable)
	await(t, "503", func() bool {
		code, body := lb.get(lb.url() + "/")
		return code == http.StatusServiceUnavailable && !strings.Contains(body, a.addr)
	})
}

func TestMetricsAreServedToClientsAndOnTheAdminAddress(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, list(a)+"metrics: {prometheus: {enabled: true, path: /metrics}}\n", nil)
	lb.ready()
	lb.spread(3)
	for _, base := range []string{lb.url(), lb.admin()} {
		code, body := lb.get(base + "/metrics")
		if code != http.StatusOK || !strings.Contains(body, `lb_backend_requests_total{backend="a",code="2xx",service="default"} 3`) {
			t.Errorf("%s/metrics: status %d without the count of requests:\n%s", base, code, body)
		}
	}
}

func TestAChangedFileIsAppliedWithoutLosingARequest(t *testing.T) {
	a, b, c := startBackend(t, "a"), startBackend(t, "b"), startBackend(t, "c")
	lb := startBalancer(t, list(a, b), nil)
	lb.ready()
	l := startLoad(lb, 4, lb.url()+"/")
	l.more(t, 50)
	lb.write(list(b, c) + "algorithm: least-connections\n")
	await(t, "c answers and a does not", func() bool {
		got := lb.spread(10)
		return got["c"] > 0 && got["a"] == 0
	})
	l.more(t, 50)
	l.end(t)
}

func TestABadFileIsRefusedAsAWholeAndSaidSo(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, list(a), nil)
	lb.ready()
	lb.write(list(b) + "algorithm: fastest\n")
	lb.awaitLog("configuration refused")
	if got := lb.spread(4); got["a"] != 4 {
		t.Errorf("spread %v, want the old configuration's backend alone", got)
	}
	code, body := lb.get(lb.admin() + "/readyz")
	if code != http.StatusOK || !strings.Contains(body, "fastest") {
		t.Errorf("/readyz: status %d without the reason:\n%s", code, body)
	}
	lb.write(list(b))
	await(t, "the mended file is in force", func() bool { return lb.spread(1)["b"] == 1 })
	if _, body := lb.get(lb.admin() + "/readyz"); strings.Contains(body, "fastest") {
		t.Errorf("/readyz still tells of the mended mistake:\n%s", body)
	}
}

func TestAChangeThatNeedsARestartIsNamed(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, list(a), nil)
	lb.ready()
	lb.write(list(a) + "limits: {head_bytes: 20000}\n")
	lb.awaitLog("only a restart can follow")
	lb.awaitLog("settings=limits")
}

func TestShutdownFinishesWhatIsUnderWayAndTurnsUnready(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, list(a), nil)
	lb.ready()
	release := make(chan struct{})
	a.hold.Store(&release)
	answer := make(chan string, 1)
	go func() {
		code, body := lb.get(lb.url() + "/")
		answer <- fmt.Sprintf("%d %s", code, body)
	}()
	await(t, "the request is at the backend", func() bool { return a.requests.Load() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- lb.stop() }()
	await(t, "/readyz is 503", func() bool {
		code, _ := lb.get(lb.admin() + "/readyz")
		return code == http.StatusServiceUnavailable
	})
	await(t, "no new connection is accepted", func() bool {
		c, err := net.Dial("tcp", lb.server.Addrs().Listeners[0].String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-answer; got != "200 a" {
		t.Errorf("the exchange under way got %q, want its answer", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

func TestShutdownCutsWhatDoesNotFinishInTime(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, list(a)+"shutdown_timeout: 100ms\n", nil)
	lb.ready()
	release := make(chan struct{})
	defer close(release)
	a.hold.Store(&release)
	go lb.get(lb.url() + "/")
	await(t, "the request is at the backend", func() bool { return a.requests.Load() == 1 })
	if err := lb.stop(); err == nil || !strings.Contains(err.Error(), "shutdown_timeout") {
		t.Errorf("Run returned %v, want an error that names shutdown_timeout", err)
	}
	lb.stop = func() error { return nil }
}

func TestAPortInUseIsAClearError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = server.New(t.Context(), server.Options{Override: func(c *config.Config) error {
		c.Backends = []config.Backend{{ID: "a", URL: "http://127.0.0.1:1", Weight: 1}}
		c.Listen[0].Address, c.Listen[0].Port = "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
		return nil
	}})
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) || !strings.Contains(err.Error(), "another program uses the port") {
		t.Errorf("got %v, want an error that names the address and says what to do", err)
	}
}

func TestNothingToBalanceIsRefused(t *testing.T) {
	_, err := server.New(t.Context(), server.Options{})
	if err == nil || !strings.Contains(err.Error(), "--discovery") {
		t.Errorf("got %v, want an error that tells how to name a source", err)
	}
}

func TestAllMistakesOfAFileAreToldAtOnce(t *testing.T) {
	_, err := server.New(t.Context(), server.Options{Environment: []string{"LB_LISTEN_PORT=x", "LB_ALGORITHM=y"}})
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("got %v, want both problems", err)
	}
}

func TestBackendsAreSteeredByTheAPI(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, list(a), nil)
	lb.ready()
	call := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequest(method, lb.admin()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := lb.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
		}
	}
	call("PUT", "/api/v1/services/default/backends/b", fmt.Sprintf(`{"url":%q}`, b.url()))
	await(t, "b takes its half", func() bool { return lb.spread(10)["b"] == 5 })
	call("PATCH", "/api/v1/services/default/backends/a", `{"draining":true}`)
	await(t, "a drains", func() bool { return lb.spread(10)["b"] == 10 })
	call("PATCH", "/api/v1/services/default/backends/a", `{"draining":false}`)
	await(t, "a is back", func() bool { return lb.spread(10)["a"] == 5 })
	call("DELETE", "/api/v1/services/default/backends/b", "")
	await(t, "b is gone", func() bool { return lb.spread(10)["a"] == 10 })
}

func TestSessionsStayWithTheirBackend(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	lb := startBalancer(t, list(a, b)+"sticky_session: {enabled: true, type: cookie, cookie_name: session_id, timeout: 1h}\n", nil)
	lb.ready()
	resp, err := lb.client.Get(lb.url() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first, _ := io.ReadAll(resp.Body)
	cookies := resp.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "session_id" || !cookies[0].HttpOnly {
		t.Fatalf("cookies %v, want one HttpOnly session_id", cookies)
	}
	for range 10 {
		req, _ := http.NewRequest(http.MethodGet, lb.url()+"/", nil)
		req.AddCookie(cookies[0])
		resp, err := lb.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != string(first) {
			t.Fatalf("the session went from %s to %s", first, body)
		}
	}
}
