package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/internal/consultest"
	"github.com/vietddude/load-balancer/server"
)

// replica is an override for one of several balancers that follow a source, with an id of its own.
func replica(id, url string, more ...func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		discovering(url)(c)
		c.Fleet.ID, c.Fleet.TTL = id, 2*time.Second
		for _, f := range more {
			f(c)
		}
	}
}

// steer sends a change to the admin API.
func (b *balancer) steer(method, path, body string, want int) string {
	b.t.Helper()
	r, err := http.NewRequest(method, b.admin()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		b.t.Errorf("%s %s is answered %d %s, want %d", method, path, resp.StatusCode, text, want)
	}
	return string(text)
}

// serves waits until a service has just these backends taking new exchanges.
func (b *balancer) serves(service string, ids ...string) {
	b.t.Helper()
	want := strings.Join(ids, " ")
	got := ""
	await(b.t, service+" is served by "+want, func() bool {
		var all []string
		if s := b.server.Table().Service(service); s != nil {
			for _, be := range s.Runtime.Ready().Backends {
				all = append(all, be.ID)
			}
		}
		got = strings.Join(all, " ")
		return got == want
	})
}

func (e *etcdStore) value(key string) string {
	e.t.Helper()
	r, err := e.client.Get(e.t.Context(), key)
	if err != nil {
		e.t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func TestAnOperatorsChangesReachAllReplicasAndOutliveThem(t *testing.T) {
	a, b, c := startBackend(t, "a"), startBackend(t, "b"), startBackend(t, "c")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	one := startBalancer(t, "{}", replica("one", etcd.url))
	two := startBalancer(t, "{}", replica("two", etcd.url))
	one.serves("web", "a", "b")
	two.serves("web", "a", "b")
	one.steer("PATCH", "/api/v1/services/web/backends/a", `{"disabled": true}`, 204)
	two.serves("web", "b")
	one.steer("PUT", "/api/v1/services/web/backends/c", `{"url": "`+c.url()+`", "weight": 3}`, 201)
	two.serves("web", "b", "c")
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	three := startBalancer(t, "{}", replica("three", etcd.url))
	three.serves("web", "b", "c")
	if list := three.steer("GET", "/api/v1/overrides", "", 200); !strings.Contains(list, `"disabled":true`) || !strings.Contains(list, `"added":{"url":"`+c.url()) {
		t.Errorf("the overrides are %s", list)
	}
	three.steer("DELETE", "/api/v1/overrides/web/a", "", 204)
	two.serves("web", "a", "b", "c")
	two.steer("DELETE", "/api/v1/overrides", "", 204)
	three.serves("web", "a", "b")
	if r, err := etcd.client.Get(t.Context(), "/lb/overrides/web/a"); err != nil || len(r.Kvs) > 0 {
		t.Errorf("a cleared override is left: %v %v", r, err)
	}
}

func TestAChangeWhileEtcdIsAwayIsInForceAndWrittenLater(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	lb := startBalancer(t, "{}", replica("one", etcd.url))
	lb.serves("web", "a", "b")
	etcd.net.Cut()
	note := lb.steer("PATCH", "/api/v1/services/web/backends/a", `{"draining": true}`, 202)
	if !strings.Contains(note, "in force in this balancer alone") {
		t.Errorf("the answer is %s", note)
	}
	lb.serves("web", "b")
	if list := lb.steer("GET", "/api/v1/overrides", "", 200); !strings.Contains(list, `"pending":true`) {
		t.Errorf("the overrides are %s", list)
	}
	if err := etcd.net.Heal(); err != nil {
		t.Fatal(err)
	}
	await(t, "the drain is written", func() bool { return strings.Contains(etcd.value("/lb/overrides/web/a"), "draining") })
	lb.serves("web", "b")
}

func TestAChangeThatCouldNotBeWrittenIsToldAtTheEnd(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	lb := startBalancer(t, "{}", replica("one", etcd.url))
	lb.serves("web", "a", "b")
	etcd.net.Cut()
	lb.steer("PATCH", "/api/v1/services/web/backends/a", `{"draining": true}`, 202)
	_ = lb.stop() // what it says of the lost store is not looked at here
	if log := lb.logs.String(); !strings.Contains(log, "was never written") || !strings.Contains(log, "etcd at ") {
		t.Errorf("the log does not tell what is lost:\n%s", log)
	}
}

func TestAnOverrideThatMakesNoSenseCostsItselfAlone(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	etcd.put("/lb/services/web/b", b.url())
	etcd.put("/lb/overrides/web/a", "{")
	etcd.put("/lb/overrides/web/b", `{"draining": true}`)
	lb := startBalancer(t, "{}", replica("one", etcd.url))
	lb.serves("web", "a")
	lb.awaitLog("/lb/overrides/web/a")
	etcd.put("/lb/overrides/web/a", `{"removed": true}`)
	etcd.put("/lb/overrides/web/b", `{}`)
	lb.serves("web", "b")
}

func TestOfManyChangesAtOnceTheLastIsKept(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	lb := startBalancer(t, "{}", replica("one", etcd.url))
	lb.serves("web", "a")
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			lb.steer("PATCH", "/api/v1/services/web/backends/a", fmt.Sprintf(`{"weight": %d}`, n+1), 204)
		})
	}
	wg.Wait()
	await(t, "the store holds what is in force", func() bool {
		b := lb.server.Table().Service("web").Backend("a")
		return etcd.value("/lb/overrides/web/a") == fmt.Sprintf(`{"weight":%d}`, b.Weight)
	})
}

const sticky = "sticky_session: {enabled: true}\n"

// cookie is the session that a balancer begins, and the backend that it is with.
func (b *balancer) cookie(send string) (cookie, backend string) {
	b.t.Helper()
	r, _ := http.NewRequest(http.MethodGet, b.url()+"/", nil)
	if send != "" {
		r.Header.Set("Cookie", send)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	for _, c := range resp.Cookies() {
		cookie = c.Name + "=" + c.Value
	}
	return cookie, string(body)
}

// knows waits until a balancer takes a cookie for a session of its own, and gives no other in its place.
func (b *balancer) knows(cookie string) {
	b.t.Helper()
	await(b.t, "the session is known", func() bool {
		again, _ := b.cookie(cookie)
		return again == ""
	})
}

func TestReplicasShareTheKeyOfSessionsAndItsRotation(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	one := startBalancer(t, sticky, replica("one", etcd.url))
	two := startBalancer(t, sticky, replica("two", etcd.url))
	one.ready()
	two.ready()
	await(t, "there is a key", func() bool { return etcd.value("/lb/sessions/key/current") != "" })
	var cookie string
	await(t, "both seal by it", func() bool {
		cookie, _ = one.cookie("")
		again, _ := two.cookie(cookie)
		return again == ""
	})
	before := etcd.value("/lb/sessions/key/current")
	if err := server.RotateSessionKey(t.Context(), etcd.url, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var ring struct{ Keys []string }
	if err := json.Unmarshal([]byte(etcd.value("/lb/sessions/key/current")), &ring); err != nil || len(ring.Keys) != 2 || !strings.Contains(before, ring.Keys[1]) {
		t.Errorf("the keys are %d (%v), want a new one and the one before", len(ring.Keys), err)
	}
	await(t, "a session of the former key is taken and sealed anew", func() bool {
		next, _ := two.cookie(cookie)
		if next == "" {
			return false
		}
		one.knows(next)
		return true
	})
	lost := etcd.value("/lb/sessions/key/current")
	etcd.delete("/lb/sessions/key/current")
	await(t, "what the store has lost is there again", func() bool { return etcd.value("/lb/sessions/key/current") == lost })
	for _, secret := range ring.Keys {
		if strings.Contains(one.logs.String()+two.logs.String(), secret) {
			t.Error("a key is in the log")
		}
	}
}

func TestConfiguredKeysGoBeforeSharedOnesAndRotateByReload(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	const old, young = "0123456789abcdef-old", "0123456789abcdef-new"
	lb := startBalancer(t, "sticky_session: {enabled: true, key: "+old+"}\n", replica("one", etcd.url))
	other := startBalancer(t, "sticky_session: {enabled: true, keys: ["+young+", "+old+"]}\n", replica("two", etcd.url))
	lb.ready()
	other.ready()
	cookie, _ := lb.cookie("")
	next, _ := other.cookie(cookie)
	if next == "" {
		t.Error("a session of an old key was not sealed anew")
	}
	lb.write("sticky_session: {enabled: true, keys: [" + young + ", " + old + "]}\n")
	lb.knows(next)
	if etcd.value("/lb/sessions/key/current") != "" {
		t.Error("a key is shared that nobody uses")
	}
	lb.write("sticky_session: {enabled: true}\n")
	await(t, "one is shared when the configuration has none any more", func() bool {
		return etcd.value("/lb/sessions/key/current") != ""
	})
}

func TestReplicasFindEachOtherAndTellTheirTables(t *testing.T) {
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", "10.0.0.1:80")
	two := startBalancer(t, "{}", replica("two", etcd.url))
	one := startBalancer(t, "{}", replica("one", etcd.url))
	sees := func(b *balancer, self int, ids ...string) {
		t.Helper()
		await(t, "the fleet is "+strings.Join(ids, " "), func() bool {
			v := b.server.Fleet()
			if v.Self != self || len(v.Members) != len(ids) || len(v.Differing()) > 0 {
				return false
			}
			for i, id := range ids {
				if v.Members[i].ID != id || v.Members[i].Fingerprint != b.server.Table().Fingerprint() {
					return false
				}
			}
			return true
		})
	}
	sees(one, 0, "one", "two")
	sees(two, 1, "one", "two")
	v, err := server.ListFleet(t.Context(), etcd.url)
	if err != nil || len(v.Members) != 2 || v.Members[0].Version != "test" || v.Members[0].Admin != one.server.Addrs().Admin.String() {
		t.Errorf("the list is %+v (%v)", v, err)
	}
	etcd.put("/lb/services/web/b", "10.0.0.2:80")
	sees(one, 0, "one", "two")
	if _, text := one.get(one.admin() + "/metrics"); !strings.Contains(text, "lb_fleet_replicas 2") || !strings.Contains(text, "lb_fleet_replicas_differing 0") {
		t.Error("the metrics do not tell of two replicas that agree")
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	sees(two, 0, "two")
	if text := two.steer("GET", "/api/v1/fleet", "", 200); !strings.Contains(text, `"self":"two","rank":0`) {
		t.Errorf("the API tells %s", text)
	}
	if err := two.stop(); err != nil {
		t.Error(err)
	}
	if r, err := etcd.client.Leases(t.Context()); err != nil || len(r.Leases) > 0 {
		t.Errorf("leases are left: %v %v", r, err)
	}
}

func TestAFleetMayLiveInConsul(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	in := func(c *config.Config) { c.Fleet.Store = agent.URL() }
	one := startBalancer(t, "{}", replica("one", agent.URL(), in))
	two := startBalancer(t, "{}", replica("two", agent.URL(), in))
	await(t, "both see both", func() bool {
		return len(one.server.Fleet().Members) == 2 && two.server.Fleet().Self == 1
	})
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	await(t, "one has left", func() bool { return len(two.server.Fleet().Members) == 1 })
	if v, err := server.ListFleet(t.Context(), agent.URL()); err != nil || len(v.Members) != 1 {
		t.Errorf("the list is %+v (%v)", v, err)
	}
}

func TestABalancerAnnouncesItselfAndDrainsBeforeItsListenersClose(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	lb := startBalancer(t, "{}", replica("one", etcd.url, func(c *config.Config) {
		c.Announce.Service, c.Announce.ID, c.Announce.Drain = "edge", "lb-1", 2*time.Second
	}))
	await(t, "it is announced", func() bool { return strings.Contains(etcd.value("/lb/services/edge/lb-1"), lb.url()) })
	ended := make(chan error, 1)
	go func() { ended <- lb.stop() }()
	await(t, "it drains", func() bool { return strings.Contains(etcd.value("/lb/services/edge/lb-1"), "drain") })
	if code, _ := lb.get(lb.url() + "/"); code != http.StatusOK {
		t.Errorf("while it drains it answers %d", code)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if v := etcd.value("/lb/services/edge/lb-1"); v != "" {
		t.Errorf("it is still announced: %s", v)
	}
}

func TestAnAnnouncementWithoutAnAddressIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "listen: {port: 0}\nadmin: {address: '127.0.0.1:0'}\nbackends: [{id: a, url: 'http://localhost:1'}]\nannounce: {service: edge, stores: ['etcd://127.0.0.1:1']}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := server.New(t.Context(), server.Options{ConfigFile: file})
	if err == nil || !strings.Contains(err.Error(), "announce.url") {
		t.Errorf("the error is %v", err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Check(cfg); err == nil || !strings.Contains(err.Error(), "announce.url") {
		t.Errorf("the check says %v", err)
	}
}

func TestABalancerThatSharesNothingWritesNothing(t *testing.T) {
	a := startBackend(t, "a")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", a.url())
	lb := startBalancer(t, "{}", replica("one", etcd.url, func(c *config.Config) { c.Fleet.Enabled = false }))
	lb.ready()
	lb.steer("PATCH", "/api/v1/services/web/backends/a", `{"weight": 2}`, 204)
	r, err := etcd.client.Get(t.Context(), "/lb/", clientv3.WithPrefix())
	if err != nil || len(r.Kvs) != 1 {
		t.Errorf("a balancer that shares nothing has written: %v %v", r, err)
	}
}

func TestWhatIsRejectedIsWrittenBackByOneReplica(t *testing.T) {
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/a", "10.0.0.1")
	one := startBalancer(t, "{}", replica("one", etcd.url+"?feedback=true"))
	two := startBalancer(t, "{}", replica("two", etcd.url+"?feedback=true"))
	const status = "/lb/status/services/web/a"
	await(t, "the verdict is there", func() bool { return strings.Contains(etcd.value(status), `"code":"bad-url"`) })
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	await(t, "the other writes it", func() bool {
		return two.server.Fleet().Self == 0 && strings.Contains(etcd.value(status), `"code":"bad-url"`)
	})
	etcd.put("/lb/services/web/a", "10.0.0.1:80")
	await(t, "the verdict is taken back", func() bool { return etcd.value(status) == "" })
	if err := two.stop(); err != nil {
		t.Error(err)
	}
	if r, err := etcd.client.Leases(t.Context()); err != nil || len(r.Leases) > 0 {
		t.Errorf("leases are left: %v %v", r, err)
	}
}

func TestNothingOfOursIsWrittenAmongOthersKeys(t *testing.T) {
	etcd := startEtcd(t)
	etcd.put("web/1", `{"Op": 0, "Addr": "10.0.0.1:80"}`)
	url := strings.TrimSuffix(etcd.url, "/lb") + "/?format=endpoints"
	lb := startBalancer(t, "{}", replica("one", url))
	lb.serves("web", "1")
	if _, err := server.Places([]string{url}, "web", "a", 0); err == nil || !strings.Contains(err.Error(), "format") {
		t.Errorf("registering there: %v", err)
	}
	if r, err := etcd.client.Get(t.Context(), "", clientv3.WithPrefix()); err != nil || len(r.Kvs) != 1 {
		t.Errorf("the store holds %v (%v)", r.Kvs, err)
	}
}
