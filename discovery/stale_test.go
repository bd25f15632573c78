package discovery

import (
	"reflect"
	"testing"
)

func TestWhatIsStaleIsKept(t *testing.T) {
	b := func(id, url string) Backend { return Backend{ID: id, URL: url, Weight: 1} }
	old := Service{Name: "web", Backends: []Backend{b("b1", "http://old1:1"), b("b2", "http://old2:1")}, Policy: []byte("old"),
		Routes: []Route{{Name: "r", Service: "web"}}}
	why := func(part, id string) Stale {
		return Stale{Part: part, ID: id, Reason: CodeQueryFailed, Detail: "timeout"}
	}
	for _, c := range []struct {
		name      string
		old, says Service
		want      Service
	}{
		{"a service that cannot be read stays as it was", old,
			Service{Name: "web", Stale: []Stale{why(StaleService, "")}},
			Service{Name: "web", Backends: old.Backends, Policy: old.Policy, Routes: old.Routes, Stale: []Stale{why(StaleService, "")}}},
		{"one that nothing is known of is nothing", Service{},
			Service{Name: "web", Stale: []Stale{why(StaleService, "")}},
			Service{Name: "web"}},
		{"what the source remembers goes before what is known", old,
			Service{Name: "web", Backends: []Backend{b("b9", "http://x:1")}, Stale: []Stale{why(StaleService, "")}},
			Service{Name: "web", Backends: []Backend{b("b9", "http://x:1")}, Stale: []Stale{why(StaleService, "")}}},
		{"a backend is kept alone", old,
			Service{Name: "web", Backends: []Backend{b("b0", "http://n:1"), b("b2", "http://new2:1")}, Stale: []Stale{why(StaleBackend, "b1")}},
			Service{Name: "web", Backends: []Backend{b("b0", "http://n:1"), b("b1", "http://old1:1"), b("b2", "http://new2:1")}, Stale: []Stale{why(StaleBackend, "b1")}}},
		{"a backend that the source remembers is taken as given", old,
			Service{Name: "web", Backends: []Backend{b("b1", "http://mine:1")}, Stale: []Stale{why(StaleBackend, "b1")}},
			Service{Name: "web", Backends: []Backend{b("b1", "http://mine:1")}, Stale: []Stale{why(StaleBackend, "b1")}}},
		{"a backend that nobody knows is not stale", old,
			Service{Name: "web", Backends: []Backend{b("b2", "http://new2:1")}, Stale: []Stale{why(StaleBackend, "b7")}},
			Service{Name: "web", Backends: []Backend{b("b2", "http://new2:1")}}},
		{"a policy is kept alone", old,
			Service{Name: "web", Backends: []Backend{b("b2", "http://new2:1")}, Stale: []Stale{why(StalePolicy, "")}},
			Service{Name: "web", Backends: []Backend{b("b2", "http://new2:1")}, Policy: old.Policy, Stale: []Stale{why(StalePolicy, "")}}},
	} {
		before := Service{Name: "web", Backends: append([]Backend(nil), c.says.Backends...), Stale: append([]Stale(nil), c.says.Stale...)}
		if got := c.says.Keep(c.old); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if !c.says.Equal(before) {
			t.Errorf("%s: the announcement was changed", c.name)
		}
	}
}

func TestAStaleRouteIsKept(t *testing.T) {
	mark := Stale{Reason: CodeBadRoute, Detail: "no service"}
	old := Route{Name: "r", Host: "a.test", Service: "web"}
	if got, want := (Route{Name: "r", Stale: mark}).Keep(old), (Route{Name: "r", Host: "a.test", Service: "web", Stale: mark}); !got.Equal(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (Route{Name: "r", Stale: mark}).Keep(Route{}); got.Service != "" {
		t.Errorf("a route that nobody knows is %+v", got)
	}
	given := Route{Name: "r", Host: "b.test", Service: "web", Stale: mark}
	if got := given.Keep(old); !got.Equal(given) {
		t.Errorf("got %+v, want it as given", got)
	}
}
