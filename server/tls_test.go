package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/internal/testcert"
)

// exampleConfig is the example of the documentation, with backends and certificates of the test.
func exampleConfig(f testcert.Files, a, b *testBackend) string {
	return fmt.Sprintf(`
listen:
  port: 8080
  tls: {enabled: true, cert_file: %q, key_file: %q}
algorithm: "round-robin"
backends:
  - {id: "backend1", url: %q, weight: 1}
  - {id: "backend2", url: %q, weight: 2}
health_check: {interval: "30s", timeout: "5s", path: "/health", failure_threshold: 3}
circuit_breaker: {failure_threshold: 5, reset_timeout: "30s", half_open_limit: 3}
sticky_session: {enabled: true, type: "cookie", cookie_name: "session_id", timeout: "1h"}
metrics: {prometheus: {enabled: true, path: "/metrics"}}
`, f.CertFile, f.KeyFile, a.url(), b.url())
}

func TestTheExampleConfigurationServesHTTPSOverBothVersions(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	files := testcert.Write(t, t.TempDir(), "127.0.0.1")
	lb := startBalancer(t, exampleConfig(files, a, b), nil)
	lb.ready()
	lb.serves("default", "backend1", "backend2") // their first probes are through
	base := "https://" + lb.server.Addrs().Listeners[0].String()
	for _, protocol := range []string{"http/1.1", "h2"} {
		tr := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: files.Pool(), NextProtos: []string{protocol}},
			ForceAttemptHTTP2: protocol == "h2",
		}
		c := &http.Client{Transport: tr, Timeout: 10 * time.Second}
		counts := map[string]int{}
		for range 100 {
			resp, err := c.Get(base + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			counts[string(body)]++
			if want := map[string]int{"http/1.1": 1, "h2": 2}[protocol]; resp.ProtoMajor != want {
				t.Fatalf("%s: the answer came by %s", protocol, resp.Proto)
			}
			if cookies := resp.Cookies(); len(cookies) != 1 || !cookies[0].Secure {
				t.Fatalf("cookies %v, want one that is Secure", cookies)
			}
		}
		tr.CloseIdleConnections()
		if counts["a"] != 50 || counts["b"] != 50 {
			t.Errorf("%s: spread %v, want 50 each", protocol, counts)
		}
	}
}

func TestACertificateIsSwappedUnderLoadWithoutAFailedRequest(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	dir := t.TempDir()
	files := testcert.Write(t, dir, "127.0.0.1")
	lb := startBalancer(t, exampleConfig(files, a, b), nil)
	lb.ready()
	addr := lb.server.Addrs().Listeners[0].String()
	l := startLoad(lb, 4, "https://"+addr+"/")
	l.more(t, 50)
	next := testcert.Write(t, dir, "127.0.0.1")
	start := time.Now()
	await(t, "new connections are shown the new certificate", func() bool {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // it is compared below
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Equal(next.Leaf)
	})
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("the new certificate was shown after %v", d)
	}
	l.more(t, 50)
	l.end(t)
}
