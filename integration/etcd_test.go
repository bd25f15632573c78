package integration

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/integration/containers"
)

func TestEtcdBackendsAreServedFromPutToTheEndOfTheirLease(t *testing.T) {
	w := newEtcdWorld(t)
	w.add("backend-1", "backend-2", "backend-3")
	w.expectSpread(300, "backend-1", "backend-2", "backend-3")

	w.lab.Backend("backend-4")
	lease, err := w.client().Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	w.put("backend-4", clientv3.WithLease(lease.ID))
	took := eventually(t, prompt, "a backend that was put is served", func() bool {
		return spread(t, w.url, 4)["backend-4"] > 0
	})
	t.Logf("served %v after the put", took)
	// etcd itself takes up to half a second more than the TTL to end a lease, and the lease was granted before.
	took = eventually(t, 2*time.Second+time.Second+prompt, "a backend whose lease ended is gone", func() bool {
		return spread(t, w.url, 8)["backend-4"] == 0
	})
	t.Logf("gone %v after the last put, with a lease of 2s", took)
}

func TestEtcdThatIsPausedOrKilledFailsNoRequest(t *testing.T) {
	w := newEtcdWorld(t)
	w.add("backend-1", "backend-2")
	load := startLoad(t, w.url, 100)

	w.etcd.Pause()
	time.Sleep(10 * time.Second) // the outage itself
	w.etcd.Unpause()
	w.add("backend-3")

	w.etcd.Kill()
	time.Sleep(5 * time.Second)
	w.etcd.Start()
	w.add("backend-4")

	load.stop(t)
	w.expectSpread(40, "backend-1", "backend-2", "backend-3", "backend-4")
}

func TestEtcdHistoryCompactedWhileTheWatchIsCutIsMadeUpFor(t *testing.T) {
	w := newEtcdWorld(t)
	w.add("backend-1", "backend-2")
	load := startLoad(t, w.url, 100)

	w.lab.Backend("backend-3")
	w.etcd.Isolate()
	w.etcd.Kill() // so that nothing is left of the old connections
	w.etcd.Start()
	client := w.client()
	w.put("backend-3")
	deleted, err := client.Delete(t.Context(), prefix+"backend-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if by := spread(t, w.url, 10); by["backend-3"] > 0 || by["backend-1"] == 0 {
		t.Errorf("while the watch is cut the answers are by %v, want those of the last table", by)
	}
	w.etcd.Rejoin()
	eventually(t, recovery, "the put and the deletion are made up for", func() bool {
		by := spread(t, w.url, 10)
		return by["backend-3"] > 0 && by["backend-1"] == 0
	})
	load.stop(t)
	w.expectSpread(20, "backend-2", "backend-3")
	// Whoever watched on from where the watch broke would have asked for history that is gone.
	if n := metric(t, w.balancer, `lb_discovery_resyncs_total{reason="reconnect",source="etcd"}`); n == "" || n == "0" {
		t.Errorf("the balancer counts %q resyncs after the cut, want some", n)
	}
}

func TestBackendKilledUnderLoadFailsNoGet(t *testing.T) {
	w := newEtcdWorld(t)
	w.add("backend-1", "backend-2")
	victim := w.lab.Backend("backend-3")
	w.put("backend-3")
	eventually(t, recovery, "the third backend is served", func() bool { return spread(t, w.url, 6)["backend-3"] > 0 })

	load := startLoad(t, w.url, 100)
	time.Sleep(2 * time.Second) // load before the fault
	victim.Kill()
	time.Sleep(10 * time.Second) // and after it
	load.stop(t)
}

// prefix is where backends of the service web lie.
const prefix = "/lb/services/web/"

// etcdWorld is an etcd and a balancer that watches it.
type etcdWorld struct {
	t         *testing.T
	lab       *containers.Lab
	etcd      *containers.Container
	balancer  *containers.Container
	url       string
	connected *clientv3.Client
	endpoint  string
}

func newEtcdWorld(t *testing.T) *etcdWorld {
	t.Helper()
	lab := containers.New(t)
	w := &etcdWorld{t: t, lab: lab, etcd: lab.Etcd()}
	w.balancer = lab.Balancer("--discovery", "etcd://etcd:"+containers.EtcdPort+"/lb", "--service", "web")
	w.url = "http://" + w.balancer.Addr(containers.ClientPort) + "/"
	return w
}

// client is a client of etcd where it listens now.
func (w *etcdWorld) client() *clientv3.Client {
	w.t.Helper()
	endpoint := w.etcd.Addr(containers.EtcdPort)
	if endpoint == w.endpoint {
		return w.connected
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	w.connected, w.endpoint = c, endpoint
	return c
}

// put announces a backend.
func (w *etcdWorld) put(name string, opts ...clientv3.OpOption) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	if _, err := w.client().Put(ctx, prefix+name, "http://"+name+":"+containers.BackendPort, opts...); err != nil {
		w.t.Fatalf("put %s: %v", name, err)
	}
}

// add runs backends, announces them and waits until all are served.
func (w *etcdWorld) add(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.lab.Backend(name)
		w.put(name)
	}
	expectServed(w.t, w.url, names...)
}

func (w *etcdWorld) expectSpread(n int, names ...string) {
	w.t.Helper()
	expectSpread(w.t, w.url, n, names...)
}
