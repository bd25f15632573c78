package monitoring

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/metrics"
)

// program is the path of a program that the test needs; the test is skipped without it.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not in PATH; on Debian it comes with: apt-get install prometheus", name)
	}
	return path
}

func TestPromtoolTakesConfigurationAndRules(t *testing.T) {
	out, err := exec.Command(program(t, "promtool"), "check", "config", root+"/prometheus/prometheus.yml").CombinedOutput()
	if err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "rules found") {
		t.Errorf("promtool has not read the rules:\n%s", out)
	}
}

func TestPromtoolTestsTheRules(t *testing.T) {
	out, err := exec.Command(program(t, "promtool"), "test", "rules", root+"/prometheus/alerts_test.yml").CombinedOutput()
	if err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
}

func TestComposeFileIsValid(t *testing.T) {
	cmd := exec.Command("docker", "compose", "version")
	args := []string{"docker", "compose"}
	if cmd.Run() != nil {
		path, err := exec.LookPath("docker-compose")
		if err != nil {
			t.Skip("neither docker compose nor docker-compose is in PATH")
		}
		args = []string{path}
	}
	args = append(args, "-f", root+"/docker-compose.yml", "config", "-q")
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

var ourMetric = regexp.MustCompile(`\blb_[a-z0-9_]+\b`)

func TestExpressionsNameMetricsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range metrics.Metrics() {
		known[m.Name] = true
		if m.Kind == metrics.HistogramKind {
			known[m.Name+"_bucket"], known[m.Name+"_sum"], known[m.Name+"_count"] = true, true, true
		}
	}
	for _, e := range append(panelExpressions(t), alertExpressions(t)...) {
		for _, name := range ourMetric.FindAllString(e.text, -1) {
			if !known[name] {
				t.Errorf("%s names %s, which is no metric of the balancer", e.where, name)
			}
		}
		if strings.Contains(e.text, "$") {
			t.Errorf("%s has a variable that nothing replaces: %s", e.where, e.text)
		}
	}
}

func TestDashboardsAreWellFormed(t *testing.T) {
	uids := map[string]string{}
	for file, d := range dashboards(t) {
		if d.UID == "" || d.Title == "" {
			t.Errorf("%s lacks uid or title", file)
		}
		if other := uids[d.UID]; other != "" {
			t.Errorf("%s and %s have the same uid", file, other)
		}
		uids[d.UID] = file
		ids := map[int]bool{}
		for i, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", file, p.ID)
			}
			ids[p.ID] = true
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: %s asks for nothing", file, p.Title)
			}
			if p.Type != "row" && (p.Datasource == nil || p.Datasource.UID != "${datasource}") {
				t.Errorf("%s: %s does not use the chosen data source", file, p.Title)
			}
			for _, q := range d.Panels[:i] {
				a, b := p.GridPos, q.GridPos
				if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("%s: %s and %s overlap", file, p.Title, q.Title)
				}
			}
		}
	}
}
