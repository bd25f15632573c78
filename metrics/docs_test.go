package metrics

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of metrics into docs/metrics.md")

const (
	docFile  = "../docs/metrics.md"
	docBegin = "<!-- metrics: begin; go test ./metrics -update writes what follows -->\n"
	docEnd   = "<!-- metrics: end -->\n"
)

func TestTheDocumentationListsWhatIsEmitted(t *testing.T) {
	text, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), docBegin)
	if !ok {
		t.Fatalf("%s lacks the line %s", docFile, docBegin)
	}
	got, after, ok := strings.Cut(rest, docEnd)
	if !ok {
		t.Fatalf("%s lacks the line %s", docFile, docEnd)
	}
	want := documented()
	if got == want {
		return
	}
	if *update {
		if err := os.WriteFile(docFile, []byte(before+docBegin+want+docEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what is emitted; run go test ./metrics -update. Want:\n%s", docFile, want)
}

// documented is the table as docs/metrics.md has it.
func documented() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, m := range Metrics() {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help)
	}
	return b.String()
}
