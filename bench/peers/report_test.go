//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 100}, 3.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

func testResults() results {
	r := results{
		Title: "T", Rounds: 3, Proxies: []string{"loadbalancer", "haproxy", "nginx"},
		Versions:       map[string]string{"nginx": "a|b"},
		ScenarioTitles: map[string]string{"small": "Small", "idle": "Idle"}, scenariosInOrder: []string{"small", "idle"},
	}
	add := func(s sample) { s.Mode = "pinned"; r.Samples = append(r.Samples, s) }
	for i, cpu := range []float64{10, 20, 40} { // the machine got slower and slower
		add(sample{Round: i + 1, Scenario: "small", Proxy: "haproxy", CPU: cpu, P99: cpu})
		add(sample{Round: i + 1, Scenario: "small", Proxy: "loadbalancer", CPU: cpu * []float64{2, 3, 1.5}[i], P99: cpu * []float64{0.5, 4, 0.7}[i]})
	}
	add(sample{Round: 1, Scenario: "small", Proxy: "nginx", CPU: 12, Errors: map[string]int64{"status 502": 2}})
	add(sample{Round: 2, Scenario: "small", Proxy: "nginx", CPU: 24, Errors: map[string]int64{"status 502": 1}})
	add(sample{Round: 1, Scenario: "idle", Proxy: "haproxy", CPU: 1, PerConn: 4})
	add(sample{Round: 1, Scenario: "idle", Proxy: "loadbalancer", CPU: 9, PerConn: 6})
	add(sample{Round: 1, Scenario: "idle", Proxy: "nginx", Failed: "it | broke"})
	return r
}

func TestRatiosAreTheMediansOfEachRounds(t *testing.T) {
	w := testResults().row("pinned", "small", "loadbalancer", baseline)
	if got := median(w.ratios); got != 2 {
		t.Errorf("got %v of %v, want 2: the ratio of medians would be 3", got, w.ratios)
	}
	if got := median(w.late); got != 0.7 {
		t.Errorf("latencies: got %v of %v, want 0.7", got, w.late)
	}
}

func TestTheReportHasTheFiguresAndTellsOfErrors(t *testing.T) {
	text := testResults().markdown()
	for _, want := range []string{
		"| Small | 2.00 | 1.00 | 1.20 *(!)* |",
		"| Idle | 1.50 | 1.00 | failed *(!)* |",
		"| Small | 60.0 | 20.0 | 18.0 *(!)* |",
		"| Idle | 6.0 | 4.0 | failed *(!)* |",
		"1.50–3.00",
		"3 status 502",
		`failed: it \| broke`,
		`a\|b`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestLargeBodiesAreComparedWithTheSplicingVariantToo(t *testing.T) {
	r := testResults()
	if text := r.markdown(); strings.Contains(text, "Ratio to "+splicing) {
		t.Errorf("it was not measured:\n%s", text)
	}
	r.Proxies = append(r.Proxies, splicing)
	r.Samples = append(r.Samples, sample{Round: 2, Mode: "pinned", Scenario: "small", Proxy: splicing, CPU: 30})
	_, after, _ := strings.Cut(r.markdown(), "Ratio to "+splicing)
	part, _, _ := strings.Cut(after, "###")
	if !strings.Contains(part, "| Small | 2.00 | 0.67 | 0.80 *(!)* | 1.00 |") || strings.Contains(part, "Idle") {
		t.Errorf("got\n%s", part)
	}
}

func TestEveryRowOfATableHasAllColumns(t *testing.T) {
	columns := 0
	for line := range strings.Lines(testResults().markdown()) {
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if n > 0 && columns > 0 && n != columns {
			t.Errorf("%d instead of %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestNamesOfListsAreKnownOrTold(t *testing.T) {
	name := func(s scenario) string { return s.name }
	got, err := selected(scenarios(), name, "tls,small", "scenario")
	if err != nil || len(got) != 2 || got[0].name != "small" || got[1].name != "tls" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := selected(scenarios(), name, "all", "scenario"); err != nil || len(got) != len(scenarios()) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := selected(scenarios(), name, "small,nope", "scenario"); err == nil || !strings.Contains(err.Error(), `no scenario "nope"`) {
		t.Error(err)
	}
}

func TestPinningLeavesACPUToTheLoad(t *testing.T) {
	got, err := modes("pinned", cpus{2, 3, 5})
	if err != nil || len(got[0].proxy) != 1 || len(got[0].load) != 2 || got[0].proxy[0] != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := modes("pinned", cpus{0}); err == nil {
		t.Error("one CPU is enough to pin the proxy")
	}
	if got, err := modes("shared", cpus{0}); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"--seconds", "0"}, {"--warmup", "-1"}, {"stray"}} {
		if o, err := parse(args); err == nil {
			t.Errorf("%v: %+v", args, o)
		}
	}
}
