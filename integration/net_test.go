//go:build linux

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/vietddude/load-balancer/integration/netlab"
	"github.com/vietddude/load-balancer/integration/programs"
)

// Ports on the hosts of a network.
const (
	netEtcdPort    = 2379
	netPeerPort    = 2380
	netConsulPort  = 8500
	netBackendPort = 8080
	netClientPort  = 80
	netAdminPort   = 9901 // on the balancer's loopback
)

// network is a private network with stores, balancers and backends on hosts of their own.
type network struct {
	t         *testing.T
	lab       *netlab.Lab
	etcd      []*member
	consul    *member
	balancers []*netBalancer
	backends  map[string]*netBackend
}

// member is a server process and its host.
type member struct {
	host *netlab.Host
	proc *netlab.Process
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	return &network{t: t, lab: netlab.New(t), backends: map[string]*netBackend{}}
}

// program is the path of a binary; what cannot be had on this machine skips the test.
func program(t *testing.T, b programs.Builder) string {
	t.Helper()
	path, err := b(t.Context())
	if errors.Is(err, programs.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	balancerOnce = sync.OnceValues(func() (string, error) { return programs.Ours("./cmd/loadbalancer")(context.Background()) })
	clockedOnce  = sync.OnceValues(func() (string, error) { return programs.Clocked("./cmd/loadbalancer", true)(context.Background()) })
	etcdOnce     = sync.OnceValues(func() (string, error) { return programs.Pinned("etcd", false)(context.Background()) })
)

// once makes a builder of something built once.
func once(f func() (string, error)) programs.Builder {
	return func(context.Context) (string, error) { return f() }
}

// startEtcd runs a cluster of n members.
func (n *network) startEtcd(members int) {
	n.t.Helper()
	binary := program(n.t, once(etcdOnce))
	var cluster []string
	for i := range members {
		h := n.lab.Host("etcd-" + strconv.Itoa(i+1))
		n.etcd = append(n.etcd, &member{host: h})
		cluster = append(cluster, h.Name+"=http://"+h.Addr(netPeerPort))
	}
	for _, m := range n.etcd {
		client, peer := "http://"+m.host.Addr(netEtcdPort), "http://"+m.host.Addr(netPeerPort)
		m.proc = m.host.Start(binary, "--name="+m.host.Name, "--data-dir="+n.t.TempDir(), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls="+client, "--advertise-client-urls="+client,
			"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster="+strings.Join(cluster, ","),
			"--heartbeat-interval=100", "--election-timeout=500")
	}
	eventually(n.t, time.Minute, "etcd answers", func() bool {
		ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Second)
		defer cancel()
		_, err := n.etcdClient().Get(ctx, "/")
		return err == nil
	})
}

// etcdClient is a client on the lab's client host that uses the given members, or all.
func (n *network) etcdClient(of ...*member) *clientv3.Client {
	n.t.Helper()
	if len(of) == 0 {
		of = n.etcd
	}
	var endpoints []string
	for _, m := range of {
		endpoints = append(endpoints, m.host.Addr(netEtcdPort))
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 2 * time.Second,
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return n.lab.Client().Dial(ctx, "tcp4", addr)
		})},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.lab.Client().OnClose(func() { _ = c.Close() })
	return c
}

// etcdURL is what --discovery takes.
func (n *network) etcdURL() string {
	var hosts []string
	for _, m := range n.etcd {
		hosts = append(hosts, m.host.Addr(netEtcdPort))
	}
	return "etcd://" + strings.Join(hosts, ",") + "/lb"
}

// startConsul runs an agent that keeps its state, as its own server.
func (n *network) startConsul() {
	n.t.Helper()
	binary := program(n.t, programs.Pinned("consul", true))
	h := n.lab.Host("consul")
	n.consul = &member{host: h, proc: h.Start(binary, "agent", "-server", "-bootstrap-expect=1", "-bind="+h.IP, "-client="+h.IP,
		"-data-dir="+n.t.TempDir(), "-node=consul", "-log-level=warn", "-disable-host-node-id",
		"-hcl", "performance { raft_multiplier = 1 } connect { enabled = false } disable_update_check = true ports { grpc = -1 grpc_tls = -1 dns = -1 }")}
	client := n.consulClient()
	eventually(n.t, time.Minute, "Consul has a leader", func() bool {
		nodes, _, err := client.Catalog().Nodes(nil)
		return err == nil && len(nodes) > 0
	})
}

func (n *network) consulClient() *api.Client {
	n.t.Helper()
	c, err := api.NewClient(&api.Config{Address: n.consul.host.Addr(netConsulPort), HttpClient: &http.Client{Transport: n.transport(n.lab.Client()), Timeout: 5 * time.Second}})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *network) consulURL() string { return "consul://" + n.consul.host.Addr(netConsulPort) }

// transport makes requests from a host.
func (n *network) transport(from *netlab.Host) *http.Transport {
	tr := &http.Transport{DialContext: from.Dial, MaxIdleConnsPerHost: 64}
	from.OnClose(tr.CloseIdleConnections)
	return tr
}

// netBackend is a server inside the test that answers from a host of its own.
type netBackend struct {
	name string
	host *netlab.Host
	srv  *http.Server
}

// addBackend runs a backend.
func (n *network) addBackend(name string) *netBackend {
	n.t.Helper()
	b := &netBackend{name: name, host: n.lab.Host(name)}
	b.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			upgraded(w)
			return
		}
		w.Header().Set("X-Backend", name)
		_, _ = io.WriteString(w, name)
	})}
	ln := b.host.Listen(netBackendPort)
	go func() { _ = b.srv.Serve(ln) }()
	b.host.OnClose(func() { _ = b.srv.Close() })
	n.backends[name] = b
	return b
}

func (b *netBackend) url() string { return "http://" + b.host.Addr(netBackendPort) }

// netBalancer is a balancer on a host of its own.
type netBalancer struct {
	member
	n     *network
	url   string // for clients
	admin *http.Client
}

// quickConfig has waits that fit a test: a silent backend is left after two seconds, and found out by probes in one.
const quickConfig = `
health_check: {type: tcp, interval: 500ms, timeout: 1s, failure_threshold: 2, success_threshold: 1}
timeouts: {connect: 1s, response_head: 2s}
retry: {max_retries: 3}
`

// startBalancer runs a balancer with a configuration and flags.
func (n *network) startBalancer(config string, flags ...string) *netBalancer {
	n.t.Helper()
	return n.runBalancer(netlab.Program{Path: program(n.t, once(balancerOnce))}, config, flags...)
}

// runBalancer is startBalancer for a program that needs more than arguments.
func (n *network) runBalancer(p netlab.Program, config string, flags ...string) *netBalancer {
	n.t.Helper()
	h := n.lab.Host("balancer-" + strconv.Itoa(len(n.balancers)+1))
	file := filepath.Join(n.t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		n.t.Fatal(err)
	}
	b := &netBalancer{n: n, url: "http://" + h.Addr(netClientPort) + "/", admin: &http.Client{Transport: n.transport(h), Timeout: 10 * time.Second}}
	b.host = h
	p.Args = append([]string{
		"--config", file, "--listen", h.Addr(netClientPort), "--admin", "127.0.0.1:" + strconv.Itoa(netAdminPort), "--log-format", "json",
	}, flags...)
	b.proc = h.Run(p)
	n.balancers = append(n.balancers, b)
	return b
}

// table is what /api/v1/table says, as far as it is needed here.
type table struct {
	Fingerprint string `json:"fingerprint"`
	Ready       bool   `json:"ready"`
	Services    []struct {
		Name     string `json:"name"`
		Ready    int    `json:"ready"`
		Backends []struct {
			ID  string `json:"id"`
			URL string `json:"url"`
		} `json:"backends"`
	} `json:"services"`
}

// announced lists service/backend=url of all that is in the table, sorted.
func (tb *table) announced() []string {
	var all []string
	for _, s := range tb.Services {
		for _, b := range s.Backends {
			all = append(all, s.Name+"/"+b.ID+"="+b.URL)
		}
	}
	slices.Sort(all)
	return all
}

// ask reads from the admin address, on the balancer's own loopback.
func (b *netBalancer) ask(path string) ([]byte, error) {
	resp, err := b.admin.Get("http://127.0.0.1:" + strconv.Itoa(netAdminPort) + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (b *netBalancer) table() (*table, error) {
	text, err := b.ask("/api/v1/table")
	if err != nil {
		return nil, err
	}
	var tb table
	return &tb, json.Unmarshal(text, &tb)
}

// holds waits until the balancer's table announces exactly this, and returns how long that took.
func (b *netBalancer) holds(within time.Duration, want []string) time.Duration {
	b.n.t.Helper()
	slices.Sort(want)
	var last []string
	start := time.Now()
	for {
		if tb, err := b.table(); err == nil {
			if last = tb.announced(); slices.Equal(last, want) {
				return time.Since(start)
			}
		}
		if time.Since(start) > within {
			b.n.t.Errorf("%s: after %v the table has\n%v, want\n%v", b.host.Name, within, last, want)
			return time.Since(start)
		}
		time.Sleep(10 * time.Millisecond) // the step of polling
	}
}

// gauge is a series of the metrics, named with its labels if it has any.
func (b *netBalancer) gauge(name string) float64 {
	b.n.t.Helper()
	text, err := b.ask("/metrics")
	if err != nil {
		b.n.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				b.n.t.Fatal(err)
			}
			return v
		}
	}
	b.n.t.Fatalf("there is no metric %s", name)
	return 0
}

// footprint is what leaks would show in.
type footprint struct{ goroutines, files float64 }

func (b *netBalancer) footprint() footprint {
	b.n.t.Helper()
	return footprint{b.gauge("go_goroutines"), b.gauge("process_open_fds")}
}

// expectNoLeak waits until the balancer holds about as much as before.
func (b *netBalancer) expectNoLeak(before footprint) {
	b.n.t.Helper()
	const slack = 12 // connections of probes and pools come and go
	var now footprint
	start := time.Now()
	for time.Since(start) < 30*time.Second {
		if now = b.footprint(); now.goroutines <= before.goroutines+slack && now.files <= before.files+slack {
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
	b.n.t.Errorf("%s: there were %+v, and after the fault there are %+v", b.host.Name, before, now)
}

// put announces backends in etcd.
func (n *network) put(c *clientv3.Client, service string, names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.write("put "+name, func(ctx context.Context) error {
			_, err := c.Put(ctx, "/lb/services/"+service+"/"+name, n.backends[name].url())
			return err
		})
	}
}

func (n *network) withdraw(c *clientv3.Client, service, name string) {
	n.t.Helper()
	n.write("delete "+name, func(ctx context.Context) error {
		_, err := c.Delete(ctx, "/lb/services/"+service+"/"+name)
		return err
	})
}

// write tries until the store takes it: members that elect a leader refuse for a while. Twice does no harm.
func (n *network) write(what string, f func(context.Context) error) {
	n.t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < 30*time.Second; {
		ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
		err = f(ctx)
		if cancel(); err == nil {
			return
		}
	}
	n.t.Fatalf("%s: %v", what, err)
}

// register announces a backend in Consul.
func (n *network) register(c *api.Client, service, name string) error {
	return c.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: name, Name: service, Address: n.backends[name].host.IP, Port: netBackendPort,
	})
}

// truth is what a table must hold for backends of a service.
func (n *network) truth(service string, names ...string) []string {
	var want []string
	for _, name := range names {
		want = append(want, service+"/"+name+"="+n.backends[name].url())
	}
	return want
}

// row prints a line of the table in docs/reliability.md.
func row(t *testing.T, fault string, l *load, truth time.Duration) {
	t.Helper()
	t.Logf("| %s | %d | %d | %v | %v |", fault, l.sent, l.failed, l.slowest.Round(time.Millisecond), truth.Round(10*time.Millisecond))
}

// lasting is how long a fault lasts: LBTEST_OUTAGE, or 5 s.
func lasting() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("LBTEST_OUTAGE")); err == nil && d > 0 {
		return d
	}
	return 5 * time.Second
}
