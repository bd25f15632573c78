package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestHealthzAnswersWhileTheProcessWorks(t *testing.T) {
	w := newWorld(t)
	w.checks = []Check{{Name: "shutdown", Required: true}}
	if rec := w.do(http.MethodGet, "/healthz", ""); rec.Code != http.StatusOK || rec.Body.String() != "ok\n" {
		t.Errorf("the answer is %d %q", rec.Code, rec.Body)
	}
}

func TestReadyzFollowsTheRequiredChecks(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		checks []Check
		status int
		first  string
		has    string
	}{
		{"all hold", []Check{{Name: "table", OK: true, Required: true}}, 200, "ready", "ok   table\n"},
		{"one fails", []Check{{Name: "table", OK: true, Required: true}, {Name: "shutdown", Required: true, Detail: "stopping"}}, 503, "not ready", "FAIL shutdown: stopping\n"},
		{"one that is not required fails", []Check{{Name: "config", Detail: "line 3:\n  weight"}}, 200, "ready", "warn config: line 3: weight\n"},
		{"a source is out of step", nil, 200, "ready", "warn source consul: never in step yet: connection refused\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.checks = c.checks
			rec := w.do(http.MethodGet, "/readyz", "")
			first, _, _ := strings.Cut(rec.Body.String(), "\n")
			if rec.Code != c.status || first != c.first || !strings.Contains(rec.Body.String(), c.has) {
				t.Errorf("the answer is %d %q, want %d, %q and %q in it", rec.Code, rec.Body, c.status, c.first, c.has)
			}
		})
	}
}

func TestReadyzSpeaksJSONWhenAsked(t *testing.T) {
	w := newWorld(t)
	w.checks = []Check{{Name: "table", Required: true, Detail: "nothing yet"}}
	rec := w.do(http.MethodGet, "/readyz", "", "Accept", "application/json")
	var got struct {
		Ready  bool
		Checks []Check
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if rec.Code != http.StatusServiceUnavailable || got.Ready || len(got.Checks) != 3 || got.Checks[0] != w.checks[0] {
		t.Errorf("the answer is %d %+v", rec.Code, got)
	}
}

func TestReadyzTellsStrangersTheVerdictAlone(t *testing.T) {
	guarded, open := newWorld(t, withToken), newWorld(t)
	guarded.checks = []Check{{Name: "table", Required: true, Detail: "secret plan"}}
	open.checks = guarded.checks
	for name, rec := range map[string]string{
		"without the token": guarded.do(http.MethodGet, "/readyz", "", "Authorization", "").Body.String(),
		"by another name":   open.do(http.MethodGet, "/readyz", "", "Host", "evil.example").Body.String(),
	} {
		if rec != "not ready\n" {
			t.Errorf("%s the answer is %q", name, rec)
		}
	}
	if body := guarded.do(http.MethodGet, "/readyz", "").Body.String(); !strings.Contains(body, "secret plan") {
		t.Errorf("with the token the answer is %q", body)
	}
}
