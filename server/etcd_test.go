package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery/embedded"
	"github.com/vietddude/load-balancer/internal/faultnet"
)

// etcdStore is a real etcd server behind a network that can be broken, and a client that reaches it directly.
type etcdStore struct {
	t      testing.TB
	server *embedded.Server
	net    *faultnet.Proxy
	client *clientv3.Client
	url    string // for --discovery, through the network
}

func startEtcd(t testing.TB) *etcdStore {
	t.Helper()
	srv, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	network, err := faultnet.New(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{srv.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &etcdStore{t: t, server: srv, net: network, client: client, url: "etcd://" + network.Addr() + "/lb"}
}

func (e *etcdStore) put(key, value string, opts ...clientv3.OpOption) {
	e.t.Helper()
	if _, err := e.client.Put(e.t.Context(), key, value, opts...); err != nil {
		e.t.Fatal(err)
	}
}

func (e *etcdStore) delete(key string) {
	e.t.Helper()
	if _, err := e.client.Delete(e.t.Context(), key); err != nil {
		e.t.Fatal(err)
	}
}

// discovering is an override that takes backends from sources and has service web answer everything.
func discovering(urls ...string) func(*config.Config) {
	return func(c *config.Config) {
		c.Discovery = urls
		c.DefaultService = "web"
	}
}

func TestBackendsPutIntoEtcdAreServedAndThoseDeletedAreNot(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	lb.spread(5)
	start := time.Now()
	etcd.put("/lb/services/web/b", `{"url":"`+b.url()+`"}`)
	await(t, "b takes its half", func() bool { return lb.spread(10)["b"] == 5 })
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("b was served %v after it was put", d)
	}
	etcd.delete("/lb/services/web/a")
	await(t, "a is gone", func() bool { return lb.spread(10)["b"] == 10 })
}

func TestABackendLeavesEtcdWithItsLease(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	lease, err := etcd.client.Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url(), clientv3.WithLease(lease.ID))
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	await(t, "both answer", func() bool { return lb.spread(10)["b"] == 5 })
	await(t, "b left when its lease expired", func() bool { return lb.spread(10)["a"] == 10 })
}

func TestAServiceWhoseLastBackendLeftAnswers503(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	lb.spread(1)
	etcd.delete("/lb/services/web/a")
	await(t, "503, and not 404", func() bool {
		code, _ := lb.get(lb.url() + "/")
		if code == http.StatusNotFound {
			t.Error("a known service without backends answered 404")
		}
		return code == http.StatusServiceUnavailable
	})
}

func TestAnOutageOfEtcdWithACompactionCostsNoRequest(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	l := startLoad(lb, 4, lb.url()+"/")
	l.more(t, 50)
	etcd.net.Cut()
	l.more(t, 200)
	for range 50 {
		etcd.put("/lb/services/web/x", "127.0.0.1:1")
		etcd.delete("/lb/services/web/x")
	}
	etcd.put("/lb/services/web/b", b.url())
	got, err := etcd.client.Get(t.Context(), "/lb/services/web/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.client.Compact(t.Context(), got.Header.Revision); err != nil {
		t.Fatal(err)
	}
	l.more(t, 200)
	if err := etcd.net.Heal(); err != nil {
		t.Fatal(err)
	}
	await(t, "b, put during the outage, is served", func() bool { return lb.spread(10)["b"] == 5 })
	l.more(t, 50)
	l.end(t)
}

func TestABalancerStartsWithoutItsStoreAndServesAsSoonAsItCan(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.net.Cut()
	lb := startBalancer(t, "{}", discovering(etcd.url))
	await(t, "/readyz says why it is not ready", func() bool {
		code, body := lb.get(lb.admin() + "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "etcd")
	})
	if err := etcd.net.Heal(); err != nil {
		t.Fatal(err)
	}
	lb.ready()
	await(t, "a answers", func() bool {
		code, body := lb.get(lb.url() + "/")
		return code == http.StatusOK && body == "a"
	})
}

func TestBadValuesCostThemselvesAloneAndAreShown(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	for key, value := range map[string]string{
		"/lb/services/web/a":           a.url(),
		"/lb/services/web/no-port":     "10.0.0.1",
		"/lb/services/web/bad-url":     "http://[::1",
		"/lb/services/web/negative":    `{"url":"http://10.0.0.1:80","weight":-1}`,
		"/lb/services/web/cut":         `{"url":"http://10.0`,
		"/lb/services/web/noise":       strings.Repeat("\x00\xffnoise", 150_000),
		"/lb/services/../x/b":          a.url(),
		"/lb/policies/web":             "algorithm: fastest",
		"/lb/routes/broken":            "service: [",
		"/lb/somewhere/else":           "x",
		"/lb-staging/services/web/not": "127.0.0.1:1",
	} {
		etcd.put(key, value)
	}
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	if got := lb.spread(10); got["a"] != 10 {
		t.Errorf("spread %v, want the good backend alone", got)
	}
	_, table := lb.get(lb.admin() + "/api/v1/table")
	_, metrics := lb.get(lb.admin() + "/metrics")
	for _, key := range []string{"no-port", "bad-url", "negative", "cut", "noise", "../x", "policies/web", "routes/broken", "somewhere/else"} {
		if !strings.Contains(table, key) {
			t.Errorf("/api/v1/table does not tell of %s", key)
		}
	}
	if strings.Contains(table, "lb-staging") {
		t.Error("/lb read a key of /lb-staging")
	}
	if !strings.Contains(metrics, `lb_discovery_rejected_total{reason="bad-weight",source="etcd"} 1`) {
		t.Error("the bad weight is not counted in lb_discovery_rejected_total")
	}
	if t.Failed() {
		t.Log(table)
	}
}

func TestRoutesAndPoliciesFromEtcdAreObeyed(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/api/b", b.url())
	etcd.put("/lb/routes/api", `{"path":"/api","service":"api"}`)
	etcd.put("/lb/policies/api", "sticky_session: {enabled: true, type: cookie, cookie_name: api_id}")
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	if _, body := lb.get(lb.url() + "/api/x"); body != "b" {
		t.Errorf("/api/x was answered by %q, want b", body)
	}
	if _, body := lb.get(lb.url() + "/apix"); body != "a" {
		t.Errorf("/apix was answered by %q, want a: prefixes end on segment borders", body)
	}
	resp, err := lb.client.Get(lb.url() + "/api")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if c := resp.Cookies(); len(c) != 1 || !strings.HasPrefix(c[0].Name, "api_id") {
		t.Errorf("cookies %v, want the policy's", c)
	}
}

func TestAHedgeAskedForInEtcdAnswersForASlowBackend(t *testing.T) {
	slow, fast := startBackend(t, "slow"), startBackend(t, "fast")
	hold := make(chan struct{})
	slow.hold.Store(&hold)
	defer close(hold)
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/slow", slow.url())
	etcd.put("/lb/services/web/fast", fast.url())
	etcd.put("/lb/policies/web", `{"hedge":{"percentile":99,"min_delay":"1ms","max_delay":"1ms"}}`)
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	const won = `lb_service_hedges_total{outcome="won",service="web"}`
	for range 6 {
		if status, text := lb.get(lb.url() + "/"); status != 200 || text != "fast" {
			t.Fatalf("answered %d %q", status, text)
		}
	}
	if n := lb.metric(t, won); n == "" || n == "0" {
		t.Errorf("%s is %q", won, n)
	}
	if _, table := lb.get(lb.admin() + "/api/v1/services/web"); !strings.Contains(table, `"percentile": 99`) && !strings.Contains(table, `"percentile":99`) {
		t.Errorf("the API does not tell of it: %s", table)
	}
}
