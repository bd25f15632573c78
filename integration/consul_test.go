package integration

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/integration/containers"
)

func TestConsulInstancesAreBalancedUntilCritical(t *testing.T) {
	w := newConsulWorld(t)
	w.add("backend-1", "backend-2")
	w.expectSpread(100, "backend-1", "backend-2")

	if err := w.client().Agent().UpdateTTL("check-backend-1", "broken on purpose", api.HealthCritical); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, prompt, "a critical instance gets nothing", func() bool {
		return spread(t, w.url, 8)["backend-1"] == 0
	})
	t.Logf("nothing went to the critical instance %v after it became so", took)
	w.expectSpread(20, "backend-2")
}

func TestConsulThatIsKilledFailsNoRequestAndMayComeBackEmpty(t *testing.T) {
	w := newConsulWorld(t)
	w.add("backend-1", "backend-2")
	load := startLoad(t, w.url, 100)

	w.consul.Kill()
	time.Sleep(outage()) // the outage itself
	load.stop(t)
	w.consul.Start() // in development mode: empty, its indexes begin anew; that is believed as soon as it is heard
	w.lab.Backend("backend-3")
	w.register("backend-1")
	w.register("backend-3")
	took := eventually(t, recovery, "what is registered anew is served", func() bool {
		return spread(t, w.url, 6)["backend-3"] > 0
	})
	t.Logf("served %v after the registration", took)
	eventually(t, recovery, "what is not registered any more is gone", func() bool {
		return spread(t, w.url, 8)["backend-2"] == 0
	})
	w.expectSpread(20, "backend-1", "backend-3")
}

// consulWorld is a Consul agent and a balancer that watches it.
type consulWorld struct {
	t      *testing.T
	lab    *containers.Lab
	consul *containers.Container
	url    string
}

func newConsulWorld(t *testing.T) *consulWorld {
	t.Helper()
	lab := containers.New(t)
	w := &consulWorld{t: t, lab: lab, consul: lab.Consul()}
	balancer := lab.Balancer("--discovery", "consul://consul:"+containers.ConsulPort, "--service", "web")
	w.url = "http://" + balancer.Addr(containers.ClientPort) + "/"
	return w
}

// client is a client of the agent where it listens now.
func (w *consulWorld) client() *api.Client {
	w.t.Helper()
	c, err := api.NewClient(&api.Config{Address: w.consul.Addr(containers.ConsulPort)})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// register announces an instance that passes its check.
func (w *consulWorld) register(name string) {
	w.t.Helper()
	err := w.client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: name, Name: "web", Address: name, Port: 8080,
		Check: &api.AgentServiceCheck{CheckID: "check-" + name, TTL: "1h", Status: api.HealthPassing},
	})
	if err != nil {
		w.t.Fatalf("register %s: %v", name, err)
	}
}

// add runs backends, registers them and waits until all are served.
func (w *consulWorld) add(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.lab.Backend(name)
		w.register(name)
	}
	expectServed(w.t, w.url, names...)
}

func (w *consulWorld) expectSpread(n int, names ...string) {
	w.t.Helper()
	expectSpread(w.t, w.url, n, names...)
}
