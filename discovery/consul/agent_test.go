package consul_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/internal/consultest"
)

// watched is an agent, a client of it, and what a source says of it.
type watched struct {
	*testing.T
	ctx    context.Context
	agent  *consultest.Agent
	client *api.Client
	rec    *discoverytest.Recorder
	stop   func()
}

// watch starts an agent and a source that is in step with it.
func watch(t *testing.T, agent consultest.Options, o consul.Options) *watched {
	t.Helper()
	w := attach(t, consultest.Start(t, agent), o)
	w.rec.AwaitInStep(w.ctx)
	return w
}

// attach starts a source of an agent.
func attach(t *testing.T, agent *consultest.Agent, o consul.Options) *watched {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	w := &watched{T: t, ctx: ctx, agent: agent, rec: discoverytest.NewRecorder(t)}
	if agent.HTTPAddr != "" {
		w.client = agent.Client()
	}
	if o.Address == "" {
		o.Address = agent.HTTPAddr
	}
	w.stop = discoverytest.Start(t, newSource(t, o), w.rec)
	return w
}

func (w *watched) register(r *api.AgentServiceRegistration) {
	w.Helper()
	if r.Name == "" {
		r.Name = "web"
	}
	if r.Port == 0 {
		r.Port = 8080
	}
	if err := w.client.Agent().ServiceRegister(r); err != nil {
		w.Fatal(err)
	}
}

func (w *watched) deregister(id string) {
	w.Helper()
	if err := w.client.Agent().ServiceDeregister(id); err != nil {
		w.Fatal(err)
	}
}

// within waits for a condition and fails the test when it takes longer.
func (w *watched) within(d time.Duration, cond func(discoverytest.State) bool) discoverytest.State {
	w.Helper()
	began := time.Now()
	s := w.rec.Await(w.ctx, cond)
	if took := time.Since(began); took > d {
		w.Errorf("it took %v, want at most %v", took, d)
	}
	return s
}

// are is the condition that web has just these backends, each as id, or id*weight, or id drains.
func are(want ...string) func(discoverytest.State) bool { return areOf("web", want...) }

func areOf(service string, want ...string) func(discoverytest.State) bool {
	return func(s discoverytest.State) bool {
		serving := slices.DeleteFunc(slices.Clone(s.Backends(service)), func(b discovery.Backend) bool { return b.Failing })
		return slices.EqualFunc(serving, want, func(b discovery.Backend, text string) bool {
			return text == b.ID && b.Weight == 1 && !b.Draining || text == fmt.Sprintf("%s*%d", b.ID, b.Weight) && !b.Draining ||
				text == b.ID+" drains" && b.Draining
		})
	}
}

func urls(want ...string) func(discoverytest.State) bool {
	return func(s discoverytest.State) bool { return slices.Equal(s.URLs("web"), want) }
}

func failing(s discoverytest.State) bool { return s.Err != nil }
func inStep(s discoverytest.State) bool  { return s.InStep }

func both(a, b func(discoverytest.State) bool) func(discoverytest.State) bool {
	return func(s discoverytest.State) bool { return a(s) && b(s) }
}

func TestInstancesComeAndGo(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	w.register(&api.AgentServiceRegistration{ID: "web-1", Address: "10.0.0.1"})
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.within(5*time.Second, urls("http://10.0.0.1:8080", "http://127.0.0.1:8080"))
	w.deregister("web-1")
	w.within(5*time.Second, are("web-2"))
	w.deregister("web-2")
	s := w.within(5*time.Second, func(s discoverytest.State) bool { return len(s.Services) == 0 })
	if len(s.Resyncs) != 1 {
		t.Errorf("resyncs are %q, want that of the start alone", s.Resyncs)
	}
}

func TestARegistrationIsSeenInMilliseconds(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	var took []time.Duration
	want := []string{}
	for i := range 11 {
		id := fmt.Sprintf("web-%02d", i)
		want = append(want, id)
		began := time.Now()
		w.register(&api.AgentServiceRegistration{ID: id})
		w.rec.Await(w.ctx, are(want...))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("median %v, greatest %v, with the registration itself", took[5], took[10])
	if took[5] > 500*time.Millisecond { // far above what it takes, for machines under load
		t.Errorf("the median is %v", took[5])
	}
}

func TestHealthDecidesWhoServes(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	ttl := func(id, status string) {
		t.Helper()
		if err := w.client.Agent().UpdateTTL("service:"+id, "", status); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"web-1", "web-2"} {
		w.register(&api.AgentServiceRegistration{
			ID: id, Weights: &api.AgentWeights{Passing: 10, Warning: 3}, Check: &api.AgentServiceCheck{TTL: "10m", Status: api.HealthPassing},
		})
	}
	w.within(5*time.Second, are("web-1*10", "web-2*10"))
	ttl("web-1", api.HealthWarning)
	w.within(5*time.Second, are("web-1*3", "web-2*10"))
	ttl("web-1", api.HealthCritical)
	w.within(5*time.Second, are("web-2*10"))
	ttl("web-2", api.HealthCritical)
	w.within(5*time.Second, are())
	ttl("web-1", api.HealthPassing)
	ttl("web-2", api.HealthPassing)
	w.within(5*time.Second, are("web-1*10", "web-2*10"))
}

func TestANodesHealthIsThatOfItsInstances(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	register(t, w.client, &api.AgentService{ID: "web-1", Service: "web", Port: 80})
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.within(5*time.Second, are("web-1", "web-2"))
	check := func(status string) {
		t.Helper()
		_, err := w.client.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "127.0.0.9", Check: &api.AgentCheck{CheckID: "alive", Status: status},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	check(api.HealthCritical)
	w.within(5*time.Second, are("web-2"))
	check(api.HealthPassing)
	w.within(5*time.Second, are("web-1", "web-2"))
}

func TestMaintenanceDrains(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.within(5*time.Second, are("web-1", "web-2"))
	if err := w.client.Agent().EnableServiceMaintenance("web-1", "test"); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, are("web-1 drains", "web-2"))
	if err := w.client.Agent().DisableServiceMaintenance("web-1"); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, are("web-1", "web-2"))
	if err := w.client.Agent().EnableNodeMaintenance("test"); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, are("web-1 drains", "web-2 drains"))
	if err := w.client.Agent().DisableNodeMaintenance(); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, are("web-1", "web-2"))
}

func TestChangesThatNoCheckTellsOfAreSeen(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.within(5*time.Second, urls("http://127.0.0.1:8080"))
	w.register(&api.AgentServiceRegistration{ID: "web-1", Port: 9090})
	w.within(5*time.Second, urls("http://127.0.0.1:9090"))
	w.register(&api.AgentServiceRegistration{ID: "web-1", Port: 9090, Address: "10.0.0.1"})
	w.within(5*time.Second, urls("http://10.0.0.1:9090"))
	w.register(&api.AgentServiceRegistration{ID: "web-1", Weights: &api.AgentWeights{Passing: 7, Warning: 1}})
	w.within(5*time.Second, are("web-1*7"))
	w.register(&api.AgentServiceRegistration{ID: "web-1", Meta: map[string]string{"zone": "z", "lb-scheme": "https"}})
	s := w.within(5*time.Second, urls("https://127.0.0.1:8080"))
	if b := s.Backends("web")[0]; b.Zone != "z" {
		t.Errorf("the zone is %q, want z", b.Zone)
	}
}

func TestANodesNewAddressIsSeen(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	register(t, w.client, &api.AgentService{ID: "web-1", Service: "web", Port: 80})
	w.within(5*time.Second, urls("http://127.0.0.9:80"))
	if _, err := w.client.Catalog().Register(&api.CatalogRegistration{Node: node, Address: "127.0.0.10"}, nil); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, urls("http://127.0.0.10:80"))
}

func TestOnlyTaggedInstancesAreTaken(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{Tag: "lb"})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.register(&api.AgentServiceRegistration{ID: "web-2", Tags: []string{"lb"}})
	w.register(&api.AgentServiceRegistration{Name: "api"})
	s := w.within(5*time.Second, are("web-2"))
	if len(s.Services) != 1 {
		t.Errorf("services are\n%v\nwant web alone", s)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-1", Tags: []string{"lb"}})
	w.within(5*time.Second, are("web-1", "web-2"))
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.within(5*time.Second, func(s discoverytest.State) bool { return len(s.Services) == 0 })
}

// refuseRed is a grammar that knows no colours.
type refuseRed struct{}

func (refuseRed) Route(string, []byte) (discovery.Route, error) { panic("not asked") }

func (refuseRed) CheckPolicy(text []byte) error {
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	if m["colour"] != nil {
		return fmt.Errorf("unknown key colour")
	}
	return nil
}

func TestTagsAnnounceRoutesAndPolicy(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{Decoder: refuseRed{}})
	w.register(&api.AgentServiceRegistration{ID: "web-1", Tags: []string{"lb.host=a.example", "lb.algorithm=p2c", "lb.colour=red", "urlprefix-b.example/x strip=/x"}})
	s := w.within(5*time.Second, func(s discoverytest.State) bool { return len(s.Services["web"].Routes) == 2 })
	if got := string(s.Services["web"].Policy); got != `{"algorithm":"p2c"}` {
		t.Errorf("the policy is %s", got)
	}
	if p := s.Problems["web/web-1@"+w.agent.Node+" lb.colour=red"]; p.Code != discovery.CodeBadPolicy {
		t.Errorf("problems are %+v, want one for the colour", s.Problems)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-1", Tags: []string{"lb.host=c.example"}})
	s = w.within(5*time.Second, func(s discoverytest.State) bool { return len(s.Services["web"].Routes) == 1 && len(s.Problems) == 0 })
	if svc := s.Services["web"]; svc.Policy != nil || svc.Routes[0].Host != "c.example" {
		t.Errorf("after the change it is %+v", svc)
	}
}

func TestGarbageCostsItselfAlone(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	noise := strings.Repeat("x", 100<<10)
	register(t, w.client, &api.AgentService{ID: "web-1", Service: "web", Address: "10.0.0.1", Port: 80})
	register(t, w.client, &api.AgentService{ID: "web-2", Service: "web", Address: "10.0.0.1"})
	register(t, w.client, &api.AgentService{ID: "web-3", Service: "web", Address: "not an address", Port: 80})
	register(t, w.client, &api.AgentService{ID: "web/4", Service: "web", Address: "10.0.0.1", Port: 80})
	register(t, w.client, &api.AgentService{ID: "web-5", Service: "web", Address: "10.0.0.5", Port: 80, Weights: api.AgentWeights{Passing: 60000, Warning: 1}})
	register(t, w.client, &api.AgentService{ID: "web-6", Service: "web", Address: "10.0.0.6", Port: 80, Tags: []string{"lb." + noise, "lb.x", "urlprefix-:1"}})
	register(t, w.client, &api.AgentService{ID: "x", Service: "../x", Address: "10.0.0.1", Port: 80})
	register(t, w.client, &api.AgentService{ID: "y", Service: noise, Address: "10.0.0.1", Port: 80})
	s := w.rec.Await(w.ctx, func(s discoverytest.State) bool {
		return are("web-1", "web-5*1000", "web-6")(s) && len(s.Problems) == 9
	})
	for key, code := range map[string]string{
		"web/web-2@external": discovery.CodeBadURL, "web/web-3@external": discovery.CodeBadURL, "web/web/4@external": discovery.CodeBadName,
		"web/web-5@external": discovery.CodeBadWeight, "../x": discovery.CodeBadName, "web/web-6@external lb.x": discovery.CodeBadOption,
		"web/web-6@external urlprefix-:1": discovery.CodeBadOption,
	} {
		if s.Problems[key].Code != code {
			t.Errorf("the problem of %q is %+v, want the code %s", key, s.Problems[key], code)
		}
	}
	for _, d := range []*api.CatalogDeregistration{{ServiceID: "web-2"}, {ServiceID: "x"}} {
		d.Node = node
		if _, err := w.client.Catalog().Deregister(d, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.within(5*time.Second, func(s discoverytest.State) bool { return len(s.Problems) == 7 })
}

func TestTheTokenDecides(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{ACL: true})
	const wrong = "99999999-9999-9999-9999-999999999999"

	w := attach(t, agent, consul.Options{Token: agent.Token})
	w.rec.AwaitInStep(w.ctx)
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.within(5*time.Second, are("web-1"))

	for name, token := range map[string]string{"wrong": wrong, "none": ""} {
		s := attach(t, agent, consul.Options{Token: token}).rec.Await(w.ctx, failing)
		if len(s.Services) != 0 || len(s.Resyncs) != 0 {
			t.Errorf("%s: something was announced:\n%v", name, s)
		}
		text := s.Err.Error()
		if !strings.Contains(text, "service:read") || strings.Contains(text, wrong) {
			t.Errorf("%s: the error is %q; want a hint and not the token", name, text)
		}
	}
}

func TestATokenThatIsTakenBackWithdrawsNothing(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{ACL: true})
	file := filepath.Join(t.TempDir(), "token")
	first, second := newToken(t, agent, `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`), agent.Token
	if err := os.WriteFile(file, []byte(first.SecretID+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := attach(t, agent, consul.Options{TokenFile: file, Liveness: 2 * time.Second})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, are("web-1"))
	if _, err := w.client.ACL().TokenDelete(first.AccessorID, nil); err != nil {
		t.Fatal(err)
	}
	s := w.rec.Await(w.ctx, failing)
	if !are("web-1")(s) {
		t.Errorf("web must stay:\n%v", s)
	}
	if err := os.WriteFile(file, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	s = w.rec.Await(w.ctx, both(inStep, are("web-1", "web-2")))
	for _, err := range s.Failures {
		if strings.Contains(err.Error(), first.SecretID) {
			t.Errorf("the error tells the token: %v", err)
		}
	}
}

func newToken(t *testing.T, agent *consultest.Agent, rules string) *api.ACLToken {
	t.Helper()
	c := agent.Client()
	policy, _, err := c.ACL().PolicyCreate(&api.ACLPolicy{Name: "p", Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := c.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenForSomeServicesSeesThoseComeAndGo(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{ACL: true})
	token := newToken(t, agent, `service_prefix "web" { policy = "read" } node_prefix "" { policy = "read" }`)
	w := attach(t, agent, consul.Options{Token: token.SecretID})
	w.register(&api.AgentServiceRegistration{Name: "hidden"})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.register(&api.AgentServiceRegistration{Name: "web2"})
	s := w.rec.Await(w.ctx, both(both(inStep, are("web-1")), areOf("web2", "web2")))
	if len(s.Services) != 2 {
		t.Errorf("services are\n%v\nwant web and web2", s)
	}
	w.deregister("web-1")
	w.within(5*time.Second, both(are(), areOf("web2", "web2")))
}
