package admin

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

func TestABackendIsAdded(t *testing.T) {
	w := newWorld(t)
	rec := w.do(http.MethodPut, "/api/v1/services/web/backends/d", `{"url": "10.0.0.4:8080", "weight": 3, "zone": "east"}`)
	if want := `{"service":"web","id":"d","url":"http://10.0.0.4:8080","weight":3,"zone":"east"}` + "\n"; rec.Code != http.StatusCreated || rec.Body.String() != want {
		t.Errorf("the answer is %d %s, want 201 %s", rec.Code, rec.Body, want)
	}
	w.await("the backend", func(t *routing.Table) bool { return find(t, "web", "d") != nil })
	b := find(w.catalog.Table(), "web", "d")
	if b.URL != "http://10.0.0.4:8080" || b.Weight != 3 || b.Zone != "east" {
		t.Errorf("the backend is %+v", b.Backend)
	}
	if rec := w.do(http.MethodPut, "/api/v1/services/web/backends/d", `{"url": "http://10.0.0.5:8080"}`); rec.Code != http.StatusOK {
		t.Errorf("replacing it is answered %d", rec.Code)
	}
	w.await("the replacement, of weight 1", func(t *routing.Table) bool {
		b := find(t, "web", "d")
		return b.URL == "http://10.0.0.5:8080" && b.Weight == 1
	})
}

func TestABackendOfANewServiceIsAdded(t *testing.T) {
	w := newWorld(t)
	if rec := w.do(http.MethodPut, "/api/v1/services/new/backends/i-1:8080%25x", `{"url": "http://10.0.0.4:8080"}`); rec.Code != http.StatusCreated {
		t.Fatalf("the answer is %d %s", rec.Code, rec.Body)
	}
	w.await("the service", func(t *routing.Table) bool { return find(t, "new", "i-1:8080%x") != nil })
}

func TestABackendIsRemoved(t *testing.T) {
	w := newWorld(t)
	if rec := w.do(http.MethodDelete, "/api/v1/services/web/backends/a", ""); rec.Code != http.StatusNoContent || rec.Body.Len() != 0 {
		t.Errorf("the answer is %d %s", rec.Code, rec.Body)
	}
	again := w.do(http.MethodDelete, "/api/v1/services/web/backends/a", "") // whatever the table still shows
	expectError(t, again, http.StatusNotFound, `"a"`)
	w.await("that the backend is gone", func(t *routing.Table) bool { return find(t, "web", "a") == nil })
}

func TestABackendIsWeighedAndDrained(t *testing.T) {
	w := newWorld(t)
	const path = "/api/v1/services/web/backends/b"
	for _, step := range []struct {
		body     string
		weight   int
		draining bool
	}{
		{`{"weight": 7}`, 7, false},
		{`{"draining": true}`, 7, true},
		{`{"weight": 0, "draining": false}`, 0, false},
		{`{"weight": null}`, 2, false},
	} {
		if rec := w.do(http.MethodPatch, path, step.body); rec.Code != http.StatusNoContent {
			t.Fatalf("%s is answered %d %s", step.body, rec.Code, rec.Body)
		}
		w.await(step.body, func(t *routing.Table) bool {
			b := find(t, "web", "b")
			return b.Weight == step.weight && (b.Draining || b.State.Draining()) == step.draining
		})
	}
}

func TestChangesThatMakeNoSenseAreRefused(t *testing.T) {
	w := newWorld(t)
	const good = "/api/v1/services/web/backends/a"
	for _, c := range []struct {
		method, path, body string
		status             int
		part               string
	}{
		{"PUT", good, `{"url": "http://10.0.0.1"`, 400, "cut short"},
		{"PUT", good, ``, 415, "application/json"},
		{"PUT", good, ` `, 400, "empty"},
		{"PUT", good, `null`, 400, "address is empty"},
		{"PUT", good, `[]`, 400, "cannot be taken"},
		{"PUT", good, `{}`, 400, "address is empty"},
		{"PUT", good, `{"url": "ftp://10.0.0.1:21"}`, 400, "scheme"},
		{"PUT", good, `{"url": "http://10.0.0.1:8080/path"}`, 400, "more than an address"},
		{"PUT", good, `{"url": "http://10.0.0.1:8080", "wieght": 2}`, 400, "wieght"},
		{"PUT", good, `{"url": "http://10.0.0.1:8080", "weight": -1}`, 400, "0 to 1000"},
		{"PUT", good, `{"url": "http://10.0.0.1:8080", "weight": 1001}`, 400, "0 to 1000"},
		{"PUT", good, `{"url": "http://10.0.0.1:8080", "weight": 1.5}`, 400, "weight"},
		{"PUT", good, `{"url": "http://10.0.0.1:8080"} {}`, 400, "more than one value"},
		{"PUT", good, `{"url": "` + strings.Repeat("x", maxBody) + `"}`, 413, "larger"},
		{"PUT", "/api/v1/services/..%2fx/backends/a", `{"url": "http://10.0.0.1:8080"}`, 400, "service"},
		{"PUT", "/api/v1/services/-/backends/a", `{"url": "http://10.0.0.1:8080"}`, 400, "service"},
		{"PUT", "/api/v1/services/web/backends/a%20b", `{"url": "http://10.0.0.1:8080"}`, 400, "backend"},
		{"PUT", "/api/v1/services/web/backends/a%2fb", `{"url": "http://10.0.0.1:8080"}`, 400, "backend"},
		{"PATCH", good, `{}`, 400, "nothing is to be changed"},
		{"PATCH", good, `{"weight": "2"}`, 400, "whole number"},
		{"PATCH", good, `{"weight": 2000}`, 400, "0 to 1000"},
		{"PATCH", good, `{"draining": "yes"}`, 400, "draining"},
		{"PATCH", good, `{"url": "http://10.0.0.9:1"}`, 400, "url"},
		{"PATCH", "/api/v1/services/web/backends/zzz", `{"weight": 2}`, 404, "zzz"},
		{"PATCH", "/api/v1/services/zzz/backends/a", `{"draining": true}`, 404, "zzz"},
		{"DELETE", "/api/v1/services/web/backends/zzz", "", 404, "zzz"},
		{"DELETE", "/api/v1/services/zzz/backends/a", "", 404, "zzz"},
	} {
		t.Run(c.method+" "+c.path+" "+c.body[:min(len(c.body), 40)], func(t *testing.T) {
			expectError(t, w.do(c.method, c.path, c.body), c.status, c.part)
		})
	}
	if b := find(w.catalog.Table(), "web", "a"); b == nil || b.URL != "http://10.0.0.1:8080" || b.Weight != 1 {
		t.Errorf("a refused change has changed the backend: %+v", b)
	}
}

func TestChangesAreLogged(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, withToken, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	w.do(http.MethodPut, "/api/v1/services/web/backends/d", `{"url": "http://10.0.0.4:8080"}`)
	w.do(http.MethodPatch, "/api/v1/services/web/backends/a", `{"weight": 5, "draining": true}`)
	w.do(http.MethodDelete, "/api/v1/services/web/backends/b", "")
	for _, want := range []string{"backend added", "backend changed", "backend removed", "weight=5 draining=true", "client="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
	if strings.Contains(log.String(), "sesame") {
		t.Errorf("the log holds the token:\n%s", &log)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"weight": 1}`, `{"weight": null, "draining": true}`, `{"weight": 1e3}`, `{`, `null`, `{"weight": {"a": [1]}}`, "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var p patch
		rec, r := newRequest(body)
		if !decode(rec, r, &p) {
			if rec.Code < 400 {
				t.Errorf("a body that was refused is answered %d", rec.Code)
			}
			return
		}
		if p.Weight == nil {
			return
		}
		if n, err := p.weight(); err == nil && n != nil && (*n < 0 || *n > discovery.MaxWeight) {
			t.Errorf("the weight %d is taken from %q", *n, body)
		}
	})
}
