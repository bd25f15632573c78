package consul_test

import (
	"fmt"
	"net/url"
	"strconv"
	"testing"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/internal/consultest"
	"github.com/vietddude/load-balancer/internal/faultnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	discoverytest.Conformance(t, func(t *testing.T) discoverytest.Harness {
		agent := consultest.Start(t, consultest.Options{})
		return &harness{agent: agent, client: agent.Client(), proxy: newProxy(t, agent)}
	})
}

func newProxy(t *testing.T, agent *consultest.Agent) *faultnet.Proxy {
	t.Helper()
	p, err := faultnet.New(agent.HTTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// harness keeps backends on a node of its own, as external services are registered.
type harness struct {
	agent  *consultest.Agent
	client *api.Client
	proxy  *faultnet.Proxy
}

const node = "external"

func (h *harness) Source(t *testing.T) discovery.Source {
	return newSource(t, consul.Options{Address: h.proxy.Addr()})
}

func newSource(t *testing.T, o consul.Options) discovery.Source {
	t.Helper()
	s, err := consul.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) Put(t *testing.T, service string, b discovery.Backend) {
	u, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	register(t, h.client, &api.AgentService{
		ID: b.ID, Service: service, Address: u.Hostname(), Port: port, Weights: api.AgentWeights{Passing: b.Weight, Warning: 1},
	})
	h.deregister(t, &api.CatalogDeregistration{CheckID: api.ServiceMaintPrefix + b.ID})
}

func register(t *testing.T, c *api.Client, s *api.AgentService, checks ...*api.HealthCheck) {
	t.Helper()
	_, err := c.Catalog().Register(&api.CatalogRegistration{Node: node, Address: "127.0.0.9", Service: s, Checks: checks}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Remove(t *testing.T, service, id string) {
	h.deregister(t, &api.CatalogDeregistration{ServiceID: id})
}

func (h *harness) deregister(t *testing.T, d *api.CatalogDeregistration) {
	t.Helper()
	d.Node = node
	if _, err := h.client.Catalog().Deregister(d, nil); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Drain(t *testing.T, service string, b discovery.Backend) {
	_, err := h.client.Catalog().Register(&api.CatalogRegistration{
		Node: node, Address: "127.0.0.9", SkipNodeUpdate: true,
		Check: &api.AgentCheck{CheckID: api.ServiceMaintPrefix + b.ID, Status: api.HealthCritical, ServiceID: b.ID},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Spoil(t *testing.T, service, id string) string {
	register(t, h.client, &api.AgentService{ID: id, Service: service, Address: "10.0.0.1"})
	return fmt.Sprintf("%s/%s@%s", service, id, node)
}

func (h *harness) KeepsLast() bool { return true }

func (h *harness) Break(t *testing.T) { h.proxy.Cut() }

func (h *harness) Heal(t *testing.T) {
	if err := h.proxy.Heal(); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Forget(t *testing.T) { h.agent.Restart() }
