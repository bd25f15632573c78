package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/config"
)

func TestABalancerServesFromItsSnapshotWhileItsSourcesAreAway(t *testing.T) {
	one := startBackend(t, "one")
	folder := t.TempDir()
	file, state := filepath.Join(folder, "fleet.yaml"), filepath.Join(folder, "state")
	fleetFile(t, file, 3, one)
	discovered := func(c *config.Config) {
		c.Discovery = []string{"file://" + file}
		c.Snapshot.Path = state
	}
	first := startBalancer(t, "{}\n", discovered)
	first.ready()
	drain, err := http.NewRequest(http.MethodPatch, first.admin()+"/api/v1/services/s2/backends/b0", strings.NewReader(`{"draining": true}`))
	if err != nil {
		t.Fatal(err)
	}
	drain.Header.Set("Content-Type", "application/json")
	resp, err := first.client.Do(drain)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	await(t, "the drain is in force", func() bool { return first.as("s2") == http.StatusServiceUnavailable })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}

	second := startBalancer(t, "{}\n", discovered)
	second.ready()
	if a, drained := second.as("s1"), second.as("s2"); a != http.StatusOK || drained != http.StatusServiceUnavailable {
		t.Errorf("s1 answers %d, and s2, which an operator had drained, %d", a, drained)
	}
	if _, text := second.get(second.admin() + "/readyz"); !strings.Contains(text, "warn source file: out of step for") || !strings.Contains(text, "serving from the snapshot") {
		t.Errorf("readyz says %s", text)
	}
	for _, want := range []string{`lb_discovery_from_snapshot{source="file"} 1`, "lb_snapshot_loaded 1", "lb_snapshot_corrupt 0"} {
		if _, text := second.get(second.admin() + "/metrics"); !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	fleetFile(t, file, 2, one)
	await(t, "the source is in step and obeyed", func() bool {
		_, text := second.get(second.admin() + "/metrics")
		return second.as("s2") == http.StatusServiceUnavailable && strings.Contains(text, `lb_discovery_from_snapshot{source="file"} 0`)
	})
	if a := second.as("s1"); a != http.StatusOK {
		t.Errorf("s1 answers %d", a)
	}
}

func TestADamagedSnapshotKeepsNobodyFromStarting(t *testing.T) {
	one := startBackend(t, "one")
	state := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(state, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := startBalancer(t, "backends: [{id: a, url: '"+one.url()+"'}]\n", func(c *config.Config) { c.Snapshot.Path = state })
	b.ready()
	b.awaitLog("the snapshot is not loaded")
	if aside, err := filepath.Glob(state + ".corrupt-*"); err != nil || len(aside) != 1 {
		t.Errorf("set aside are %v", aside)
	}
	if _, text := b.get(b.admin() + "/readyz"); !strings.Contains(text, "warn snapshot: it was not loaded at the start") {
		t.Errorf("readyz says %s", text)
	}
	if _, text := b.get(b.admin() + "/metrics"); !strings.Contains(text, "lb_snapshot_corrupt 1") {
		t.Error("the metrics do not tell")
	}
}
