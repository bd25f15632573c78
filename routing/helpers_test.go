package routing

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func be(id string) discovery.Backend {
	return discovery.Backend{ID: id, URL: "http://" + id + ".test:80", Weight: 1}
}

func svc(name string, ids ...string) discovery.Service {
	s := discovery.Service{Name: name}
	for _, id := range ids {
		s.Backends = append(s.Backends, be(id))
	}
	return s
}

func req(method, host, path string, headers ...string) *Request {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return &Request{Method: method, Host: host, Path: path, Header: h}
}

// header is what a request's header is in tests: http.Header has no Values without net/http's canonical names.
var _ Header = http.Header(nil)

func plainPolicy(string, []PolicyText) (Policy, []discovery.Problem) { return Policy{}, nil }

// world is a running catalog in a synctest bubble, and what it published.
type world struct {
	t *testing.T
	*Catalog
	published []*Table
}

// inWorld runs f in a bubble with a catalog of the sources a and b.
func inWorld(t *testing.T, o Options, f func(w *world)) {
	t.Helper()
	inWorldOf(t, State{}, o, f)
}

// inWorldOf is inWorld with a catalog that takes up a state before it runs.
func inWorldOf(t *testing.T, st State, o Options, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		if o.Sources == nil {
			o.Sources = []string{"a", "b"}
		}
		if o.Resolve == nil {
			o.Resolve = plainPolicy
		}
		o.Published = func(next, prev *Table) {
			var last *Table
			if n := len(w.published); n > 0 {
				last = w.published[n-1]
			}
			if prev != last {
				t.Errorf("table %d follows another than the last one published", next.Generation())
			}
			if w.Table() != next {
				t.Errorf("table %d is told of before it is the current one", next.Generation())
			}
			w.published = append(w.published, next)
		}
		w.Catalog = NewCatalog(o)
		w.Restore(st)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		f(w)
		cancel()
		<-done
	})
}

// settle waits until everything announced is published.
func (w *world) settle() {
	time.Sleep(2 * maxWait)
	synctest.Wait()
}

// match returns the name of the service that a GET goes to, "" for none.
func (w *world) match(host, path string) string {
	if r := w.Table().Match(req("GET", host, path)); r != nil {
		return r.Target.Name
	}
	return ""
}

func (w *world) wantMatch(host, path, want string) {
	w.t.Helper()
	if got := w.match(host, path); got != want {
		w.t.Errorf("%s%s leads to %q, want %q", host, path, got, want)
	}
}

func (w *world) ready(service string) []string {
	s := w.Table().Service(service)
	if s == nil {
		return nil
	}
	return ids(s.Runtime.Ready().Backends)
}

func ids(bs []*Backend) []string {
	out := []string{}
	for _, b := range bs {
		out = append(out, b.ID)
	}
	return out
}

// tableOf builds a table of services and routes without a catalog.
func tableOf(t testing.TB, routes []discovery.Route, services ...discovery.Service) *Table {
	t.Helper()
	return next(&Table{}, routes, services...)
}

// next builds the table that follows another by services and routes of the source "test".
func next(prev *Table, routes []discovery.Route, services ...discovery.Service) *Table {
	ch := changes{settings: tableSettings{domain: "localhost"}}
	for _, s := range services {
		ch.services = append(ch.services, change(s))
	}
	for _, r := range routes {
		ch.routes = append(ch.routes, routeChange{announced: announced{route: r, source: "test"}})
	}
	out, retired := build(prev, ch)
	if out != prev {
		(&Catalog{}).publish(out, prev, retired)
	}
	return out
}

var testPolicy = &Policy{Algorithm: balance.RoundRobin}

func change(s discovery.Service) serviceChange {
	m := merge(s.Name, []layer{{source: "test", service: s}}, nil, MergeUnion)
	return serviceChange{name: s.Name, backends: m.backends, routes: m.routes, policy: testPolicy, problems: m.problems}
}

func manyServices(n, backends int) []discovery.Service {
	var all []discovery.Service
	for i := range n {
		s := discovery.Service{Name: fmt.Sprintf("service-%d", i)}
		for k := range backends {
			s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprintf("b%d", k),
				URL: fmt.Sprintf("http://10.%d.%d.%d:8080", i/256, i%256, k), Weight: 1})
		}
		all = append(all, s)
	}
	return all
}
