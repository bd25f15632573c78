//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// results are what a run found, and on what.
type results struct {
	Title, Note      string
	Machine, Kernel  string
	CPUs, Rounds     int
	Seconds, Warmup  float64
	Congestion       string // the system's congestion control, which large bodies feel
	Load             string // averages of the machine when it began
	Proxies          []string
	Versions         map[string]string
	Samples          []sample
	ScenarioTitles   map[string]string
	scenariosInOrder []string
}

// describe makes results without samples.
func describe(o options, on cpus, all []peer) results {
	r := results{
		Title: o.title, Note: o.comments, Machine: processor(), Kernel: kernel(), CPUs: len(on), Congestion: congestion(),
		Rounds: o.rounds, Seconds: o.seconds, Warmup: o.warmup, Load: loadAverage(),
		Versions: map[string]string{}, ScenarioTitles: map[string]string{},
	}
	for _, p := range all {
		r.Proxies = append(r.Proxies, p.name)
		r.Versions[p.name] = p.tell()
	}
	for _, s := range scenarios() {
		r.scenariosInOrder = append(r.scenariosInOrder, s.name)
		r.ScenarioTitles[s.name] = s.title
	}
	return r
}

// row is one proxy at one scenario in one mode, over all rounds.
type row struct {
	samples []sample // those with figures
	ratios  []float64
	late    []float64 // ratios of the 99th percentile of latency
	errors  map[string]int64
	failed  string
}

// row gathers it; nil if it was not measured. Ratios are to another proxy in the same round.
func (r results) row(mode, scenario, proxy, to string) *row {
	found := &row{errors: map[string]int64{}}
	base := map[int]sample{}
	for _, s := range r.Samples {
		if s.Mode == mode && s.Scenario == scenario && s.Proxy == to && s.Failed == "" {
			base[s.Round] = s
		}
	}
	seen := false
	for _, s := range r.Samples {
		if s.Mode != mode || s.Scenario != scenario || s.Proxy != proxy {
			continue
		}
		seen = true
		for kind, n := range s.Errors {
			found.errors[kind] += n
		}
		if s.Failed != "" {
			found.failed = s.Failed
			continue
		}
		found.samples = append(found.samples, s)
		if b := base[s.Round]; b.figure() > 0 {
			found.ratios = append(found.ratios, s.figure()/b.figure())
		}
		if b := base[s.Round]; b.P99 > 0 {
			found.late = append(found.late, s.P99/b.P99)
		}
	}
	if !seen {
		return nil
	}
	return found
}

// of returns the median of a figure.
func (w *row) of(figure func(sample) float64) float64 {
	var v []float64
	for _, s := range w.samples {
		v = append(v, figure(s))
	}
	return median(v)
}

// sound reports whether all rounds gave figures, without a single error.
func (w *row) sound() bool { return w.failed == "" && errorText(w.errors) == "none" }

// markdown returns the report.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", r.Title)
	fmt.Fprintf(&b, "%s, Linux %s, %d CPUs, congestion control %s, load average %s at the start. Rounds: %d of %g s each after %g s of warm-up; a new\n"+
		"process for each measurement, the proxies by turns. Figures are medians over the rounds, ratios to %s the medians of\n"+
		"each round's.\n", r.Machine, r.Kernel, r.CPUs, r.Congestion, r.Load, r.Rounds, r.Seconds, r.Warmup, baseline)
	if r.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", r.Note)
	}
	b.WriteString("\n")
	rows := [][]string{}
	for _, p := range r.Proxies {
		rows = append(rows, []string{p, r.Versions[p]})
	}
	table(&b, []string{"proxy", "version"}, rows)
	for _, m := range r.distinct(func(s sample) string { return s.Mode }) {
		r.writeMode(&b, m)
	}
	return b.String()
}

// distinct returns the values of a field in the order in which they first occur.
func (r results) distinct(field func(sample) string) []string {
	var values []string
	for _, s := range r.Samples {
		if v := field(s); !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	return values
}

func (r results) writeMode(b *strings.Builder, mode string) {
	measured := r.distinct(func(s sample) string { return s.Scenario })
	var scenarios []string
	for _, s := range r.scenariosInOrder {
		if slices.Contains(measured, s) {
			scenarios = append(scenarios, s)
		}
	}
	where := "proxy on one CPU, backends and load on the others"
	if mode == "shared" {
		where = "proxy, backends and load on all CPUs"
	}
	fmt.Fprintf(b, "\n## %s: %s\n\n", mode, where)
	fmt.Fprintf(b, "Anything else on the machine used %s.\n", r.noise(mode))
	fmt.Fprintf(b, "\n### Ratio to %s\n\nCPU time per request, memory for idle connections; lower is better. *(!)*: there were errors, see below.\n\n", baseline)
	r.matrix(b, mode, scenarios, baseline, ratio)
	if spliced := r.measuredBy(splicing, mode, scenarios); len(spliced) > 0 {
		fmt.Fprintf(b, "\n### Ratio to %s\n\nCPU time per request where bodies are large.\n\n", splicing)
		r.matrix(b, mode, spliced, splicing, ratio)
	}
	b.WriteString("\n### CPU µs per request, KiB per idle connection\n\n")
	r.matrix(b, mode, scenarios, baseline, func(w *row) string { return fmt.Sprintf("%.1f", w.of(sample.figure)) })
	b.WriteString("\n### All figures\n\n")
	r.details(b, mode, scenarios)
}

// ratio is the cell of a table of ratios.
func ratio(w *row) string {
	if len(w.ratios) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", median(w.ratios))
}

// measuredBy returns the scenarios that a proxy was measured at.
func (r results) measuredBy(proxy, mode string, scenarios []string) []string {
	var found []string
	for _, s := range scenarios {
		if w := r.row(mode, s, proxy, proxy); w != nil && len(w.samples) > 0 {
			found = append(found, s)
		}
	}
	return found
}

// noise tells what others used in a mode.
func (r results) noise(mode string) string {
	var v []float64
	for _, s := range r.Samples {
		if s.Mode == mode && s.Failed == "" {
			v = append(v, s.Others)
		}
	}
	if len(v) == 0 {
		return "an unknown share of its CPUs"
	}
	return fmt.Sprintf("%.2f CPUs meanwhile (median; at most %.2f)", median(v), slices.Max(v))
}

// matrix writes a table of scenarios by proxies, of rows whose ratios are to one of them.
func (r results) matrix(b *strings.Builder, mode string, scenarios []string, to string, cell func(*row) string) {
	var rows [][]string
	for _, s := range scenarios {
		line := []string{r.ScenarioTitles[s]}
		for _, p := range r.Proxies {
			w := r.row(mode, s, p, to)
			switch {
			case w == nil:
				line = append(line, "")
			case len(w.samples) == 0:
				line = append(line, "failed *(!)*")
			case w.sound():
				line = append(line, cell(w))
			default:
				line = append(line, cell(w)+" *(!)*")
			}
		}
		rows = append(rows, line)
	}
	table(b, append([]string{"scenario"}, r.Proxies...), rows)
}

// details writes a line for each scenario and proxy.
func (r results) details(b *strings.Builder, mode string, scenarios []string) {
	head := []string{
		"scenario", "proxy", "µs/request", "in the kernel", "ratio", "from–to", "requests/s", "p50 µs", "p99 µs",
		"p99 ratio", "CPU busy", "peak MiB", "others", "errors",
	}
	var rows [][]string
	for _, s := range scenarios {
		for _, p := range r.Proxies {
			if w := r.row(mode, s, p, baseline); w != nil {
				rows = append(rows, append([]string{s, p}, w.cells()...))
			}
		}
	}
	table(b, head, rows)
}

// cells are the figures of a row of details.
func (w *row) cells() []string {
	trouble := errorText(w.errors)
	if w.failed != "" {
		trouble = "failed: " + w.failed
	}
	if len(w.samples) == 0 {
		return append(slices.Repeat([]string{"–"}, 11), trouble)
	}
	span, late := "–", "–"
	if len(w.ratios) > 0 {
		span = fmt.Sprintf("%.2f–%.2f", slices.Min(w.ratios), slices.Max(w.ratios))
	}
	if len(w.late) > 0 {
		late = fmt.Sprintf("%.2f", median(w.late))
	}
	show := func(format string, figure func(sample) float64) string {
		if v := w.of(figure); v != 0 {
			return fmt.Sprintf(format, v)
		}
		return "–" // not measured here
	}
	return []string{
		show("%.1f", func(s sample) float64 { return s.CPU }),
		show("%.0f %%", func(s sample) float64 { return 100 * s.Kernel }),
		ratio(w), span,
		show("%.0f", func(s sample) float64 { return s.Rate }),
		show("%.0f", func(s sample) float64 { return s.P50 }),
		show("%.0f", func(s sample) float64 { return s.P99 }),
		late,
		show("%.0f %%", func(s sample) float64 { return 100 * s.Busy }),
		show("%.1f", func(s sample) float64 { return s.Memory }),
		fmt.Sprintf("%.2f", w.of(func(s sample) float64 { return s.Others })),
		trouble,
	}
}

// table writes a table whose first column is text and whose others are numbers.
func table(b *strings.Builder, head []string, rows [][]string) {
	line := func(cells []string) {
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.Join(strings.Fields(c), " "), "|", "\\|")
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	line(head)
	b.WriteString("| ---" + strings.Repeat(" | ---:", len(head)-1) + " |\n")
	for _, cells := range rows {
		line(cells)
	}
}

// processor is the CPU's name.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func congestion() string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
