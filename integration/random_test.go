//go:build linux

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/integration/netlab"
)

// chaosConfig has nothing held back: whatever the stores say in the end is the truth at once. Only what is there is
// probed.
const chaosConfig = `
services: {steady: {health_check: {type: tcp, interval: 500ms, timeout: 1s}}}
timeouts: {connect: 1s, response_head: 2s}
guard: {mode: "off"}
`

// TestTablesEqualTheStoresAfterAnyFaults lets operations and faults strike at random for a while, LBTEST_CHAOS or a
// minute, from the seed LBTEST_SEED or a new one, which it prints. Three balancers watch three members of etcd and a
// Consul; clients of two of them, which are not killed, must not see a failure, and when all is quiet again all three
// must have the table that the stores announce.
func TestTablesEqualTheStoresAfterAnyFaults(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("LBTEST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("LBTEST_SEED: %v", err)
		}
		seed = n
	}
	length := time.Minute
	if d, err := time.ParseDuration(os.Getenv("LBTEST_CHAOS")); err == nil && d > 0 {
		length = d
	}
	t.Logf("LBTEST_SEED=%d LBTEST_CHAOS=%v", seed, length)

	n := newNetwork(t)
	n.startEtcd(3)
	n.startConsul()
	for range 3 {
		n.startBalancer(chaosConfig, "--discovery", n.etcdURL(), "--discovery", n.consulURL(), "--service", "steady")
	}
	c := &chaos{n: n, t: t, random: rand.New(rand.NewPCG(seed, 0)), etcd: n.etcdClient(), consul: n.consulClient()}
	n.addBackend("steady-1")
	n.addBackend("steady-2")
	n.put(c.etcd, "steady", "steady-1", "steady-2")
	for _, b := range n.balancers {
		b.holds(time.Minute, n.truth("steady", "steady-1", "steady-2"))
	}
	before := n.balancers[0].footprint()
	loads := []*load{
		startLoadBy(t, n.transport(n.lab.Client()), n.balancers[0].url, 50),
		startLoadBy(t, n.transport(n.lab.Client()), n.balancers[1].url, 50),
	}

	c.run(length)

	c.quiet()
	quiet := time.Now()
	want := c.truth()
	var slowest time.Duration
	for _, b := range n.balancers {
		b.holds(healing, want)
		slowest = max(slowest, time.Since(quiet))
	}
	c.expectOneFingerprint()
	for i, l := range loads {
		l.end()
		row(t, fmt.Sprintf("random, seed %d, balancer %d, %d operations, %d faults", seed, i+1, c.operations, c.faults), l, slowest)
		l.stop(t)
	}
	n.balancers[0].expectNoLeak(before)
}

// chaos strikes at random. Its goroutine is the test's; wounds heal in goroutines of their own.
type chaos struct {
	n      *network
	t      *testing.T
	random *rand.Rand
	etcd   *clientv3.Client
	consul *api.Client

	operations, faults int
	healing            sync.WaitGroup
	mu                 sync.Mutex
	wounded            map[string]bool // what has a fault now
}

// run strikes until the time is over, and returns when all has healed.
func (c *chaos) run(length time.Duration) {
	c.wounded = map[string]bool{}
	for end := time.Now().Add(length); time.Now().Before(end); {
		if c.random.IntN(3) == 0 {
			c.fault()
		} else {
			c.operation()
		}
		time.Sleep(time.Duration(c.random.IntN(150)) * time.Millisecond) // the schedule
	}
	c.healing.Wait()
}

// operation changes what a store announces. It may fail, or be carried out though it seemed to fail: the stores are
// asked in the end.
func (c *chaos) operation() {
	c.operations++
	ctx, cancel := context.WithTimeout(c.t.Context(), 300*time.Millisecond)
	defer cancel()
	service, i := fmt.Sprintf("service-%d", c.random.IntN(4)), c.random.IntN(8)
	switch c.random.IntN(9) {
	case 0, 1, 2:
		// Another address now and then: a backend that moved.
		_, _ = c.etcd.Put(ctx, c.key(service, i), fmt.Sprintf("http://10.99.0.250:%d", 1000+100*c.random.IntN(3)+i))
	case 3, 4:
		_, _ = c.etcd.Delete(ctx, c.key(service, i))
	case 5, 6:
		reg := &api.AgentServiceRegistration{ID: service + "-c" + strconv.Itoa(i), Name: service, Address: "10.99.0.251", Port: 1000 + 100*int(service[8]-'0') + i}
		_ = c.consul.Agent().ServiceRegisterOpts(reg, api.ServiceRegisterOpts{}.WithContext(ctx))
	case 7:
		_ = c.consul.Agent().ServiceDeregisterOpts(service+"-c"+strconv.Itoa(i), (&api.QueryOptions{}).WithContext(ctx))
	case 8:
		if resp, err := c.etcd.Get(ctx, "/"); err == nil {
			_, _ = c.etcd.Compact(ctx, resp.Header.Revision)
		}
	}
}

func (c *chaos) key(service string, i int) string {
	return fmt.Sprintf("/lb/services/%s/%s-e%d", service, service, i)
}

// fault strikes one thing that is whole, for one to five seconds.
func (c *chaos) fault() {
	n := c.n
	b := n.balancers[c.random.IntN(len(n.balancers))]
	store := append(append([]*member{}, n.etcd...), n.consul)[c.random.IntN(len(n.etcd)+1)]
	link := b.host.Name + "-" + store.host.Name
	switch c.random.IntN(8) {
	case 0:
		c.strike(link, func() { n.lab.Between(b.host, store.host, netlab.Cut) }, func() { n.lab.Between(b.host, store.host, netlab.Fault{}) })
	case 1:
		c.strike(link, func() { n.lab.OneWay(b.host, store.host, netlab.Cut) }, func() { n.lab.OneWay(b.host, store.host, netlab.Fault{}) })
	case 2:
		c.strike(link, func() { n.lab.OneWay(store.host, b.host, netlab.Cut) }, func() { n.lab.OneWay(store.host, b.host, netlab.Fault{}) })
	case 3:
		bad := netlab.Fault{Loss: 0.3, Delay: time.Duration(c.random.IntN(200)) * time.Millisecond}
		c.strike(link, func() { n.lab.Between(b.host, store.host, bad) }, func() { n.lab.Between(b.host, store.host, netlab.Fault{}) })
	case 4:
		c.strike(store.host.Name, store.proc.Freeze, store.proc.Thaw)
	case 5:
		c.strike(store.host.Name, store.proc.Kill, store.proc.Restart)
	case 6:
		// A member loses its peers, and its clients go on talking to it.
		peers := n.etcd
		c.strike("peers", func() { c.between(peers[0], peers[1:], netlab.Cut) }, func() { c.between(peers[0], peers[1:], netlab.Fault{}) })
	case 7:
		last := n.balancers[2] // nobody's clients are there
		c.strike(last.host.Name, last.proc.Kill, last.proc.Restart)
	}
}

func (c *chaos) between(m *member, others []*member, f netlab.Fault) {
	for _, o := range others {
		c.n.lab.Between(m.host, o.host, f)
	}
}

// strike begins a fault of something that has none, and has it healed after a while.
func (c *chaos) strike(what string, begin, end func()) {
	lasts := time.Second + time.Duration(c.random.IntN(4000))*time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wounded[what] {
		return
	}
	c.wounded[what] = true
	c.faults++
	begin()
	c.healing.Go(func() {
		time.Sleep(lasts) // the fault itself
		end()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wounded[what] = false
	})
}

// quiet waits until the stores take writes again.
func (c *chaos) quiet() {
	c.t.Helper()
	c.n.write("a last put", func(ctx context.Context) error {
		_, err := c.etcd.Put(ctx, "/elsewhere", "quiet")
		return err
	})
	eventually(c.t, time.Minute, "Consul takes writes", func() bool {
		_, err := c.consul.KV().Put(&api.KVPair{Key: "quiet"}, nil)
		return err == nil
	})
	eventually(c.t, time.Minute, "all balancers answer", func() bool {
		for _, b := range c.n.balancers {
			if _, err := b.table(); err != nil {
				return false
			}
		}
		return true
	})
}

// truth is what the stores announce together.
func (c *chaos) truth() []string {
	c.t.Helper()
	var want []string
	resp, err := c.etcd.Get(c.t.Context(), "/lb/services/", clientv3.WithPrefix())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		want = append(want, strings.TrimPrefix(string(kv.Key), "/lb/services/")+"="+string(kv.Value))
	}
	services, err := c.consul.Agent().Services()
	if err != nil {
		c.t.Fatal(err)
	}
	for id, s := range services {
		want = append(want, fmt.Sprintf("%s/%s=http://%s:%d", s.Service, id, s.Address, s.Port))
	}
	return want
}

// expectOneFingerprint requires that all balancers say that they route alike.
func (c *chaos) expectOneFingerprint() {
	c.t.Helper()
	prints := map[string]string{}
	for _, b := range c.n.balancers {
		tb, err := b.table()
		if err != nil {
			c.t.Fatal(err)
		}
		prints[tb.Fingerprint] = b.host.Name
	}
	if len(prints) != 1 {
		c.t.Errorf("the balancers have equal tables and different fingerprints: %v", prints)
	}
}
