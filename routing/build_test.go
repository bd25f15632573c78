package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
)

func TestEqualInputIsTheSameTable(t *testing.T) {
	routes := []discovery.Route{route("r", "Api.Example.com", "/v1/", "api")}
	services := []discovery.Service{svc("api", "a", "b"), {Name: "web", Backends: []discovery.Backend{
		{ID: "x", URL: "10.0.0.1:80", Weight: 1}, // not in normal form
		{ID: "y", URL: "nonsense", Weight: 1},
	}}}
	first := tableOf(t, routes, services...)
	if second := next(first, routes, services...); second != first {
		t.Errorf("equal input made table %d of table %d", second.Generation(), first.Generation())
	}
}

func TestWhatIsNotTouchedIsShared(t *testing.T) {
	first := tableOf(t, []discovery.Route{route("r", "h", "", "api")}, svc("api", "a", "b"), svc("web", "c"))
	changed := svc("api", "a", "b")
	changed.Backends[0].Weight = 5
	second := next(first, nil, changed)
	if second.Generation() != first.Generation()+1 {
		t.Errorf("generation %d follows %d", second.Generation(), first.Generation())
	}
	if first.Service("web") != second.Service("web") {
		t.Error("an untouched service is another")
	}
	if first.Match(req("GET", "web", "/")) != second.Match(req("GET", "web", "/")) {
		t.Error("a route to an untouched service is another")
	}
	before, after := first.Service("api"), second.Service("api")
	if before == after || before.Backends[1] != after.Backends[1] || before.Backends[0] == after.Backends[0] {
		t.Error("want a new service with a new first backend and the old second one")
	}
	if before.Backends[0].State != after.Backends[0].State || before.Runtime != after.Runtime {
		t.Error("a new weight reset what is known of the backend or service")
	}
	if before.Backends[0].Weight != 1 || after.Backends[0].Weight != 5 {
		t.Errorf("weights are %d and %d, want 1 and 5", before.Backends[0].Weight, after.Backends[0].Weight)
	}
	if m := second.Match(req("GET", "h", "/")); m.Target != after {
		t.Error("the route does not lead to the new service")
	}
	if old, now := first.Match(req("GET", "h", "/")), second.Match(req("GET", "h", "/")); old.Requests != now.Requests {
		t.Error("the route's count was reset")
	}
}

func TestRecordsLastAsLongAsServiceIDAndURL(t *testing.T) {
	first := tableOf(t, nil, svc("s", "a", "b", "c"))
	moved := svc("s", "a", "b")
	moved.Backends[0].URL = "http://elsewhere.test:80"
	second := next(first, nil, moved)
	before, after := first.Service("s"), second.Service("s")
	if before.Backend("a").State == after.Backend("a").State {
		t.Error("a backend with another URL has the same record")
	}
	if before.Backend("b").State != after.Backend("b").State {
		t.Error("a backend that stays has another record")
	}
	for id, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if got := before.Backend(id).State.Retired(); got != want {
			t.Errorf("record of %s: retired is %v, want %v", id, got, want)
		}
	}
	if key := after.Backend("a").State.Key(); key != (backend.Key{Service: "s", ID: "a", URL: "http://elsewhere.test:80"}) {
		t.Errorf("the new record's key is %+v", key)
	}
}

func TestDrainIsAppliedToTheRecordAndTakenBack(t *testing.T) {
	s := svc("s", "a", "b")
	first := tableOf(t, nil, s)
	state := first.Service("s").Backend("a").State
	s.Backends = slices.Clone(s.Backends)
	s.Backends[0].Draining = true
	second := next(first, nil, s)
	if got := ids(second.Service("s").Runtime.Ready().Backends); !state.Draining() || !slices.Equal(got, []string{"b"}) {
		t.Errorf("draining %v, ready %v; want true and b", state.Draining(), got)
	}
	next(second, nil, svc("s", "a", "b"))
	if got := ids(second.Service("s").Runtime.Ready().Backends); state.Draining() || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("draining %v, ready %v; want false and both", state.Draining(), got)
	}
}

func TestBreakersFollowThePolicy(t *testing.T) {
	withPolicy := func(prev *Table, failures int) *Table {
		ch := change(svc("s", "a"))
		ch.policy = &Policy{Breaker: breaker.Options{FailureThreshold: failures, ResetTimeout: time.Hour}}
		out, retired := build(prev, changes{services: []serviceChange{ch}})
		(&Catalog{}).publish(out, prev, retired)
		return out
	}
	table := withPolicy(&Table{}, 100)
	table = withPolicy(table, 1)
	state := table.Service("s").Backend("a").State
	permit, _ := state.Breaker.Allow(time.Now())
	state.Breaker.Done(permit, time.Now(), breaker.Failure)
	if got := state.Breaker.State(time.Now()); got != breaker.Open {
		t.Errorf("after one failure the breaker is %s, want open by the new threshold", got)
	}
	if got := table.Service("s").Runtime.Ready().Backends; len(got) != 0 {
		t.Errorf("the backend with the open breaker is ready")
	}
	state.Retire() // stops the breaker's timer, if it has one
}

func codes(ps []discovery.Problem) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return out
}

func TestBadItemsCostThemselvesOnly(t *testing.T) {
	s := svc("s", "good")
	s.Backends = append(s.Backends,
		discovery.Backend{ID: "heavy", URL: "http://h:1", Weight: discovery.MaxWeight + 1},
		discovery.Backend{ID: "negative", URL: "http://h:1", Weight: -1},
		discovery.Backend{ID: "no url", URL: "http://h:1", Weight: 1},
		discovery.Backend{ID: "portless", URL: "h", Weight: 1})
	s.Routes = []discovery.Route{{Name: "own", Host: "own.test"}, {Name: "own", Host: "twice.test"}, {Name: "astray", Service: "other"}}
	routes := []discovery.Route{
		route("good", "good.test", "", "s"), route("star", "a.*.b", "", "s"), route("port", "h:80", "", "s"), route("path", "", "x", "s"),
		route("query", "", "/x?y", "s"), route("nowhere", "", "/x", ""), route("badname", "", "/x", "../x"),
		{Name: "method", Method: "G ET", Service: "s"}, {Name: "header", Headers: map[string]string{"a b": ""}, Service: "s"},
		{Name: "twice", Headers: map[string]string{"a": "1", "A": "2"}, Service: "s"},
		{Name: "strip", StripPrefix: "x", Service: "s"}, route("v6", "[::1]:80", "", "s"), route("empty", "*.", "", "s"),
	}
	table := tableOf(t, routes, s)
	if got := ids(table.Service("s").Backends); !slices.Equal(got, []string{"good"}) {
		t.Errorf("backends are %v, want good alone", got)
	}
	wantRoute(t, table, req("GET", "good.test", "/"), "good")
	wantRoute(t, table, req("GET", "own.test", "/"), "own")
	wantRoute(t, table, req("GET", "twice.test", "/"), "none")
	want := append(slices.Repeat([]string{discovery.CodeBadRoute}, 13), discovery.CodeBadURL, discovery.CodeBadWeight,
		discovery.CodeBadWeight, discovery.CodeBadName, discovery.CodeDuplicate)
	slices.Sort(want)
	if got := codes(table.Problems()); !slices.Equal(got, want) {
		t.Errorf("problems have the codes %v, want %v\n%v", got, want, table.Problems())
	}
	for _, p := range table.Problems() {
		if p.Source != "test" || p.Key == "" || p.Detail == "" {
			t.Errorf("problem %+v lacks its source, key or detail", p)
		}
	}
	// Mended, they are problems no more.
	s.Backends, s.Routes = s.Backends[:1], nil
	for i := range routes {
		routes[i] = route(routes[i].Name, fmt.Sprintf("r%d.test", i), "", "s")
	}
	table = next(table, routes, s)
	if got := table.Problems(); len(got) != 0 {
		t.Errorf("after all was mended there are still problems: %v", got)
	}
}

func TestARouteComesAliveWithItsService(t *testing.T) {
	table := tableOf(t, []discovery.Route{route("r", "h", "", "late"), route("other", "", "", "s")}, svc("s", "a"))
	wantRoute(t, table, req("GET", "h", "/"), "other")
	if got := codes(table.Problems()); !slices.Equal(got, []string{discovery.CodeBadRoute}) {
		t.Errorf("problems: %v", table.Problems())
	}
	table = next(table, nil, svc("late")) // known, but empty
	wantRoute(t, table, req("GET", "h", "/"), "r")
	if got := table.Problems(); len(got) != 0 {
		t.Errorf("problems: %v", got)
	}
	if table.Match(req("GET", "h", "/")).Target.Runtime.Ready().Pick(balance.Query{}) != nil {
		t.Error("a service without backends has one that is ready")
	}
	gone, _ := build(table, changes{settings: table.settings, services: []serviceChange{{name: "late", gone: true}}})
	wantRoute(t, gone, req("GET", "h", "/"), "other")
	if got := codes(gone.Problems()); !slices.Equal(got, []string{discovery.CodeBadRoute}) {
		t.Errorf("problems: %v", gone.Problems())
	}
}

func TestOfEqualMatchesTheLoserWaits(t *testing.T) {
	weak := routeChange{announced: announced{route: route("a", "h", "/x", "weak"), source: "two", rank: 1}}
	strong := routeChange{announced: announced{route: route("z", "H", "/x/", "strong"), source: "one", rank: 0}}
	table, _ := build(&Table{}, changes{services: []serviceChange{change(svc("weak")), change(svc("strong"))},
		routes: []routeChange{weak, strong}})
	wantRoute(t, table, req("GET", "h", "/x"), "z")
	ps := table.Problems()
	if len(ps) != 1 || ps[0].Code != discovery.CodeDuplicate || ps[0].Source != "two" || ps[0].Key != "route a" {
		t.Errorf("problems are %+v, want one of route a as a duplicate", ps)
	}
	if n := len(table.Routes()); n != 1 {
		t.Errorf("%d routes can match, want 1", n)
	}
	strong.gone = true
	table, _ = build(table, changes{routes: []routeChange{strong}})
	wantRoute(t, table, req("GET", "h", "/x"), "a")
	if ps := table.Problems(); len(ps) != 0 {
		t.Errorf("problems are %+v, want none any more", ps)
	}
}

func TestDefaultRoutes(t *testing.T) {
	table := tableOf(t, nil, svc("Web", "a"), svc("default", "b"), svc("api", "c"))
	for host, want := range map[string]string{
		"web": "Web", "WEB:80": "Web", "web.localhost": "Web", "api": "api", "default": "default", "x": "default", "": "default",
		"web.example.com": "default", "x.web": "default",
	} {
		if got := table.Match(req("GET", host, "/any")); got.Target.Name != want {
			t.Errorf("host %q leads to %s, want %s", host, got.Target.Name, want)
		}
	}
	for host, want := range map[string]string{"web": "default", "default": "catch-all"} {
		if got := table.Match(req("GET", host, "/")).Source; got != want {
			t.Errorf("host %q is routed by source %q, want %q", host, got, want)
		}
	}
	// A route that leads to the service takes its default host away, and gives it back when it goes.
	led := next(table, []discovery.Route{route("r", "", "/web", "Web")})
	wantRoute(t, led, req("GET", "web", "/any"), sourceCatchAll)
	wantRoute(t, led, req("GET", "web", "/web"), "r")
	back, _ := build(led, changes{settings: led.settings, routes: []routeChange{{announced: announced{route: route("r", "", "", ""), source: "test"}, gone: true}}})
	wantRoute(t, back, req("GET", "web", "/any"), "Web")
}

func TestAnnouncedRoutesGoBeforeDefaultOnes(t *testing.T) {
	table := tableOf(t, []discovery.Route{route("r", "web", "", "api")}, svc("web"), svc("api"))
	wantRoute(t, table, req("GET", "web", "/"), "r")
	if ps := table.Problems(); len(ps) != 0 {
		t.Errorf("problems are %v, want none: it is the operator's wish", ps)
	}
}

func TestCatchAll(t *testing.T) {
	settings := tableSettings{catchAll: "web", domain: "localhost"}
	table, _ := build(&Table{}, changes{settings: settings, services: []serviceChange{change(svc("default"))}})
	wantRoute(t, table, req("GET", "h", "/"), "none")
	if got := codes(table.Problems()); !slices.Equal(got, []string{discovery.CodeBadRoute}) {
		t.Errorf("problems are %v, want that web is not known", table.Problems())
	}
	table, _ = build(table, changes{settings: settings, services: []serviceChange{change(svc("web"))}})
	if got := table.Match(req("GET", "h", "/")); got == nil || got.Target.Name != "web" || got.Source != "catch-all" {
		t.Errorf("got %+v, want the catch-all web", got)
	}
	settings.catchAll = ""
	table, _ = build(table, changes{settings: settings})
	if got := table.Match(req("GET", "h", "/")); got.Target.Name != "default" {
		t.Errorf("got %s, want default", got.Target.Name)
	}
}

func TestChangesTellWhatDiffers(t *testing.T) {
	first := tableOf(t, nil, svc("a", "1"), svc("b", "1"))
	second := next(first, nil, svc("b", "1", "2"), svc("c"))
	third := next(second, nil, svc("d"))
	for _, c := range []struct {
		from *Table
		to   *Table
		want string
	}{
		{nil, first, "+a +b"}, {first, second, "b +c"}, {second, third, "+d"}, {first, third, "b +c +d"},
		{nil, third, "+a +b +c +d"}, {second, second, ""},
	} {
		var got []string
		for before, after := range c.to.Changes(c.from) {
			name := after.Name
			if before == nil {
				name = "+" + name
			}
			got = append(got, name)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("changes are %q, want %q", s, c.want)
		}
	}
	gone, _ := build(third, changes{settings: third.settings, services: []serviceChange{{name: "a", gone: true}}})
	for before, after := range gone.Changes(third) {
		if before.Name != "a" || after != nil {
			t.Errorf("%v became %v, want a to be gone", before, after)
		}
	}
}

// A table made step by step is the one made at once of what is announced in the end.
func TestTablesDoNotDependOnTheirHistory(t *testing.T) {
	names := []string{"default", "web", "api", "Web"}
	rapid.Check(t, func(t *rapid.T) {
		services := map[string]serviceChange{}
		routes := map[string]routeChange{}
		table := &Table{}
		settings := tableSettings{domain: "localhost"}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			settings = tableSettings{catchAll: rapid.SampledFrom([]string{"", "", "web"}).Draw(t, "catch-all"),
				domain: rapid.SampledFrom([]string{"localhost", "localhost", "a"}).Draw(t, "domain")}
			ch := changes{settings: settings}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID).Draw(t, "services") {
				s := svc(name, rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "c c"}), 0, 4, rapid.ID).Draw(t, "backends")...)
				for i, r := range rapid.SliceOfN(routeGen, 0, 2).Draw(t, "own") {
					r.Name, r.Service = fmt.Sprint("own", i), name
					s.Routes = append(s.Routes, r)
				}
				sc := change(s)
				sc.gone = rapid.IntRange(0, 3).Draw(t, "gone") == 0
				services[name] = sc
				ch.services = append(ch.services, sc)
			}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"r0", "r1", "r2", "r3"}), 0, 2, rapid.ID).Draw(t, "routes") {
				r := routeGen.Draw(t, "route")
				r.Name, r.Service = name, rapid.SampledFrom(append(names, "../x")).Draw(t, "target")
				rc := routeChange{announced: announced{route: r, source: "test", rank: rapid.IntRange(0, 1).Draw(t, "rank")}}
				rc.gone = rapid.IntRange(0, 3).Draw(t, "gone") == 0
				routes[name] = rc
				ch.routes = append(ch.routes, rc)
			}
			prev := table
			before := describe(prev)
			table, _ = build(prev, ch)
			if got := describe(prev); got != before {
				t.Fatalf("building changed the table before from\n%sto\n%s", before, got)
			}
			if again, _ := build(table, ch); again != table {
				t.Fatalf("the same changes once more made another table:\n%sof\n%s", describe(again), describe(table))
			}
		}
		fresh, _ := build(&Table{}, changes{settings: settings, services: slices.Collect(maps.Values(services)),
			routes: slices.Collect(maps.Values(routes)), force: true})
		if got, want := describe(table), describe(fresh); got != want {
			t.Fatalf("step by step:\n%sat once:\n%s", got, want)
		}
	})
}

func describe(t *Table) string {
	var b strings.Builder
	for _, s := range t.Services() {
		fmt.Fprintf(&b, "service %s %v\n", s.Name, ids(s.Backends))
	}
	for _, r := range t.Routes() {
		fmt.Fprintf(&b, "route %+v of %s to %s\n", *r.Route, r.Source, r.Target.Name)
		if t.Service(r.Target.Name) != r.Target {
			fmt.Fprintf(&b, "  which is not the table's\n")
		}
	}
	for _, p := range t.Problems() {
		fmt.Fprintf(&b, "problem %+v\n", p)
	}
	return b.String()
}
