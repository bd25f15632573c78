package server_test

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/internal/faultnet"
)

// probedServer is a backend that counts probes by the balancer that they are from.
type probedServer struct {
	id     string
	url    string
	server *http.Server

	mu   sync.Mutex
	from map[string]int
}

func startProbed(t *testing.T, id string) *probedServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &probedServer{id: id, url: "http://" + ln.Addr().String(), from: map[string]int{}}
	p.server = &http.Server{Handler: p}
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.server.Serve(ln) })
	t.Cleanup(func() {
		_ = p.server.Close()
		wg.Wait()
	})
	return p
}

func (p *probedServer) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from[r.Header.Get("X-Balancer")]++
}

// probers are those that probe the backend: whoever is among its next probes.
func (p *probedServer) probers(t *testing.T) string {
	t.Helper()
	p.mu.Lock()
	clear(p.from)
	p.mu.Unlock()
	names := ""
	await(t, p.id+" is probed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := 0
		for _, c := range p.from {
			n += c
		}
		names = strings.Join(slices.Sorted(maps.Keys(p.from)), " ")
		return n >= 15
	})
	return names
}

// sharingFleet is balancers that share their probes, each with a network of its own to one etcd.
type sharingFleet struct {
	etcd     *etcdStore
	net      map[string]*faultnet.Proxy
	lb       map[string]*balancer
	backends []*probedServer
}

func startSharing(t *testing.T, backends int, more string, ids ...string) *sharingFleet {
	t.Helper()
	f := &sharingFleet{etcd: startEtcd(t), net: map[string]*faultnet.Proxy{}, lb: map[string]*balancer{}}
	for i := range backends {
		b := startProbed(t, fmt.Sprint("b", i))
		f.backends = append(f.backends, b)
		f.etcd.put("/lb/services/web/"+b.id, b.url)
	}
	for _, id := range ids {
		f.start(t, id, more)
	}
	return f
}

func (f *sharingFleet) start(t *testing.T, id, more string) {
	t.Helper()
	u, err := url.Parse(f.etcd.server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	if f.net[id], err = faultnet.New(u.Host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.net[id].Close)
	text := "health_check: {interval: 20ms, timeout: 2s, headers: {X-Balancer: " + id + "}, share: etcd" + more + "}\n"
	f.lb[id] = startBalancer(t, text, replica(id, "etcd://"+f.net[id].Addr()+"/lb"))
}

// settled waits until each backend is probed by so many of the balancers that are named, and returns by which.
func (f *sharingFleet) settled(t *testing.T, by int, ids ...string) map[string]string {
	t.Helper()
	who := map[string]string{}
	await(t, fmt.Sprintf("each backend is probed by %d of %v", by, ids), func() bool {
		for _, b := range f.backends {
			who[b.id] = b.probers(t)
			names := strings.Fields(who[b.id])
			if len(names) != by || slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(ids, n) }) {
				return false
			}
		}
		return true
	})
	return who
}

func (f *sharingFleet) health(id, backend string) backend.Health {
	return f.lb[id].server.Table().Service("web").Backend(backend).State.Health()
}

func TestAFleetProbesEachBackendByAsManyAsAsked(t *testing.T) {
	f := startSharing(t, 6, "", "one", "two", "three")
	who := f.settled(t, 2, "one", "two", "three")
	for _, b := range f.backends {
		if again := b.probers(t); again != who[b.id] {
			t.Errorf("%s is probed by %s and then by %s", b.id, who[b.id], again)
		}
	}
	dead := f.backends[0]
	_ = dead.server.Close()
	for id, lb := range f.lb {
		await(t, "the dead backend is down at "+id, func() bool { return f.health(id, "b0") == backend.Down })
		for _, b := range f.backends[1:] {
			if f.health(id, b.id) != backend.Up {
				t.Errorf("%s is not up at %s", b.id, id)
			}
		}
		// Who is not among its probers tells whose word that is.
		if !slices.Contains(strings.Fields(who["b0"]), id) {
			text := lb.steer("GET", "/api/v1/services/web", "", 200)
			if want := `"by":["` + strings.ReplaceAll(who["b0"], " ", `","`) + `"]`; !strings.Contains(text, want) || !strings.Contains(text, "connection refused") {
				t.Errorf("the API of %s tells %s, want %s", id, text, want)
			}
			_, text = lb.get(lb.admin() + "/metrics")
			if strings.Contains(text, "lb_probe_shared_backends 0") || strings.Contains(text, "lb_probe_shared_verdicts_total 0") || strings.Contains(text, "lb_probes_total 0") {
				t.Error("the metrics do not tell of shared probes")
			}
		}
	}
	// What is written is in proportion to changes: the probes of a second leave no trace.
	before := f.etcd.value("/lb/health/one") + f.etcd.value("/lb/health/two") + f.etcd.value("/lb/health/three")
	r, err := f.etcd.client.Get(t.Context(), "/lb/health/one")
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%v %v", r, err)
	}
	rev := r.Kvs[0].ModRevision
	for range 3 {
		f.backends[1].probers(t)
	}
	after := f.etcd.value("/lb/health/one") + f.etcd.value("/lb/health/two") + f.etcd.value("/lb/health/three")
	if r, err = f.etcd.client.Get(t.Context(), "/lb/health/one"); err != nil || r.Kvs[0].ModRevision != rev || before != after {
		t.Errorf("something was written while nothing changed (%v)\n%s\n%s", err, before, after)
	}
	// All end, and leave nothing.
	for _, lb := range f.lb {
		if err := lb.stop(); err != nil {
			t.Error(err)
		}
	}
	if r, err := f.etcd.client.Leases(t.Context()); err != nil || len(r.Leases) > 0 {
		t.Errorf("leases are left: %v %v", r, err)
	}
}

func TestEtcdAwayHasEveryBalancerProbeAllAndKeepsVerdicts(t *testing.T) {
	f := startSharing(t, 4, ", share_by: 1", "one", "two", "three")
	f.settled(t, 1, "one", "two", "three")
	_ = f.backends[0].server.Close()
	for id := range f.lb {
		await(t, "the dead backend is down at "+id, func() bool { return f.health(id, "b0") == backend.Down })
	}
	f.backends = f.backends[1:]
	f.net["one"].Freeze()
	f.net["two"].Cut()
	f.net["three"].Cut()
	f.settled(t, 3, "one", "two", "three")
	for id := range f.lb {
		if f.health(id, "b0") != backend.Down {
			t.Errorf("without etcd the dead backend is up again at %s", id)
		}
	}
	for _, n := range f.net {
		if err := n.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(t, 1, "one", "two", "three")
}

func TestTheShareOfABalancerThatDiesIsTakenOver(t *testing.T) {
	f := startSharing(t, 6, "", "one", "two", "three")
	before := f.settled(t, 2, "one", "two", "three")
	// It cannot take its entry back any more: its lease has to end.
	f.net["two"].Cut()
	if err := f.lb["two"].stop(); err != nil {
		t.Error(err)
	}
	f.settled(t, 2, "one", "three")
	if err := f.net["two"].Heal(); err != nil {
		t.Fatal(err)
	}
	f.start(t, "two", "")
	after := f.settled(t, 2, "one", "two", "three")
	if !maps.Equal(before, after) {
		t.Errorf("with the same members they probe %v, and before %v", after, before)
	}
}

func TestSharingIsTurnedOnAndOffByAReload(t *testing.T) {
	f := startSharing(t, 3, ", share_by: 1", "one", "two")
	f.settled(t, 1, "one", "two")
	for id, lb := range f.lb {
		lb.write("health_check: {interval: 20ms, timeout: 2s, headers: {X-Balancer: " + id + "}}\n")
	}
	f.settled(t, 2, "one", "two")
	await(t, "nobody tells anything any more", func() bool {
		return f.etcd.value("/lb/health/one") == "{}" && f.etcd.value("/lb/health/two") == "{}"
	})
	for id, lb := range f.lb {
		lb.write("health_check: {interval: 20ms, timeout: 2s, headers: {X-Balancer: " + id + "}, share: etcd, share_by: 1}\n")
	}
	f.settled(t, 1, "one", "two")
}

func TestSharingWithoutAnEtcdIsToldAndProbesAll(t *testing.T) {
	b := startProbed(t, "b")
	lb := startBalancer(t, "health_check: {interval: 20ms, headers: {X-Balancer: one}, share: etcd}\nbackends: [{id: b, url: '"+b.url+"'}]\n", nil)
	lb.awaitLog("probes are not shared")
	if who := b.probers(t); who != "one" {
		t.Errorf("it is probed by %q", who)
	}
}

func TestAnEntryThatMakesNoSenseIsPassedOver(t *testing.T) {
	f := startSharing(t, 2, ", share_by: 1", "one", "two")
	f.etcd.put("/lb/health/bad", "{")
	f.settled(t, 1, "one", "two")
	f.lb["one"].awaitLog("health/bad")
}
