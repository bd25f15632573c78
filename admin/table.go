package admin

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// filter is what /api/v1/table is asked to leave out.
type filter struct {
	// q is text that names, addresses and zones are searched for, in lower case.
	q string
	// state is "ready", "unready" or empty for both.
	state string
	// limit bounds services, backends, routes and problems, each; 0 means no bound.
	limit int
}

// parseFilter reads a filter from the query, or says what is wrong with it.
func parseFilter(r *http.Request) (filter, string) {
	query := r.URL.Query()
	f := filter{q: strings.ToLower(strings.TrimSpace(query.Get("q"))), state: query.Get("state")}
	if f.state != "" && f.state != "ready" && f.state != "unready" {
		return f, "state is " + strconv.Quote(clip(f.state)) + "; use ready or unready, or leave it out"
	}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return f, "limit is " + strconv.Quote(clip(text)) + "; use a number, 0 for no limit"
		}
		f.limit = n
	}
	return f, ""
}

// room reports whether one more fits beside the n that are shown.
func (f filter) room(n int) bool { return f.limit == 0 || n < f.limit }

func (a *api) getTable(w http.ResponseWriter, r *http.Request) {
	f, wrong := parseFilter(r)
	if wrong != "" {
		fail(w, http.StatusBadRequest, wrong)
		return
	}
	status, now := a.Catalog.Status(), a.now()
	v := view(a.Catalog.Table(), status, f, now)
	v.Version = a.Info.Version
	v.Checks = a.checks(status)
	v.Ready = isReady(v.Checks)
	reply(w, http.StatusOK, v)
}

// view shows the table through the filter.
func view(t *routing.Table, status routing.Status, f filter, now time.Time) *tableView {
	v := &tableView{
		Generation: t.Generation(), Fingerprint: t.Fingerprint(), Time: now.UTC(), Services: []serviceView{}, Routes: []routeView{},
		Sources: viewSources(status, now), Stale: []staleView{},
	}
	shown := 0
	for _, s := range t.Services() {
		shown += v.addService(s, f, shown, now)
	}
	for _, r := range t.Routes() {
		v.addRoute(r, f)
	}
	v.Problems = problems(t, status)
	v.Counts.Problems = len(v.Problems)
	v.filterProblems(f)
	for _, s := range staleItems(status) {
		if (f.q == "" || contains(f.q, s.Source, s.Service, s.Route, s.ID, s.Reason, s.Detail)) && f.room(len(v.Stale)) {
			v.Stale = append(v.Stale, s)
		}
	}
	return v
}

// addService counts a service and shows what passes the filter and fits beside the backends shown already. It returns
// how many backends it has shown.
func (v *tableView) addService(s *routing.Service, f filter, shown int, now time.Time) int {
	named := f.q == "" || contains(f.q, s.Name)
	ready, weights := readyStates(s), weightsInForce(s)
	sv := viewService(s)
	sv.Ready = len(ready)
	v.Counts.Services++
	v.Counts.Backends += len(s.Backends)
	v.Counts.BackendsReady += len(ready)
	matched := 0
	for _, b := range s.Backends {
		isReady := ready[b.State]
		if !named && !contains(f.q, b.ID, b.URL, b.Zone) || f.state != "" && (f.state == "ready") != isReady {
			continue
		}
		matched++
		v.Matched.Backends++
		if isReady {
			v.Matched.BackendsReady++
		}
		if f.room(shown + len(sv.Backends)) {
			sv.Backends = append(sv.Backends, viewBackend(b, isReady, now).weighed(b, weights))
		}
	}
	// A service without any backend is not ready itself.
	if matched == 0 && (!named || f.state == "ready" || f.state == "unready" && len(s.Backends) > 0) {
		return 0
	}
	v.Matched.Services++
	if f.room(len(v.Services)) && (matched == 0 || len(sv.Backends) > 0) {
		v.Services = append(v.Services, sv)
	}
	return len(sv.Backends)
}

func (v *tableView) addRoute(r *routing.Route, f filter) {
	v.Counts.Routes++
	rv := viewRoute(r)
	if f.q != "" && !contains(f.q, rv.Name, rv.Host, rv.Path, rv.Service, rv.Source) {
		return
	}
	v.Matched.Routes++
	if f.room(len(v.Routes)) {
		v.Routes = append(v.Routes, rv)
	}
}

func (v *tableView) filterProblems(f filter) {
	all := v.Problems
	v.Problems = all[:0]
	for _, p := range all {
		if f.q != "" && !contains(f.q, p.Source, p.Key, p.Code, p.Detail) {
			continue
		}
		v.Matched.Problems++
		if f.room(len(v.Problems)) {
			v.Problems = append(v.Problems, p)
		}
	}
}

func (a *api) getService(w http.ResponseWriter, r *http.Request) {
	s := a.Catalog.Table().Service(r.PathValue("service"))
	if s == nil {
		fail(w, http.StatusNotFound, noService(r.PathValue("service")))
		return
	}
	v, ready, now := viewService(s), readyStates(s), a.now()
	v.Policy, v.Ready = viewPolicy(s.Policy), len(ready)
	for _, b := range s.Backends {
		v.Backends = append(v.Backends, viewBackend(b, ready[b.State], now))
	}
	reply(w, http.StatusOK, v)
}

func noService(name string) string {
	return "there is no service " + strconv.Quote(clip(name)) + "; /api/v1/table lists those there are"
}

func (a *api) getSources(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, struct {
		Sources []sourceView `json:"sources"`
	}{viewSources(a.Catalog.Status(), a.now())})
}

func (a *api) getVersion(w http.ResponseWriter, r *http.Request) {
	v := struct {
		Version  string     `json:"version"`
		Revision string     `json:"revision,omitempty"`
		Go       string     `json:"go"`
		Started  *time.Time `json:"started,omitempty"`
	}{Version: a.Info.Version, Revision: a.Info.Revision, Go: runtime.Version()}
	if !a.Info.Started.IsZero() {
		v.Started = &a.Info.Started
	}
	reply(w, http.StatusOK, v)
}
