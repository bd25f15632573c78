package consul_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/internal/consultest"
)

func TestAnotherDatacenterServesWhileTheOwnHasNobody(t *testing.T) {
	t.Parallel()
	near := consultest.Start(t, consultest.Options{Datacenter: "near"})
	far := consultest.Start(t, consultest.Options{Datacenter: "far", Federate: near})
	client := far.Client()
	if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: "web-9", Name: "web", Port: 8080, Address: "10.0.0.9", Tags: []string{"lb.host=far.example"},
		TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "192.0.2.9", Port: 80}},
	}); err != nil {
		t.Fatal(err)
	}
	f := newFront(t, near)
	w := attach(t, near, consul.Options{Address: f.addr(), Failover: []string{"nowhere", "far"}})
	// The datacenters know each other when one answers for the other.
	for ctx := w.ctx; ; {
		entries, _, err := w.client.Health().Service("web", "", false, (&api.QueryOptions{Datacenter: "far"}).WithContext(ctx))
		if err == nil && len(entries) == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-1", Tags: []string{"lb.host=near.example"}, Check: &api.AgentServiceCheck{TTL: "10m", Status: api.HealthPassing}})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	status := func(status string) {
		t.Helper()
		if err := w.client.Agent().UpdateTTL("service:web-1", "", status); err != nil {
			t.Fatal(err)
		}
	}
	status(api.HealthCritical)
	s := w.rec.Await(w.ctx, are("web-9@far"))
	bs := s.Backends("web") // the last; the own one may stand beside it, failing
	if b := bs[len(bs)-1]; b.URL != "http://192.0.2.9:80" || b.Zone != "far" {
		t.Errorf("the backend is %+v, want the wan address in the zone far", b)
	}
	if r := s.Services["web"].Routes; len(r) != 1 || r[0].Host != "near.example" {
		t.Errorf("the routes are %+v, want that of the own instance", r)
	}
	status(api.HealthPassing)
	w.rec.Await(w.ctx, are("web-1"))
	w.deregister("web-1") // nothing of it is left here
	s = w.rec.Await(w.ctx, are("web-9@far"))
	if r := s.Services["web"].Routes; len(r) != 1 || r[0].Host != "far.example" {
		t.Errorf("the routes are %+v, want that of the other's instance", r)
	}
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("dc") == "far" {
			http.Error(rw, "no path", http.StatusInternalServerError)
			return true
		}
		return false
	}, nil)
	s = w.rec.Await(w.ctx, stale(discovery.CodeQueryFailed))
	if !are("web-9@far")(s) {
		t.Errorf("web must stay while the other datacenter cannot be asked:\n%v", s)
	}
	f.set(nil, nil)
	w.rec.Await(w.ctx, both(stale(), are("web-9@far")))
	if err := client.Agent().ServiceDeregister("web-9"); err != nil {
		t.Fatal(err)
	}
	w.rec.Await(w.ctx, func(s discoverytest.State) bool { return len(s.Services) == 0 })
}

func TestAPreparedQuerySaysWhereToFailOver(t *testing.T) {
	t.Parallel()
	near := consultest.Start(t, consultest.Options{Datacenter: "near"})
	far := consultest.Start(t, consultest.Options{Datacenter: "far", Federate: near})
	if err := far.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "web-9", Name: "web", Port: 80, Address: "192.0.2.9"}); err != nil {
		t.Fatal(err)
	}
	w := attach(t, near, consul.Options{FailoverQuery: "geo-{service}"})
	w.register(&api.AgentServiceRegistration{ID: "web-1", Check: &api.AgentServiceCheck{TTL: "10m", Status: api.HealthCritical}})
	w.rec.Await(w.ctx, inStep)
	if s := w.rec.State(); !are()(s) {
		t.Errorf("without the query nobody serves, and yet\n%v", s)
	}
	queries := w.client.PreparedQuery()
	def := &api.PreparedQueryDefinition{
		Name: "geo-", Template: api.QueryTemplate{Type: "name_prefix_match"},
		Service: api.ServiceQuery{Service: "${name.suffix}", Failover: api.QueryFailoverOptions{Datacenters: []string{"far"}}},
	}
	id, _, err := queries.Create(def, nil)
	if err != nil {
		t.Fatal(err)
	}
	def.ID = id
	w.rec.Await(w.ctx, are("web-9@far"))
	if err := w.client.Agent().UpdateTTL("service:web-1", "", api.HealthPassing); err != nil {
		t.Fatal(err)
	}
	w.rec.Await(w.ctx, are("web-1"))
	if err := w.client.Agent().UpdateTTL("service:web-1", "", api.HealthCritical); err != nil {
		t.Fatal(err)
	}
	w.rec.Await(w.ctx, are("web-9@far"))
	if _, err := queries.Delete(id, nil); err != nil {
		t.Fatal(err)
	}
	s := w.rec.Await(w.ctx, stale(discovery.CodeQueryFailed))
	if detail := s.Services["web"].Stale[0].Detail; !are("web-9@far")(s) || !strings.Contains(detail, "create the prepared query") {
		t.Errorf("what served must stay while the query is not there, and it be told:\n%q\n%v", detail, s)
	}
	def.ID, def.Service.Failover = "", api.QueryFailoverOptions{}
	if _, _, err := queries.Create(def, nil); err != nil {
		t.Fatal(err)
	}
	w.rec.Await(w.ctx, both(stale(), are()))
}
