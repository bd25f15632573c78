package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const stuck = "sticky_session: {type: header, header_name: X-User, store: etcd, timeout: 10m}\nalgorithm: round-robin\n"

// asks asks as a user and returns who answered.
func (b *balancer) asks(user string) string {
	b.t.Helper()
	r, _ := http.NewRequest(http.MethodGet, b.url()+"/", nil)
	r.Header.Set("X-User", user)
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body := make([]byte, 1)
	if _, err := resp.Body.Read(body); resp.StatusCode != http.StatusOK {
		b.t.Errorf("status %d, %v", resp.StatusCode, err)
	}
	return string(body)
}

// sessions is how many sessions stand in the store.
func (e *etcdStore) sessions() int64 {
	e.t.Helper()
	r, err := e.client.Get(e.t.Context(), "/lb/sessions/of/web/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		e.t.Fatal(err)
	}
	return r.Count
}

// remembers waits until a balancer has so many sessions in memory.
func (b *balancer) remembers(n int) {
	b.t.Helper()
	want := fmt.Sprintf("lb_sessions_remembered %d\n", n)
	await(b.t, want, func() bool {
		_, text := b.get(b.admin() + "/metrics")
		return strings.Contains(text, want) && strings.Contains(text, "lb_sessions_shared_in_step 1\n")
	})
}

func TestTwoBalancersShareTenThousandSessionsAcrossARestartOfEither(t *testing.T) {
	a, b, c := startBackend(t, "a"), startBackend(t, "b"), startBackend(t, "c")
	etcd := startEtcd(t)
	for _, be := range []*testBackend{a, b, c} {
		etcd.put("/lb/services/web/"+be.name, be.url())
	}
	const n = 10_000
	user := func(i int) string { return fmt.Sprintf("user-%d", i) }
	one := startBalancer(t, stuck, replica("one", etcd.url))
	two := startBalancer(t, stuck, replica("two", etcd.url))
	one.serves("web", "a", "b", "c")
	two.serves("web", "a", "b", "c")
	one.remembers(0)
	two.remembers(0)
	with := make([]string, n)
	lbs := []*balancer{one, two}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := g; i < n; i += 4 {
				with[i] = lbs[i%2].asks(user(i))
			}
		})
	}
	wg.Wait()
	check := func(what string, lb *balancer, from, step int) {
		t.Helper()
		for i := from; i < n; i += step {
			if got := lb.asks(user(i)); got != with[i] {
				t.Fatalf("%s: %s is with %s, was with %s", what, user(i), got, with[i])
			}
		}
	}
	one.remembers(n)
	two.remembers(n)
	if got := etcd.sessions(); got != n {
		t.Errorf("%d sessions stand in the store, want %d", got, n)
	}
	check("begun at one", two, 0, 20)
	check("begun at two", one, 1, 20)
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	one = startBalancer(t, stuck, replica("one", etcd.url))
	one.serves("web", "a", "b", "c")
	one.remembers(n)
	check("after a restart of one", one, 0, 9)
	if err := two.stop(); err != nil {
		t.Error(err)
	}
	two = startBalancer(t, stuck, replica("two", etcd.url))
	two.serves("web", "a", "b", "c")
	two.remembers(n)
	check("after a restart of two", two, 0, 11)
	r, err := etcd.client.Leases(t.Context())
	if err != nil || len(r.Leases) > 30 {
		t.Errorf("%d sessions hang on %d leases (%v)", n, len(r.Leases), err)
	}
	keys, err := etcd.client.Get(t.Context(), "/lb/sessions/of/", clientv3.WithPrefix(), clientv3.WithLimit(5))
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range keys.Kvs {
		if kv.Lease == 0 || strings.Contains(string(kv.Key)+string(kv.Value), "user") {
			t.Errorf("%s is %s, of lease %d", kv.Key, kv.Value, kv.Lease)
		}
	}
}

func TestSessionsGoOnWhileEtcdIsAwayAndAreReconciled(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	one := startBalancer(t, stuck, replica("one", etcd.url))
	two := startBalancer(t, stuck, replica("two", etcd.url))
	one.serves("web", "a", "b")
	two.serves("web", "a", "b")
	one.remembers(0)
	two.remembers(0)
	before := one.asks("before")
	two.remembers(1)
	etcd.net.Cut()
	during := one.asks("during")
	split := one.asks("split")
	two.asks("split") // begins the same session, perhaps with another backend
	for range 3 {
		if one.asks("before") != before || two.asks("before") != before || one.asks("during") != during || one.asks("split") != split {
			t.Error("a session did not go on")
		}
	}
	if err := etcd.net.Heal(); err != nil {
		t.Fatal(err)
	}
	await(t, "all sessions are written", func() bool { return etcd.sessions() == 3 })
	one.remembers(3)
	two.remembers(3)
	await(t, "both agree", func() bool { return one.asks("split") == two.asks("split") })
	if two.asks("during") != during || two.asks("before") != before {
		t.Error("the other replica does not know a session of the outage")
	}
}

func TestASessionThatMovesIsHeardOfByAll(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	one := startBalancer(t, stuck, replica("one", etcd.url))
	two := startBalancer(t, stuck, replica("two", etcd.url))
	one.serves("web", "a", "b")
	two.serves("web", "a", "b")
	one.remembers(0)
	two.remembers(0)
	first := one.asks("ann")
	two.remembers(1)
	one.steer("PATCH", "/api/v1/services/web/backends/"+first, `{"disabled": true}`, 204)
	other := map[string]string{"a": "b", "b": "a"}[first]
	one.serves("web", other)
	if got := one.asks("ann"); got != other {
		t.Fatalf("the session is with %s, which is disabled", got)
	}
	one.steer("PATCH", "/api/v1/services/web/backends/"+first, `{"disabled": false}`, 204)
	two.serves("web", "a", "b")
	await(t, "the other replica knows where it is", func() bool { return two.asks("ann") == other })
}

func TestStoreEtcdWithoutAnEtcdIsAProblemAndKeptInMemory(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, stuck+"backends: [{id: a, url: '"+a.url()+"'}]\n", nil)
	lb.ready()
	if lb.asks("ann") != "a" {
		t.Error("no answer")
	}
	await(t, "the problem is told", func() bool {
		for _, p := range lb.server.Table().Problems() {
			if strings.Contains(p.Detail, "no etcd is shared") {
				return true
			}
		}
		return false
	})
}

func TestACookieOfASharedSessionServesWhereTheSessionIsNotKnownYet(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	const text = "sticky_session: {type: cookie, store: etcd, key: 0123456789abcdef}\n"
	one := startBalancer(t, text, replica("one", etcd.url))
	two := startBalancer(t, text, replica("two", etcd.url))
	one.serves("web", "a", "b")
	two.serves("web", "a", "b")
	one.remembers(0)
	two.remembers(0)
	etcd.net.Cut()
	for range 4 {
		cookie, first := one.cookie("")
		if again, got := two.cookie(cookie); got != first || again != "" {
			t.Errorf("the session with %s went to %s, cookie %q", first, got, again)
		}
	}
	if err := etcd.net.Heal(); err != nil {
		t.Fatal(err)
	}
	await(t, "all sessions are written", func() bool { return etcd.sessions() == 4 })
}
