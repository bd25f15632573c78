package routing

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

// text writes a merge as one line: each backend's ID, address and sources.
func (m *merged) text() string {
	var out []string
	for _, b := range m.backends {
		out = append(out, fmt.Sprintf("%s=%s(%s)", b.ID, strings.TrimSuffix(strings.TrimPrefix(b.URL, "http://"), ".test:80"), strings.Join(b.sources, ",")))
	}
	return strings.Join(out, " ")
}

// at is a service of backends written as id=address.
func at(list ...string) discovery.Service {
	s := discovery.Service{Name: "web"}
	for _, l := range list {
		id, host, _ := strings.Cut(l, "=")
		s.Backends = append(s.Backends, discovery.Backend{ID: id, URL: "http://" + host + ".test:80", Weight: 1})
	}
	return s
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name                        string
		mode                        MergeMode
		admin, config, etcd, consul discovery.Service
		want                        string
	}{
		{"all backends of all", MergeUnion, at(), at("k=x"), at("a=p", "b=q"), at("c=r"), "a=p(etcd) b=q(etcd) c=r(consul) k=x(config)"},
		{"of one id the stronger's", MergeUnion, at(), at(), at("a=p"), at("a=q", "b=r"), "a=p(etcd,consul) b=r(consul)"},
		{"an address is one backend, whatever its ids", MergeUnion, at(), at(), at("a=p", "b=q"), at("x=q", "y=p", "z=r"), "a=p(etcd,consul) b=q(etcd,consul) z=r(consul)"},
		{"the address goes before the id", MergeUnion, at(), at(), at("a=p", "b=q"), at("a=q"), "a=p(etcd) b=q(etcd,consul)"},
		{"one source may announce an address twice", MergeUnion, at(), at(), at("a=p", "b=p"), at("c=p"), "a=p(etcd,consul) b=p(etcd)"},
		{"the strongest that has any", MergePriority, at(), at(), at("a=p"), at("b=q"), "a=p(etcd)"},
		{"the next where it has none", MergePriority, at(), at(), at(), at("b=q"), "b=q(consul)"},
		{"the operator's and the configuration's own in any case", MergePriority, at("o=o"), at("k=x"), at("a=p"), at("b=q"), "a=p(etcd) k=x(config) o=o(admin)"},
		{"a shadow serves nothing", MergeShadow, at(), at("k=x"), at("a=p"), at("b=q"), "a=p(etcd) k=x(config)"},
		{"not even alone", MergeShadow, at(), at(), at(), at("b=q"), ""},
	} {
		var layers []layer
		for i, s := range []discovery.Service{c.admin, c.config, c.etcd, c.consul} {
			if !s.Empty() {
				layers = append(layers, layer{source: []string{"admin", "config", "etcd", "consul"}[i], rank: i, service: s, fixed: i < 2, first: i == 2})
			}
		}
		m := merge("web", layers, nil, c.mode)
		if got := m.text(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if m.announced != (c.want != "") {
			t.Errorf("%s: announced: %t", c.name, m.announced)
		}
	}
}

func TestWithPriorityAWeakerSourceHasNoSayInPolicyAndRoutes(t *testing.T) {
	strong, weak := at("a=p"), at("b=q")
	strong.Policy, weak.Policy = []byte("strong"), []byte("weak")
	weak.Routes = []discovery.Route{{Name: "r", Service: "web"}}
	m := merge("web", []layer{{source: "etcd", service: strong, first: true}, {source: "consul", rank: 1, service: weak}}, nil, MergePriority)
	if len(m.texts) != 1 || len(m.routes) != 0 {
		t.Errorf("the policies are %v, the routes %v", m.texts, m.routes)
	}
}

func TestOneModeMayHoldForOneService(t *testing.T) {
	inWorld(t, Options{Merge: MergePriority, MergeOf: map[string]MergeMode{"api": MergeUnion}}, func(w *world) {
		w.Sink("a").Service(svc("web", "b1"))
		w.Sink("a").Service(svc("api", "b1"))
		w.Sink("b").Service(svc("web", "b2"))
		w.Sink("b").Service(svc("api", "b2"))
		w.settle()
		if web, api := w.ready("web"), w.ready("api"); !slices.Equal(web, []string{"b1"}) || !slices.Equal(api, []string{"b1", "b2"}) {
			t.Errorf("web has %v and api %v", web, api)
		}
		w.Configure(Settings{Sources: []string{"a", "b"}})
		w.settle()
		if web := w.ready("web"); !slices.Equal(web, []string{"b1", "b2"}) {
			t.Errorf("after the mode changed web has %v", web)
		}
	})
}

func TestShadowsAreComparedOnly(t *testing.T) {
	inWorld(t, Options{Merge: MergeShadow, Sources: []string{"config", "a", "b"}, Own: "config", Resolve: func(_ string, texts []PolicyText) (Policy, []discovery.Problem) {
		var p Policy
		for _, x := range texts {
			p.Retry.MaxRetries = len(strings.TrimSpace(string(x.Text)))
		}
		return p, nil
	}}, func(w *world) {
		a, b := w.Sink("a"), w.Sink("b")
		web := at("x=p", "y=q")
		web.Policy = []byte("one")
		web.Routes = []discovery.Route{{Name: "r", Host: "web.test", Service: "web"}}
		a.Service(web)
		a.Service(svc("api", "b1"))
		a.Route(discovery.Route{Name: "s", Host: "s.test", Service: "api"})
		other := at("1=q", "2=r")
		other.Backends[0].Weight = 5
		other.Policy = []byte(" one ")
		b.Service(other)
		b.Service(svc("new", "b1"))
		b.Route(discovery.Route{Name: "t", Host: "s.test", Service: "web"})
		w.settle()
		if w.Table().Service("new") != nil || len(w.ready("web")) != 2 {
			t.Errorf("the shadow serves: %v", w.ready("web"))
		}
		w.wantMatch("s.test", "/", "api")
		want := []string{
			"b  differs route s.test/: a has service api, b has service web",
			"b api missing service: ",
			"b new extra service: ",
			"b new extra backend http://b1.test:80: ",
			"b web missing backend http://p.test:80: ",
			"b web differs backend http://q.test:80: a has weight 1, b has weight 5",
			"b web extra backend http://r.test:80: ",
			"b web missing route web.test/: ",
		}
		var got []string
		for _, d := range w.Diff().Shadow {
			if d.Against != "a" {
				t.Errorf("compared with %s", d.Against)
			}
			got = append(got, fmt.Sprintf("%s %s %s %s: %s", d.Source, d.Service, d.Kind, d.Item, d.Detail))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the differences are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if s := w.source("b"); s.Differences != len(want) || w.source("a").Differences != 0 {
			t.Errorf("counted are %d", s.Differences)
		}
		other.Policy = []byte("another")
		b.Service(other)
		w.settle()
		if n := w.source("b").Differences; n != len(want)+1 {
			t.Errorf("with another policy there are %d differences", n)
		}
		// The migration is done: both say the same.
		b.Resync("changed")
		same := at("1=p", "2=q")
		same.Policy, same.Routes = []byte("one"), web.Routes
		b.Service(same)
		b.Service(svc("api", "b1"))
		b.Route(discovery.Route{Name: "other-name", Host: "s.test", Service: "api"})
		b.Synced()
		w.settle()
		if d := w.Diff().Shadow; len(d) != 0 {
			t.Errorf("differences are left: %+v", d)
		}
	})
}
