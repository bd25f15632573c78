//go:build linux

package integration

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/integration/netlab"
)

// healing is how soon after a fault's end the table must be right.
const healing = 10 * time.Second

// storeFault is something that happens between a balancer and its store, or to the store.
type storeFault struct {
	name string
	// strike begins it, heal ends it.
	strike, heal func(lab *netlab.Lab, store *member, balancer *netlab.Host)
	// loses says that the store's link to others is hurt too or it is not there: changes are made after.
	loses bool
}

var storeFaults = []storeFault{
	{
		name:   "cut off, both ways",
		strike: func(l *netlab.Lab, s *member, b *netlab.Host) { l.Between(s.host, b, netlab.Cut) },
		heal:   func(l *netlab.Lab, s *member, b *netlab.Host) { l.Between(s.host, b, netlab.Fault{}) },
	},
	{
		name:   "hears nothing of the balancer",
		strike: func(l *netlab.Lab, s *member, b *netlab.Host) { l.OneWay(b, s.host, netlab.Cut) },
		heal:   func(l *netlab.Lab, s *member, b *netlab.Host) { l.OneWay(b, s.host, netlab.Fault{}) },
	},
	{
		name:   "is not heard by the balancer",
		strike: func(l *netlab.Lab, s *member, b *netlab.Host) { l.OneWay(s.host, b, netlab.Cut) },
		heal:   func(l *netlab.Lab, s *member, b *netlab.Host) { l.OneWay(s.host, b, netlab.Fault{}) },
	},
	{
		name: "30 % loss and 200 ms delay",
		strike: func(l *netlab.Lab, s *member, b *netlab.Host) {
			l.Between(s.host, b, netlab.Fault{Loss: 0.3, Delay: 200 * time.Millisecond})
		},
		heal: func(l *netlab.Lab, s *member, b *netlab.Host) { l.Between(s.host, b, netlab.Fault{}) },
	},
	{
		name:   "frozen (SIGSTOP)",
		strike: func(_ *netlab.Lab, s *member, _ *netlab.Host) { s.proc.Freeze() },
		heal:   func(_ *netlab.Lab, s *member, _ *netlab.Host) { s.proc.Thaw() },
		loses:  true,
	},
	{
		name:   "killed (SIGKILL), restarted",
		strike: func(_ *netlab.Lab, s *member, _ *netlab.Host) { s.proc.Kill() },
		heal:   func(_ *netlab.Lab, s *member, _ *netlab.Host) { s.proc.Restart() },
		loses:  true,
	},
}

// announcer changes what a store announces.
type announcer struct {
	add, remove func(service, name string)
}

func (n *network) etcdAnnouncer() announcer {
	connect := sync.OnceValue(func() *clientv3.Client { return n.etcdClient() })
	return announcer{
		add:    func(service, name string) { n.put(connect(), service, name) },
		remove: func(service, name string) { n.withdraw(connect(), service, name) },
	}
}

func (n *network) consulAnnouncer() announcer {
	c := n.consulClient()
	return announcer{
		add: func(service, name string) {
			n.t.Helper()
			eventually(n.t, time.Minute, "Consul takes a registration", func() bool { return n.register(c, service, name) == nil })
		},
		remove: func(_, name string) {
			n.t.Helper()
			eventually(n.t, time.Minute, "Consul takes a deregistration", func() bool {
				err := c.Agent().ServiceDeregister(name)
				return err == nil || isNotFound(err)
			})
		},
	}
}

func TestFaultsOfEtcdFailNoRequestAndAreMadeUpFor(t *testing.T) {
	for _, f := range storeFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.startEtcd(1)
			lb := n.startBalancer(quickConfig, "--discovery", n.etcdURL(), "--service", "web")
			n.tryStoreFault("etcd "+f.name, f, n.etcd[0], lb, n.etcdAnnouncer())
		})
	}
}

func TestFaultsOfConsulFailNoRequestAndAreMadeUpFor(t *testing.T) {
	for _, f := range storeFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.startConsul()
			lb := n.startBalancer(quickConfig, "--discovery", n.consulURL(), "--service", "web")
			n.tryStoreFault("Consul "+f.name, f, n.consul, lb, n.consulAnnouncer())
		})
	}
}

func isNotFound(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == 404
}

// tryStoreFault has a fault last for a while under load, changes what is announced, and requires that no request fails
// and that the table is right soon after.
func (n *network) tryStoreFault(name string, f storeFault, store *member, lb *netBalancer, a announcer) {
	n.t.Helper()
	for _, backend := range []string{"one", "two", "three"} {
		n.addBackend(backend)
	}
	a.add("web", "one")
	a.add("web", "two")
	lb.holds(time.Minute, n.truth("web", "one", "two"))
	before := lb.footprint()
	l := startLoadBy(n.t, n.transport(n.lab.Client()), lb.url, 50)

	f.strike(n.lab, store, lb.host)
	struck := time.Now()
	if !f.loses {
		a.add("web", "three")
		a.remove("web", "one")
	}
	time.Sleep(lasting() - time.Since(struck)) // the fault itself
	f.heal(n.lab, store, lb.host)
	if f.loses {
		a.add("web", "three")
		a.remove("web", "one")
	}
	took := lb.holds(healing, n.truth("web", "two", "three"))
	l.end()
	row(n.t, name, l, took)
	l.stop(n.t)
	lb.expectNoLeak(before)
}

func TestASilentBackendFailsNoRequestThatOthersCanAnswer(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.startEtcd(1)
	lb := n.startBalancer(quickConfig, "--discovery", n.etcdURL(), "--service", "web")
	c := n.etcdClient()
	for _, name := range []string{"one", "two", "three"} {
		n.addBackend(name)
		n.put(c, "web", name)
	}
	lb.holds(time.Minute, n.truth("web", "one", "two", "three"))
	before := lb.footprint()
	l := startLoadBy(t, n.transport(n.lab.Client()), lb.url, 50)
	time.Sleep(time.Second) // connections to all backends are pooled
	n.lab.Isolate(n.backends["two"].host, netlab.Cut)
	time.Sleep(lasting()) // the fault itself
	n.lab.Isolate(n.backends["two"].host, netlab.Fault{})
	took := eventually(t, healing, "the backend that came back is ready again", func() bool {
		tb, err := lb.table()
		return err == nil && len(tb.Services) == 1 && tb.Services[0].Ready == 3
	})
	l.end()
	row(t, "a backend's host is cut off", l, took)
	l.stop(t)
	lb.expectNoLeak(before)
}

func TestOneOfThreeEtcdMembersMayBeLost(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.startEtcd(3)
	lb := n.startBalancer(quickConfig, "--discovery", n.etcdURL(), "--service", "web")
	c := n.etcdClient()
	for _, name := range []string{"one", "two", "three"} {
		n.addBackend(name)
	}
	n.put(c, "web", "one", "two")
	lb.holds(time.Minute, n.truth("web", "one", "two"))
	before := lb.footprint()
	l := startLoadBy(t, n.transport(n.lab.Client()), lb.url, 50)
	var slowest time.Duration
	// Whichever member the balancer watches, it is among them.
	for i, m := range n.etcd {
		others := append(append([]*member{}, n.etcd[:i]...), n.etcd[i+1:]...)
		through := n.etcdClient(others...)
		n.lab.Isolate(m.host, netlab.Cut)
		n.put(through, "web", "three")
		// The balancer need not wait for the cut to end: the members that are left have a quorum.
		slowest = max(slowest, lb.holds(2*healing, n.truth("web", "one", "two", "three")))
		n.lab.Isolate(m.host, netlab.Fault{})
		n.withdraw(through, "web", "three")
		slowest = max(slowest, lb.holds(healing, n.truth("web", "one", "two")))
	}
	l.end()
	row(t, "each of three etcd members cut off in turn (truth while cut)", l, slowest)
	l.stop(t)
	lb.expectNoLeak(before)
}
