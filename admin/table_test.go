package admin

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// ids are the backends of a service that a table shows, with their states.
func ids(v tableView, service string) []string {
	var out []string
	for _, s := range v.Services {
		for _, b := range s.Backends {
			if s.Name == service {
				out = append(out, b.ID+" "+b.State)
			}
		}
	}
	return out
}

func TestTheTableShowsWhatIsAnnounced(t *testing.T) {
	w := newWorld(t)
	var v tableView
	w.get("/api/v1/table", &v)
	if got, want := ids(v, "web"), []string{"a ready", "b ready", "c draining"}; !slices.Equal(got, want) {
		t.Errorf("web is shown as %v, want %v", got, want)
	}
	if want := (counts{Services: 2, Backends: 4, BackendsReady: 3, Routes: v.Counts.Routes, Problems: 1}); v.Counts != want || v.Matched != want {
		t.Errorf("the counts are %+v and %+v, want %+v", v.Counts, v.Matched, want)
	}
	if v.Generation == 0 || !v.Ready || v.Version != "v1" || time.Since(v.Time) > time.Minute {
		t.Errorf("generation %d, ready %v, version %s, time %v", v.Generation, v.Ready, v.Version, v.Time)
	}
	if i := slices.IndexFunc(v.Routes, func(r routeView) bool { return r.Name == "v1" }); i < 0 {
		t.Errorf("the route is not shown: %+v", v.Routes)
	} else if r := v.Routes[i]; r.Source != "etcd" || r.Host != "api.example.com" || r.Path != "/v1" || r.StripPrefix != "/v1" || r.Service != "api" {
		t.Errorf("the route is shown as %+v", r)
	}
	if len(v.Problems) != 1 || v.Problems[0].Source != "etcd" || v.Problems[0].Code != discovery.CodeBadURL {
		t.Errorf("the problems are %+v", v.Problems)
	}
	if len(v.Sources) != 2 || !v.Sources[0].Up || v.Sources[0].Synced == nil || v.Sources[0].Backends != 4 || v.Sources[0].Problems != 1 {
		t.Fatalf("the sources are %+v", v.Sources)
	}
	if s := v.Sources[1]; s.Up || s.Name != "consul" || s.Error != "connection refused" || s.Synced != nil {
		t.Errorf("consul is shown as %+v", s)
	}
}

func TestABackendIsShownWithItsState(t *testing.T) {
	w := newWorld(t)
	a := find(w.catalog.Table(), "web", "a")
	a.State.Begin()
	a.State.Stats.Observe(200, time.Millisecond)
	a.State.Stats.Observe(0, time.Millisecond)
	a.State.SetLastProbe(backend.ProbeResult{At: time.Unix(1700000000, 0), Latency: 20 * time.Millisecond, Err: http.ErrHandlerTimeout})
	var s serviceView
	w.get("/api/v1/services/web", &s)
	if s.Name != "web" || s.Algorithm != "round-robin" || s.Ready != 2 || s.Total != 3 || len(s.Backends) != 3 {
		t.Fatalf("the service is shown as %+v", s)
	}
	if s.Policy == nil || s.Policy.Breaker == nil || s.Policy.Breaker.ResetTimeout != "1h0m0s" || s.Policy.Probe != nil {
		t.Errorf("the policy is shown as %+v", s.Policy)
	}
	b := s.Backends[0]
	if b.ID != "a" || b.URL != "http://10.0.0.1:8080" || b.Zone != "west" || b.Weight != 1 || b.InFlight != 1 || b.Health != "up" || b.Breaker != "closed" ||
		b.Requests["2xx"] != 1 || b.Requests["none"] != 1 || !slices.Equal(b.Sources, []string{"etcd"}) || b.Meta["note"] != hostile {
		t.Errorf("the backend is shown as %+v", b)
	}
	if p := b.LastProbe; p == nil || p.Seconds != 0.02 || p.Error != http.ErrHandlerTimeout.Error() || p.At.Unix() != 1700000000 {
		t.Errorf("the probe is shown as %+v", p)
	}
}

func TestTheStateTellsWhatKeepsExchangesAway(t *testing.T) {
	w := newWorld(t)
	table := w.catalog.Table()
	a, b := find(table, "web", "a"), find(table, "web", "b")
	now := time.Now()
	a.State.SetHealth(backend.Down)
	permit, _ := b.State.Breaker.Allow(now)
	b.State.Breaker.Done(permit, now, breaker.Failure)
	if err := w.catalog.SetWeight("api", "a", new(int)); err != nil {
		t.Fatal(err)
	}
	w.await("the weight", func(t *routing.Table) bool { return find(t, "api", "a").Weight == 0 })
	// Health and breakers reach the ready set on their own way, soon after.
	var v tableView
	want := []string{"a " + stateDown, "b " + stateOpen, "c " + stateDraining}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		v = tableView{}
		w.get("/api/v1/table", &v)
		if slices.Equal(ids(v, "web"), want) && slices.Equal(ids(v, "api"), []string{"a " + stateZeroWeight}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("web is shown as %v, want %v; api as %v", ids(v, "web"), want, ids(v, "api"))
		}
	}
}

func TestTheTableIsFiltered(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		query    string
		web, api []string
		matched  counts // routes apart
	}{
		{"q=WEB", []string{"a ready", "b ready", "c draining"}, nil, counts{Services: 1, Backends: 3, BackendsReady: 2, Problems: 1}},
		{"q=10.0.0.2", []string{"b ready"}, nil, counts{Services: 1, Backends: 1, BackendsReady: 1}},
		{"q=West", []string{"a ready"}, nil, counts{Services: 1, Backends: 1, BackendsReady: 1}},
		{"q=nothing-like-it", nil, nil, counts{}},
		{"state=unready", []string{"c draining"}, nil, counts{Services: 1, Backends: 1, Problems: 1}},
		{"state=ready", []string{"a ready", "b ready"}, []string{"a ready"}, counts{Services: 2, Backends: 3, BackendsReady: 3, Problems: 1}},
		{"limit=2", []string{"a ready"}, []string{"a ready"}, counts{Services: 2, Backends: 4, BackendsReady: 3, Problems: 1}},
		{"limit=1", nil, []string{"a ready"}, counts{Services: 2, Backends: 4, BackendsReady: 3, Problems: 1}},
		{"limit=0", []string{"a ready", "b ready", "c draining"}, []string{"a ready"}, counts{Services: 2, Backends: 4, BackendsReady: 3, Problems: 1}},
		{"q=web&state=unready&limit=9", []string{"c draining"}, nil, counts{Services: 1, Backends: 1, Problems: 1}},
	} {
		t.Run(c.query, func(t *testing.T) {
			var v tableView
			w.get("/api/v1/table?"+c.query, &v)
			v.Matched.Routes = 0
			if v.Matched != c.matched {
				t.Errorf("%+v match, want %+v", v.Matched, c.matched)
			}
			if got := ids(v, "web"); !slices.Equal(got, c.web) {
				t.Errorf("web is shown as %v, want %v", got, c.web)
			}
			if got := ids(v, "api"); !slices.Equal(got, c.api) {
				t.Errorf("api is shown as %v, want %v", got, c.api)
			}
			if v.Counts.Backends != 4 {
				t.Errorf("the counts are %+v", v.Counts)
			}
		})
	}
	for query, part := range map[string]string{"state=up": "ready or unready", "limit=-1": "limit", "limit=x": "limit"} {
		expectError(t, w.do(http.MethodGet, "/api/v1/table?"+query, ""), http.StatusBadRequest, part)
	}
}

func TestSmallerAnswers(t *testing.T) {
	w := newWorld(t)
	var sources struct{ Sources []sourceView }
	w.get("/api/v1/sources", &sources)
	if len(sources.Sources) != 2 || sources.Sources[0].Resyncs["start"] != 1 || sources.Sources[0].Rejected["bad-url"] != 1 {
		t.Errorf("the sources are %+v", sources)
	}
	var version map[string]string
	w.get("/api/v1/version", &version)
	if version["version"] != "v1" || version["revision"] != "abc" || version["go"] == "" || version["started"] != "2023-11-14T22:13:20Z" {
		t.Errorf("the version is %v", version)
	}
	if rec := w.do(http.MethodGet, "/metrics", ""); rec.Body.String() != "lb_up 1\n" {
		t.Errorf("the metrics are %q", rec.Body)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	expectError(t, w.do(http.MethodGet, "/api/v1/services/wbe", ""), http.StatusNotFound, `no service "wbe"`)
	expectError(t, w.do(http.MethodGet, "/api/v1/nothing", ""), http.StatusNotFound, "/api/v1/table")
	expectError(t, w.do(http.MethodGet, "/index.html", ""), http.StatusNotFound, "status page")
	for path, allow := range map[string]string{
		"/api/v1/table":                   "GET, HEAD",
		"/api/v1/services/web":            "GET, HEAD",
		"/api/v1/services/web/backends/a": "DELETE, PATCH, PUT",
		"/healthz":                        "GET, HEAD",
		"/":                               "GET, HEAD",
	} {
		rec := w.do(http.MethodPost, path, "{}")
		expectError(t, rec, http.StatusMethodNotAllowed, allow)
		if got := rec.Header().Get("Allow"); got != allow {
			t.Errorf("%s allows %q, want %q", path, got, allow)
		}
	}
}
