package consul_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/internal/consultest"
)

// Whatever happens in whatever order, with requests that fail now and then, what is announced in the end is what the
// catalog holds.
func TestTheStateFollowsTheCatalogWhateverHappens(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	f := newFront(t, agent)
	w := attach(t, agent, consul.Options{Address: f.addr()})
	w.rec.AwaitInStep(w.ctx)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	unlucky := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	var mu sync.Mutex // guards unlucky
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		one := 20
		if r.URL.Query().Has("index") { // a poll that fails starts all over: seldom
			one = 100
		}
		mu.Lock()
		fails := unlucky.IntN(one) == 0
		mu.Unlock()
		if !fails {
			return false
		}
		http.Error(rw, "unlucky", http.StatusInternalServerError)
		return true
	}, nil)

	type instance struct {
		service string
		port    int
		status  string
	}
	want := map[string]instance{}
	for range 400 {
		id := fmt.Sprint("i", rng.IntN(40))
		switch in, known := want[id]; {
		case !known || rng.IntN(3) == 0:
			in = instance{fmt.Sprint("s", rng.IntN(12)), 1000 + rng.IntN(5), api.HealthPassing}
			if known { // an instance does not move to another service without going
				in.service = want[id].service
			}
			register(t, w.client, &api.AgentService{ID: id, Service: in.service, Address: "10.0.0.1", Port: in.port},
				&api.HealthCheck{Node: node, CheckID: "c" + id, ServiceID: id, Status: in.status})
			want[id] = in
		case rng.IntN(2) == 0:
			in.status = []string{api.HealthPassing, api.HealthWarning, api.HealthCritical}[rng.IntN(3)]
			register(t, w.client, nil, &api.HealthCheck{Node: node, CheckID: "c" + id, ServiceID: id, Status: in.status})
			want[id] = in
		default:
			if _, err := w.client.Catalog().Deregister(&api.CatalogDeregistration{Node: node, ServiceID: id}, nil); err != nil {
				t.Fatal(err)
			}
			delete(want, id)
		}
	}
	f.set(nil, nil)
	urls := map[string]string{}
	for id, in := range want {
		if in.status != api.HealthCritical {
			urls[in.service+"/"+id] = fmt.Sprintf("http://10.0.0.1:%d", in.port)
		}
	}
	w.rec.Await(w.ctx, func(s discoverytest.State) bool {
		got := map[string]string{}
		for name, svc := range s.Services {
			for _, b := range svc.Backends {
				if b.Failing {
					continue
				}
				got[name+"/"+b.ID] = b.URL
			}
		}
		return s.InStep && maps.Equal(got, urls)
	})
}
