package consul_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/internal/consultest"
)

func TestAKilledAgentChangesNothingUntilItIsBack(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.register(&api.AgentServiceRegistration{Name: "old"})
	w.within(5*time.Second, both(are("web-1"), areOf("old", "old")))
	w.agent.Stop()
	s := w.within(5*time.Second, failing)
	if !are("web-1")(s) || !areOf("old", "old")(s) {
		t.Errorf("everything must stay:\n%v", s)
	}
	if text := s.Err.Error(); !strings.Contains(text, w.agent.HTTPAddr) {
		t.Errorf("the error is %q, want the address", text)
	}
	w.agent.Restart()
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	s = w.within(10*time.Second, both(inStep, are("web-2")))
	if _, ok := s.Services["old"]; ok {
		t.Errorf("the agent knows nothing of old any more:\n%v", s)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-3"})
	w.within(5*time.Second, are("web-2", "web-3"))
}

func TestAnAgentThatIsNotThereYetIsAwaited(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	agent.Stop()
	w := attach(t, agent, consul.Options{})
	if s := w.rec.Await(w.ctx, failing); len(s.Resyncs) != 0 {
		t.Errorf("a resync began without an agent:\n%v", s)
	}
	agent.Restart()
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.within(10*time.Second, both(inStep, are("web-1")))
}

func TestAFrozenAgentIsNoticedAndFollowedAtOnceWhenThawed(t *testing.T) {
	t.Parallel()
	w := watch(t, consultest.Options{}, consul.Options{Liveness: 4 * time.Second})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.within(5*time.Second, are("web-1"))
	w.agent.Freeze()
	s := w.within(8*time.Second, failing)
	if !are("web-1")(s) || !strings.Contains(s.Err.Error(), "no answer") {
		t.Errorf("web must stay and the error say what is wrong:\n%v", s)
	}
	<-time.After(5 * time.Second) // an agent that hangs for longer than it takes to notice
	w.agent.Thaw()
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.within(5*time.Second, both(inStep, are("web-1", "web-2")))
}

func TestALinkThatHangsIsTornDown(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	proxy := newProxy(t, agent)
	w := attach(t, agent, consul.Options{Address: proxy.Addr(), Liveness: 2 * time.Second})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	proxy.Freeze()
	w.within(10*time.Second, failing)
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, both(inStep, are("web-1", "web-2")))
}

func TestManyServicesTakeFewConnections(t *testing.T) {
	t.Parallel()
	const services = 300
	agent := consultest.Start(t, consultest.Options{})
	front := newFront(t, agent)
	w := attach(t, agent, consul.Options{Address: front.addr()})
	for i := range services {
		name := fmt.Sprintf("svc-%03d", i)
		register(t, w.client, &api.AgentService{ID: name, Service: name, Address: "10.0.0.1", Port: 80 + i})
	}
	before := w.rec.Await(w.ctx, both(inStep, func(s discoverytest.State) bool { return len(s.Services) == services }))
	for round := range 3 {
		name := fmt.Sprintf("svc-%03d", 100*round+7)
		register(t, w.client, &api.AgentService{ID: name, Service: name, Address: "10.0.0.2", Port: 80})
		began := time.Now()
		s := w.within(10*time.Second, func(s discoverytest.State) bool { return s.URLs(name)[0] == "http://10.0.0.2:80" })
		t.Logf("seen after %v", time.Since(began))
		for _, call := range s.Calls[len(before.Calls):] {
			if strings.HasPrefix(call, "Service ") && call != "Service "+name {
				t.Errorf("the change of %s was followed by %q", name, call)
			}
		}
		before = s
	}
	if n := front.most.Load(); n > 64 {
		t.Errorf("%d connections at one time, want at most 64", n)
	} else {
		t.Logf("%d connections at one time", n)
	}
}

// silent keeps what servers log of connections that end out of the tests' output.
var silent = log.New(io.Discard, "", 0)

// front is an HTTP proxy before an agent that may change what passes.
type front struct {
	server *httptest.Server
	to     *httputil.ReverseProxy
	open   atomic.Int64 // connections now
	most   atomic.Int64 // and the most at one time
	asked  sync.Map     // path: *atomic.Int64

	mu     sync.Mutex
	tamper func(w http.ResponseWriter, r *http.Request) bool // reports whether it answered itself
	modify func(r *http.Response)
}

func newFront(t *testing.T, agent *consultest.Agent) *front {
	f := &front{}
	f.to = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.HTTPAddr})
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	f.to.Transport = transport
	f.to.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	f.to.ModifyResponse = func(r *http.Response) error {
		if _, modify := f.hooks(); modify != nil {
			modify(r)
		}
		return nil
	}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.server.Config.ConnState = f.count
	f.server.Config.ErrorLog = silent
	f.server.Start()
	t.Cleanup(func() {
		f.server.CloseClientConnections()
		f.server.Close()
		transport.CloseIdleConnections()
	})
	return f
}

func (f *front) addr() string { return strings.TrimPrefix(f.server.URL, "http://") }

func (f *front) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		n := f.open.Add(1)
		for most := f.most.Load(); n > most && !f.most.CompareAndSwap(most, n); most = f.most.Load() {
		}
	case http.StateClosed, http.StateHijacked:
		f.open.Add(-1)
	}
}

func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	n, _ := f.asked.LoadOrStore(r.URL.Path, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if tamper, _ := f.hooks(); tamper != nil && tamper(w, r) {
		return
	}
	f.to.ServeHTTP(w, r)
}

func (f *front) hooks() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tamper, f.modify
}

// set changes what is done to requests and replies from now on.
func (f *front) set(tamper func(http.ResponseWriter, *http.Request) bool, modify func(*http.Response)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tamper, f.modify = tamper, modify
}

func (f *front) times(path string) int64 {
	n, ok := f.asked.Load(path)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// stale is the condition that web is marked as stale for these reasons.
func stale(reasons ...string) func(discoverytest.State) bool {
	return func(s discoverytest.State) bool {
		return slices.EqualFunc(s.Services["web"].Stale, reasons, func(m discovery.Stale, reason string) bool { return m.Reason == reason })
	}
}

// tampered is an agent with a front and a source that is in step with web and api.
func tampered(t *testing.T, o consul.Options) (*watched, *front) {
	t.Helper()
	agent := consultest.Start(t, consultest.Options{})
	f := newFront(t, agent)
	o.Address = f.addr()
	w := attach(t, agent, o)
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.register(&api.AgentServiceRegistration{Name: "api"})
	w.rec.Await(w.ctx, both(inStep, both(are("web-1"), areOf("api", "api"))))
	return w, f
}

func TestAServiceThatCannotBeReadStaysAndCostsNoOther(t *testing.T) {
	t.Parallel()
	w, f := tampered(t, consul.Options{})
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/health/service/web" {
			http.Error(rw, "rpc error: out of luck", http.StatusInternalServerError)
			return true
		}
		return false
	}, nil)
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.register(&api.AgentServiceRegistration{ID: "api", Name: "api", Weights: &api.AgentWeights{Passing: 5, Warning: 1}})
	s := w.within(5*time.Second, both(stale(discovery.CodeQueryFailed), areOf("api", "api*5")))
	if !are("web-1")(s) || len(s.Services["api"].Stale) != 0 || !strings.Contains(s.Services["web"].Stale[0].Detail, "out of luck") {
		t.Errorf("web must stay and alone be marked with the reason:\n%v", s)
	}
	f.set(nil, nil)
	s = w.within(5*time.Second, both(inStep, both(stale(), are("web-1", "web-2"))))
	if len(s.Failures) != 0 {
		t.Errorf("one service that cannot be read is no outage, but Failed was called: %v", s.Failures)
	}
}

func TestAServiceThatCannotBeReadIsNamedAgainByAListing(t *testing.T) {
	t.Parallel()
	w, f := tampered(t, consul.Options{Liveness: 2 * time.Second})
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		http.Error(rw, "No cluster leader", http.StatusInternalServerError)
		return true
	}, nil)
	w.rec.Await(w.ctx, failing)
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/health/service/web" {
			_, _ = io.WriteString(rw, "<html>")
			return true
		}
		return false
	}, nil)
	w.deregister("api")
	s := w.rec.Await(w.ctx, func(s discoverytest.State) bool { return len(s.Services) == 1 })
	if !are("web-1")(s) || !stale(discovery.CodeQueryFailed)(s) {
		t.Errorf("web must stay, marked:\n%v", s)
	}
	f.set(nil, nil)
	w.rec.Await(w.ctx, both(inStep, both(are("web-1"), stale())))
}

func TestAFilteredReplyTakesNothingAway(t *testing.T) {
	t.Parallel()
	w, f := tampered(t, consul.Options{})
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/health/service/web" {
			rw.Header().Set("X-Consul-Index", "99999")
			rw.Header().Set("X-Consul-LastContact", "0")
			rw.Header().Set("X-Consul-KnownLeader", "true")
			rw.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
			_, _ = io.WriteString(rw, "[]")
			return true
		}
		return false
	}, nil)
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.register(&api.AgentServiceRegistration{ID: "mark", Name: "mark"})
	before := f.times("/v1/health/service/web")
	w.rec.Await(w.ctx, areOf("mark", "mark"))
	w.register(&api.AgentServiceRegistration{ID: "mark-2", Name: "mark"})
	s := w.rec.Await(w.ctx, both(stale(discovery.CodeFiltered), areOf("mark", "mark", "mark-2")))
	if !are("web-1")(s) || f.times("/v1/health/service/web") == before {
		t.Errorf("web must have been asked for and stay:\n%v", s)
	}
	f.set(nil, nil)
	w.deregister("web-1")
	w.rec.Await(w.ctx, both(are("web-2"), stale()))
}

func TestAnIndexThatGoesBackwardsStartsOver(t *testing.T) {
	t.Parallel()
	w, f := tampered(t, consul.Options{Liveness: 2 * time.Second})
	f.set(nil, func(r *http.Response) {
		if strings.Contains(r.Request.URL.RawQuery, "index=") {
			r.Header.Set("X-Consul-Index", "3")
		}
	})
	s := w.rec.Await(w.ctx, func(s discoverytest.State) bool { return strings.Contains(strings.Join(s.Resyncs, " "), "index-reset") })
	f.set(nil, nil)
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	s = w.rec.Await(w.ctx, both(inStep, are("web-1", "web-2")))
	if len(s.Failures) != 0 {
		t.Errorf("an index that goes backwards is no outage, but Failed was called: %v", s.Failures)
	}
}

func TestRepliesThatDoNotWaitMakeNoBusyLoop(t *testing.T) {
	t.Parallel()
	w, f := tampered(t, consul.Options{Liveness: 4 * time.Second})
	f.set(func(rw http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query()
		q.Del("index") // the reply comes at once, with the index as it is
		r.URL.RawQuery = q.Encode()
		return false
	}, nil)
	w.register(&api.AgentServiceRegistration{ID: "web-2"}) // ends the blocking query under way
	w.rec.Await(w.ctx, are("web-1", "web-2"))
	const path = "/v1/catalog/services"
	before := f.times(path)
	<-time.After(2 * time.Second) // the time in which requests are counted
	if n := f.times(path) - before; n > 20 {
		t.Errorf("%d requests in 2 s, want the loop slowed down", n)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-3"})
	w.within(8*time.Second, are("web-1", "web-2", "web-3"))
}

func TestWhatIsNoConsulIsSaidToBeNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"a page":  func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>hello</html>") },
		"nothing": http.NotFound,
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
	} {
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		rec := discoverytest.NewRecorder(t)
		discoverytest.Start(t, newSource(t, consul.Options{Address: strings.TrimPrefix(server.URL, "http://"), Token: "s3cret"}), rec)
		s := rec.Await(t.Context(), failing)
		if text := s.Err.Error(); !strings.Contains(text, "agent") || strings.Contains(text, "s3cret") {
			t.Errorf("%s: the error is %q, want a hint", name, text)
		}
	}
}

func TestTheNextAgentIsAskedWhileOneHangs(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	first, second := newProxy(t, agent), newProxy(t, agent)
	w := attach(t, agent, consul.Options{Address: first.Addr() + "," + second.Addr(), Liveness: 2 * time.Second})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	first.Freeze()
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.rec.Await(w.ctx, both(inStep, are("web-1", "web-2")))
	second.Cut()
	if err := first.Heal(); err != nil {
		t.Fatal(err)
	}
	w.register(&api.AgentServiceRegistration{ID: "web-3"})
	w.rec.Await(w.ctx, both(inStep, are("web-1", "web-2", "web-3")))
}

func TestAServerThatIsBehindOrHasNoLeaderIsNotBelieved(t *testing.T) {
	t.Parallel()
	w, f := tampered(t, consul.Options{Liveness: 2 * time.Second, MaxStale: time.Second})
	for header, c := range map[string]struct{ value, want string }{
		"X-Consul-Lastcontact": {"60000", "behind its leader"},
		"X-Consul-Knownleader": {"false", "has no leader"},
	} {
		f.set(nil, func(r *http.Response) {
			if strings.Contains(r.Request.URL.RawQuery, "index=") {
				r.Header.Set(header, c.value)
			}
		})
		s := w.rec.Await(w.ctx, func(s discoverytest.State) bool { return failing(s) && strings.Contains(s.Err.Error(), c.want) })
		if !both(are("web-1"), areOf("api", "api"))(s) {
			t.Errorf("everything must stay:\n%v", s)
		}
		f.set(nil, nil)
		w.rec.Await(w.ctx, inStep)
	}
}

func TestAnAgentWhoseServersDoNotAnswerChangesNothing(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	agent := consultest.Start(t, consultest.Options{Join: server})
	w := attach(t, agent, consul.Options{Liveness: 2 * time.Second})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	server.Freeze()
	s := w.rec.Await(w.ctx, failing)
	if !are("web-1")(s) {
		t.Errorf("web must stay:\n%v", s)
	}
	server.Thaw()
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	w.register(&api.AgentServiceRegistration{ID: "web-2"})
	w.rec.Await(w.ctx, are("web-1", "web-2"))
}

// total is the number of requests so far, polls included.
func (f *front) total() (n int64) {
	f.asked.Range(func(_, count any) bool {
		n += count.(*atomic.Int64).Load()
		return true
	})
	return n
}

// great is a catalog of services of an instance on each of two nodes, and a source that is in step with it.
func great(t *testing.T, services int) (*watched, *front) {
	t.Helper()
	agent := consultest.Start(t, consultest.Options{})
	f := newFront(t, agent)
	client := agent.Client()
	for i := range services {
		for _, on := range []string{"n1", "n2"} {
			name := fmt.Sprintf("svc-%03d", i)
			if _, err := client.Catalog().Register(&api.CatalogRegistration{
				Node: on, Address: "10.0.0." + on[1:], Service: &api.AgentService{ID: name, Service: name, Port: 1000 + i},
			}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := attach(t, agent, consul.Options{Address: f.addr()})
	w.rec.Await(w.ctx, both(inStep, func(s discoverytest.State) bool { return len(s.Services) == services }))
	return w, f
}

func TestAChangeInAGreatCatalogCostsAFewRequests(t *testing.T) {
	t.Parallel()
	w, f := great(t, 150)
	for i := range 5 {
		before := f.total()
		w.register(&api.AgentServiceRegistration{ID: fmt.Sprint("web-", i), Name: fmt.Sprint("web-", i)})
		name := fmt.Sprint("web-", i)
		w.rec.Await(w.ctx, areOf(name, name))
		// The list of services, the service, and now and then a look at the three nodes and their list.
		if n := f.total() - before; n > 50 {
			t.Errorf("the new service %d took %d requests", i, n)
		}
	}
	for i, port := range []int{7, 8, 9} {
		name := fmt.Sprintf("svc-%03d", 40*i+3)
		before := f.total()
		if _, err := w.client.Catalog().Register(&api.CatalogRegistration{
			Node: "n2", Address: "10.0.0.2", Service: &api.AgentService{ID: name, Service: name, Port: port},
		}, nil); err != nil {
			t.Fatal(err)
		}
		s := w.rec.Await(w.ctx, func(s discoverytest.State) bool {
			return slices.Contains(s.URLs(name), fmt.Sprintf("http://10.0.0.2:%d", port))
		})
		if n := f.total() - before; n > 50 {
			t.Errorf("the change of %s took %d requests:\n%v", name, n, s.Calls[len(s.Calls)-10:])
		}
	}
}

func TestEveryChangeInAGreatCatalogIsSeen(t *testing.T) {
	t.Parallel()
	w, _ := great(t, 100)
	// Nothing of these changes a name, a tag or a check. The last moves all instances of a node.
	if _, err := w.client.Catalog().Deregister(&api.CatalogDeregistration{Node: "n1", ServiceID: "svc-042"}, nil); err != nil {
		t.Fatal(err)
	}
	w.rec.Await(w.ctx, func(s discoverytest.State) bool { return len(s.URLs("svc-042")) == 1 })
	ok, reply, _, err := w.client.Txn().Txn(api.TxnOps{
		{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: "n1", Service: api.AgentService{ID: "svc-007", Service: "svc-007", Port: 7}}},
		{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: "n1", Service: api.AgentService{ID: "svc-008", Service: "svc-008", Port: 8}}},
	}, nil)
	if err != nil || !ok {
		t.Fatal(err, reply)
	}
	w.rec.Await(w.ctx, func(s discoverytest.State) bool {
		return s.URLs("svc-007")[0] == "http://10.0.0.1:7" && s.URLs("svc-008")[0] == "http://10.0.0.1:8"
	})
	if _, err := w.client.Catalog().Register(&api.CatalogRegistration{Node: "n1", Address: "10.9.9.9"}, nil); err != nil {
		t.Fatal(err)
	}
	w.rec.Await(w.ctx, func(s discoverytest.State) bool {
		return s.URLs("svc-099")[0] == "http://10.9.9.9:1099" && s.URLs("svc-007")[0] == "http://10.9.9.9:7"
	})
}

func TestOnlyTaggedServicesCrossTheWire(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	f := newFront(t, agent)
	f.set(nil, func(r *http.Response) {
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.Contains(string(body), "hidden") {
			t.Errorf("%s: the reply tells of what is not tagged (%v)", r.Request.URL, err)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
	})
	w := attach(t, agent, consul.Options{Address: f.addr(), Tag: "lb"})
	w.register(&api.AgentServiceRegistration{ID: "hidden-1", Name: "hidden"})
	w.register(&api.AgentServiceRegistration{ID: "hidden-2"})
	w.register(&api.AgentServiceRegistration{ID: "web-1", Tags: []string{"lb"}})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	w.register(&api.AgentServiceRegistration{ID: "web-3", Tags: []string{"lb"}})
	w.rec.Await(w.ctx, both(inStep, are("web-1", "web-3")))
}
