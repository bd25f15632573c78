package server_test

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/internal/consultest"
)

// register announces a backend in Consul with a check that the test sets by hand.
func register(t testing.TB, agent *consultest.Agent, service string, b *testBackend) {
	t.Helper()
	err := agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: b.name, Name: service, Address: "127.0.0.1", Port: b.port(),
		Check: &api.AgentServiceCheck{CheckID: "check-" + b.name, TTL: "10m", Status: api.HealthPassing},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestInstancesInConsulAreBalancedAndCriticalOnesGetNothing(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	a, b := startBackend(t, "a"), startBackend(t, "b")
	register(t, agent, "web", a)
	register(t, agent, "web", b)
	lb := startBalancer(t, "{}", discovering("consul://"+agent.HTTPAddr))
	lb.ready()
	await(t, "both answer", func() bool { return lb.spread(10)["b"] == 5 })
	if got := lb.spread(1000); got["a"] != 500 {
		t.Errorf("spread %v, want 500 each", got)
	}
	if err := agent.Client().Agent().UpdateTTL("check-a", "down for the test", api.HealthCritical); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	await(t, "the critical instance gets nothing", func() bool { return lb.spread(10)["b"] == 10 })
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the critical instance got its last request after %v, want some milliseconds", d)
	}
}

func TestKillingConsulCostsNoRequestAndItsEmptyReturnIsFollowed(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	a, b := startBackend(t, "a"), startBackend(t, "b")
	register(t, agent, "web", a)
	lb := startBalancer(t, "{}", discovering("consul://"+agent.HTTPAddr))
	lb.ready()
	await(t, "a answers", func() bool {
		code, _ := lb.get(lb.url() + "/")
		return code == 200
	})
	l := startLoad(lb, 4, lb.url()+"/")
	l.more(t, 50)
	agent.Stop()
	l.more(t, 1000)
	l.end(t)
	agent.Restart()
	register(t, agent, "web", b)
	await(t, "what was registered anew is served, what was not is gone", func() bool {
		code, body := lb.get(lb.url() + "/")
		return code == 200 && body == "b"
	})
	if got := lb.spread(10); got["b"] != 10 {
		t.Errorf("spread %v, want b alone", got)
	}
}

func TestConsulAndEtcdAtOnceAreMerged(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	etcd := startEtcd(t)
	a, b := startBackend(t, "a"), startBackend(t, "b")
	register(t, agent, "web", a)
	etcd.put("/lb/services/web/b", b.url())
	lb := startBalancer(t, "{}", discovering("consul://"+agent.HTTPAddr, etcd.url))
	lb.ready()
	await(t, "both answer", func() bool {
		code, _ := lb.get(lb.url() + "/")
		return code == 200 && lb.spread(10)["b"] == 5
	})
	agent.Stop()
	if got := lb.spread(10); got["a"] != 5 {
		t.Errorf("spread %v after the loss of one source, want both as before", got)
	}
}
