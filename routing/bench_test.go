package routing

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/discovery"
)

const manyRoutes = 10_000

// benchTables are tables of 10,000 routes and requests that go to them. Requests share their header: a real one has just
// been read and lies in the processor's caches.
func benchTables(tb testing.TB) map[string]struct {
	table    *Table
	requests []Request
} {
	type scene = struct {
		table    *Table
		requests []Request
	}
	web, header := svc("web", "b1"), http.Header{"X-Version": {"2"}, "Accept": {"*/*"}, "User-Agent": {"test"}}
	out := map[string]scene{}
	for name, one := range map[string]func(i int) (discovery.Route, *Request){
		"hosts": func(i int) (discovery.Route, *Request) {
			host := fmt.Sprintf("host-%d.example.com", i)
			return discovery.Route{Host: host}, req("GET", host+":8080", "/some/path/of/it")
		},
		"wildcards": func(i int) (discovery.Route, *Request) {
			host := fmt.Sprintf("zone-%d.example.com", i)
			return discovery.Route{Host: "*." + host}, req("GET", "www."+host, "/some/path/of/it")
		},
		"paths": func(i int) (discovery.Route, *Request) {
			path := fmt.Sprintf("/api/v%d/object-%d", i%10, i)
			return discovery.Route{Host: "example.com", Path: path}, req("GET", "example.com", path+"/and/more")
		},
		"upper-case-hosts-with-methods-and-headers": func(i int) (discovery.Route, *Request) {
			host := fmt.Sprintf("host-%d.example.com", i/4)
			r := discovery.Route{Host: host, Method: []string{"GET", "POST"}[i%2]}
			if i%4 < 2 {
				r.Headers = map[string]string{"X-Version": "2"}
			}
			return r, req(r.Method, fmt.Sprintf("Host-%d.Example.com", i/4), "/")
		},
	} {
		var s scene
		var routes []discovery.Route
		for i := range manyRoutes {
			r, q := one(i)
			r.Name, r.Service = fmt.Sprintf("route-%d", i), "web"
			routes = append(routes, r)
			q.Header = header
			s.requests = append(s.requests, *q)
		}
		s.table = tableOf(tb, routes, web)
		if got := len(s.table.Routes()); got != manyRoutes {
			tb.Fatalf("%s: the table has %d routes, want %d; problems: %v", name, got, manyRoutes, s.table.Problems())
		}
		out[name] = s
	}
	return out
}

func TestMatchDoesNotAllocate(t *testing.T) {
	for name, s := range benchTables(t) {
		i := 0
		got := testing.AllocsPerRun(500, func() {
			if s.table.Match(&s.requests[i%len(s.requests)]) == nil {
				t.Fatalf("%s: nothing matches %+v", name, s.requests[i%len(s.requests)])
			}
			i += 7919
		})
		if got != 0 {
			t.Errorf("%s: a match allocates %.1f times", name, got)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	scenes := benchTables(b)
	for _, name := range []string{"hosts", "wildcards", "paths", "upper-case-hosts-with-methods-and-headers"} {
		s := scenes[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := 0
				for pb.Next() {
					if s.table.Match(&s.requests[i]) == nil {
						b.Fatal("nothing matches")
					}
					if i += 7919; i >= manyRoutes {
						i -= manyRoutes
					}
				}
			})
		})
	}
}

// One backend's weight changes in a table of 10,000 services of 10 backends each: from the announcement in the merge to
// the published table.
func BenchmarkBuildOneChange(b *testing.B) {
	all := manyServices(10_000, 10)
	table := tableOf(b, nil, all...)
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		s := &all[n*7919%len(all)]
		s.Backends = slices.Clone(s.Backends)
		s.Backends[n%10].Weight = 2 + n%900
		was := table
		if table = next(table, nil, *s); table == was {
			b.Fatal("nothing changed")
		}
	}
}

func BenchmarkBuildAll(b *testing.B) {
	all := manyServices(10_000, 10)
	b.ReportAllocs()
	for range b.N {
		tableOf(b, nil, all...)
	}
}

func BenchmarkPickExcept(b *testing.B) {
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("b%03d", i)
	}
	set := tableOf(b, nil, svc("web", ids...)).Service("web").Runtime.Ready()
	tried := []*Backend{set.Backends[3], set.Backends[4]}
	b.ReportAllocs()
	for range b.N {
		set.PickExcept(tried, balance.Query{})
	}
}

// One backend's weight changes in a service of 10,000.
func BenchmarkBuildOneChangeInALargeService(b *testing.B) {
	for _, a := range balance.Algorithms {
		b.Run(string(a), func(b *testing.B) {
			s := manyServices(1, 10_000)[0]
			slices.SortFunc(s.Backends, func(x, y discovery.Backend) int { return strings.Compare(x.ID, y.ID) })
			apply := func(prev *Table) *Table {
				ch := change(s)
				ch.policy = &Policy{Algorithm: a}
				out, retired := build(prev, changes{settings: tableSettings{domain: "localhost"}, services: []serviceChange{ch}})
				(&Catalog{}).publish(out, prev, retired)
				return out
			}
			table := apply(&Table{})
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				s.Backends = slices.Clone(s.Backends)
				s.Backends[n*7919%len(s.Backends)].Weight = 2 + n%900
				table = apply(table)
			}
		})
	}
}
