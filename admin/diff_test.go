package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// vanish has etcd announce a fleet and then a listing without anything.
func (w *world) vanish() {
	w.t.Helper()
	etcd := w.catalog.Sink("etcd")
	for i := range 6 {
		s := discovery.Service{Name: fmt.Sprint("fleet", i), Seen: time.Now()}
		for k := range 4 {
			s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprint("b", k), URL: fmt.Sprintf("http://10.9.%d.%d:80", i, k), Weight: 1})
		}
		etcd.Service(s)
	}
	w.await("the fleet", func(t *routing.Table) bool { return t.Service("fleet5") != nil })
	etcd.Resync("reconnect")
	etcd.Synced()
	w.await("what is held", func(t *routing.Table) bool { return find(t, "fleet5", "b0").Held })
}

func TestWhatIsHeldIsShownAndReleased(t *testing.T) {
	w := newWorld(t)
	w.vanish()
	var diff routing.Diff
	w.get("/api/v1/diff", &diff)
	if len(diff.Held) != 29 || len(diff.Shadow) != 0 || diff.Held[0].Source != "etcd" || diff.Held[0].Until == nil {
		t.Errorf("the difference is %+v", diff)
	}
	var table tableView
	w.get("/api/v1/table", &table)
	if g := table.Sources[0].Guard; g == nil || g.Backends != 28 || g.Announced != 28 || g.Gone != 28 || table.Sources[1].Guard != nil {
		t.Errorf("the guard is shown as %+v", g)
	}
	if !table.Services[0].Backends[0].Held || table.Fingerprint == "" {
		t.Errorf("backends are shown as %+v in table %q", table.Services[0].Backends[0], table.Fingerprint)
	}
	if rec := w.do(http.MethodGet, "/readyz", ""); !strings.Contains(rec.Body.String(), "warn guard of etcd: 28 of 28 backends were gone at once; 28 that answer") {
		t.Errorf("readyz says %s", rec.Body)
	}
	expectError(t, w.do(http.MethodPost, "/api/v1/guard/release", `{"source": "nobody"}`), http.StatusNotFound, `no source "nobody"`)
	expectError(t, w.do(http.MethodPost, "/api/v1/guard/release", `{"of": "etcd"}`), http.StatusBadRequest, "of")
	expectError(t, w.do(http.MethodGet, "/api/v1/guard/release", ""), http.StatusMethodNotAllowed, "POST")
	if rec := w.do(http.MethodPost, "/api/v1/guard/release", `{}`); rec.Code != http.StatusOK || rec.Body.String() != "{\"released\":28}\n" {
		t.Errorf("the release is answered %d %s", rec.Code, rec.Body)
	}
	w.await("the source's own word", func(t *routing.Table) bool { return find(t, "fleet5", "b0") == nil })
	w.get("/api/v1/diff", &diff)
	if len(diff.Held) != 0 {
		t.Errorf("after the release are held %+v", diff.Held)
	}
}

func TestWhatIsStaleIsShown(t *testing.T) {
	w := newWorld(t)
	etcd := w.catalog.Sink("etcd")
	etcd.Service(discovery.Service{Name: "web", Seen: time.Now(), Stale: []discovery.Stale{
		{Part: discovery.StaleService, Reason: discovery.CodeQueryFailed, Detail: "timed out: " + hostile}}})
	var table tableView
	w.get("/api/v1/table", &table)
	if len(table.Stale) != 1 || table.Stale[0].Source != "etcd" || table.Stale[0].Service != "web" || table.Stale[0].Reason != "query-failed" || table.Sources[0].Stale != 1 {
		t.Errorf("stale are %+v", table.Stale)
	}
	if rec := w.do(http.MethodGet, "/readyz", ""); !strings.Contains(rec.Body.String(), "warn stale items of etcd: 1;") {
		t.Errorf("readyz says %s", rec.Body)
	}
	w.get("/api/v1/table?q=nothing-like-it", &table)
	if len(table.Stale) != 0 {
		t.Errorf("the filter lets pass %+v", table.Stale)
	}
}
