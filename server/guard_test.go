package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/config"
)

// fleetFile writes the file of a file source: so many services of the given backends each.
func fleetFile(t testing.TB, file string, services int, backends ...*testBackend) {
	t.Helper()
	var text strings.Builder
	text.WriteString("services:\n")
	for i := range services {
		fmt.Fprintf(&text, "  s%d:\n    backends:\n", i)
		for k, b := range backends {
			fmt.Fprintf(&text, "      - {id: b%d, url: %q}\n", k, b.url())
		}
	}
	if services == 0 {
		text.WriteString("  other: {algorithm: random}\n")
	}
	if err := os.WriteFile(file+".next", []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

func (b *balancer) release(source string) (int, string) {
	b.t.Helper()
	resp, err := b.client.Post(b.admin()+"/api/v1/guard/release", "application/json", strings.NewReader(fmt.Sprintf(`{"source": %q}`, source)))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// as asks for a service by its host name.
func (b *balancer) as(service string) int {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, b.url()+"/", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Host = service
	resp, err := b.client.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestBackendsThatVanishAllAtOnceServeOnWhileTheyAnswer(t *testing.T) {
	one, two := startBackend(t, "one"), startBackend(t, "two")
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	fleetFile(t, file, 6, one, two)
	b := startBalancer(t, "guard: {mode: strict}\n", func(c *config.Config) { c.Discovery = []string{"file://" + file} })
	b.ready()
	fleetFile(t, file, 0)
	b.awaitLog("most of what the source announced is gone")
	if n := strings.Count(b.logs.String(), "most of what the source announced is gone"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	for range 20 {
		if code := b.as("s3"); code != http.StatusOK {
			t.Fatalf("a held service answers %d", code)
		}
	}
	var diff struct {
		Held []struct{ Service, Backend string }
	}
	_, body := b.get(b.admin() + "/api/v1/diff")
	if err := json.Unmarshal([]byte(body), &diff); err != nil || len(diff.Held) != 12 {
		t.Fatalf("the difference is %s, %v", body, err)
	}
	for _, want := range []string{`lb_guard_holding{source="file"} 1`, `lb_guard_held_backends{source="file"} 12`, `lb_guard_incidents_total{source="file"} 1`} {
		if _, text := b.get(b.admin() + "/metrics"); !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if _, text := b.get(b.admin() + "/readyz"); !strings.Contains(text, "guard of file") {
		t.Errorf("readyz says nothing of it: %s", text)
	}

	two.kill()
	await(t, "what does not answer is gone, the rest is held", func() bool {
		_, body := b.get(b.admin() + "/api/v1/diff")
		return json.Unmarshal([]byte(body), &diff) == nil && len(diff.Held) == 6
	})
	for range 20 {
		if code := b.as("s3"); code != http.StatusOK {
			t.Fatalf("with one backend left the held service answers %d", code)
		}
	}
	if code, body := b.release("nobody"); code != http.StatusNotFound {
		t.Errorf("the release of a source that is not known is answered %d %s", code, body)
	}
	if code, body := b.release("file"); code != http.StatusOK || !strings.Contains(body, `"released":6`) {
		t.Errorf("the release is answered %d %s", code, body)
	}
	await(t, "the source is obeyed", func() bool { return b.as("s3") == http.StatusServiceUnavailable })
}

func TestAHeldServiceIsProbedAsItsPolicySays(t *testing.T) {
	one := startBackend(t, "one")
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	fleetFile(t, file, 12, one)
	b := startBalancer(t, "guard: {mode: strict}\nhealth_check: {path: /health, interval: 1h}\n", func(c *config.Config) { c.Discovery = []string{"file://" + file} })
	b.ready()
	fleetFile(t, file, 0)
	b.awaitLog("most of what the source announced is gone")
	one.health.Store(http.StatusInternalServerError)
	await(t, "backends that are connected to but fail their health check are gone", func() bool {
		return b.as("s3") == http.StatusServiceUnavailable
	})
	b.awaitLog("nothing is held back any more")
}
