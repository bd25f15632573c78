package integration

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/integration/containers"
)

const (
	// prompt is how soon a change that the balancer hears of must show.
	prompt = time.Second
	// recovery is how soon the balancer must be in step again with a source that came back.
	recovery = 15 * time.Second
)

// outage is how long a source is away where that matters: LBTEST_OUTAGE, or 15 s.
func outage() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("LBTEST_OUTAGE")); err == nil && d > 0 {
		return d
	}
	return 15 * time.Second
}

// answerer is the name that a demo backend answers with.
func answerer(resp *http.Response, body []byte) (string, error) {
	if name := resp.Header.Get("X-Backend"); name != "" {
		return name, nil
	}
	return "", errors.New("the answer does not tell which backend it is from")
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// expectServed waits until each of the backends has answered. Errors before that do not count: a balancer that has just
// begun knows of none.
func expectServed(t *testing.T, url string, names ...string) {
	t.Helper()
	client := newClient(t)
	missing := make(map[string]bool)
	for _, name := range names {
		missing[name] = true
	}
	eventually(t, recovery, "all backends are served", func() bool {
		if name, err := get(client, url); err == nil {
			delete(missing, name)
		}
		return len(missing) == 0
	})
}

// expectSpread requires that these backends and no others answer, in equal shares but for one request each.
func expectSpread(t *testing.T, url string, n int, names ...string) {
	t.Helper()
	by := spread(t, url, n)
	share := n / len(names)
	for _, name := range names {
		if d := by[name] - share; d < -1 || d > 1 {
			t.Errorf("%d requests are spread as %v, want %d each on %v", n, by, share, names)
			return
		}
	}
	if len(by) != len(names) {
		t.Errorf("%d requests are spread as %v, want them on %v alone", n, by, names)
	}
}

// metric reads one line of the balancer's metrics: the value of the series as it is written there, empty if there is none.
func metric(t *testing.T, balancer *containers.Container, series string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+balancer.Addr(containers.AdminPort)+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+containers.AdminToken)
	resp, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: status %d, %v: %.200s", resp.StatusCode, err, text)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
