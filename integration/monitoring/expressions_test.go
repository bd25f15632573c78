package monitoring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const root = "../.." // of the repository

// expression is something that Prometheus is to evaluate.
type expression struct {
	where string // file and panel, alert or variable, for people
	text  string
	// labels are those that the results must carry: what a legend or a variable shows.
	labels []string
}

// dashboard is the part of a dashboard's JSON that matters here.
type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID         int    `json:"id"`
	Type       string `json:"type"`
	Title      string `json:"title"`
	Datasource *struct {
		Type, UID string
	} `json:"datasource"`
	GridPos struct{ X, Y, W, H int } `json:"gridPos"`
	Panels  []panel                  `json:"panels"`
	Targets []struct {
		RefID        string `json:"refId"`
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
}

// dashboards reads all dashboards by file name.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(root + "/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no dashboards: %v", err)
	}
	out := map[string]dashboard{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out[filepath.Base(f)] = d
	}
	return out
}

var (
	legendLabel = regexp.MustCompile(`{{\s*(\w+)\s*}}`)
	labelValues = regexp.MustCompile(`^label_values\((.+),\s*(\w+)\)$`)
)

// panelExpressions are the expressions of all panels and template variables, as Grafana would send them.
func panelExpressions(t *testing.T) []expression {
	t.Helper()
	var out []expression
	for file, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				e := expression{where: file + ": " + p.Title + " (" + target.RefID + ")", text: substitute(target.Expr)}
				for _, m := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
					e.labels = append(e.labels, m[1])
				}
				out = append(out, e)
			}
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			query, _ := v.Query.(map[string]any)["query"].(string)
			m := labelValues.FindStringSubmatch(query)
			if m == nil {
				t.Fatalf("%s: the query %q of the variable %s is not understood", file, query, v.Name)
			}
			out = append(out, expression{where: file + ": variable " + v.Name, text: substitute(m[1]), labels: []string{m[2]}})
		}
	}
	return out
}

// substitute fills in what Grafana does: its own variables as for a look at the last minute, the dashboard's with "All".
func substitute(expr string) string {
	return strings.NewReplacer(
		"$__rate_interval", "30s", "$__interval", "15s", "$__range", "1m",
		"$instance", ".*", "$service", ".*", "$backend", ".*",
	).Replace(expr)
}

// alertExpressions are what the alerts compare: the left sides, which must have data while nothing is wrong.
func alertExpressions(t *testing.T) []expression {
	t.Helper()
	text, err := os.ReadFile(root + "/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var out []expression
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			left, ok := leftSide(r.Expr)
			if !ok {
				t.Errorf("the alert %s compares nothing: %s", r.Alert, r.Expr)
				continue
			}
			out = append(out, expression{where: "alert " + r.Alert, text: left})
		}
	}
	return out
}

// leftSide is what stands before the last comparison outside of all brackets and quotes.
func leftSide(expr string) (string, bool) {
	depth, at := 0, -1
	var quote byte
	for i := 0; i < len(expr); i++ {
		switch c := expr[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		case depth == 0 && strings.IndexByte("<>=!", c) >= 0 && (i == 0 || strings.IndexByte("<>=!", expr[i-1]) < 0):
			at = i
		}
	}
	if at < 0 {
		return "", false
	}
	return strings.TrimSpace(expr[:at]), true
}

func TestLeftSide(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{`up{job="lb"} == 0`, `up{job="lb"}`},
		{`a / (b > 0.1) >= 0.05`, `a / (b > 0.1)`},
		{`time() - x{a!="=="} > 600`, `time() - x{a!="=="}`},
		{`max_over_time((x == bool 1)[2m:15s]) == 1`, `max_over_time((x == bool 1)[2m:15s])`},
	} {
		if got, ok := leftSide(c.expr); !ok || got != c.want {
			t.Errorf("the left side of %s is %q, want %q", c.expr, got, c.want)
		}
	}
	if left, ok := leftSide("sum(x > 1)"); ok {
		t.Errorf("the left side of an expression without a comparison is %q", left)
	}
}
