package containers

import (
	"io"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go/wait"
)

// Ports of the programs within the lab.
const (
	EtcdPort    = "2379"
	ConsulPort  = "8500"
	BackendPort = "8080"
	ClientPort  = "8080" // the balancer's, for clients
	AdminPort   = "9901" // the balancer's, for its operator
)

// AdminToken is what the balancer's admin address asks for.
const AdminToken = "integration"

// Etcd runs an etcd server of one member with the host name etcd.
func (l *Lab) Etcd() *Container {
	l.t.Helper()
	return l.start(spec{
		image: imageEtcd, name: "etcd", ports: []string{EtcdPort},
		cmd: []string{
			"--name=etcd", "--data-dir=/data",
			"--listen-client-urls=http://0.0.0.0:" + EtcdPort, "--advertise-client-urls=http://etcd:" + EtcdPort,
		},
		ready: wait.ForHTTP("/health").WithPort(EtcdPort + "/tcp").WithPollInterval(50 * time.Millisecond),
	})
}

// Consul runs a Consul agent in development mode (it forgets everything when it ends) with the host name consul.
func (l *Lab) Consul() *Container {
	l.t.Helper()
	return l.start(spec{
		image: imageConsul, name: "consul", ports: []string{ConsulPort},
		cmd: []string{"agent", "-dev", "-client=0.0.0.0", "-log-level=warn", "-disable-host-node-id"},
		ready: wait.ForHTTP("/v1/status/leader").WithPort(ConsulPort + "/tcp").WithPollInterval(50 * time.Millisecond).
			WithResponseMatcher(hasLeader),
	})
}

// Backend runs a demo backend under a name that is its host name and that it answers with.
func (l *Lab) Backend(name string) *Container {
	l.t.Helper()
	return l.start(spec{
		image: imageBackend, name: name, ports: []string{BackendPort},
		cmd:   []string{"-addr", ":" + BackendPort, "-name", name},
		ready: wait.ForHTTP("/health").WithPort(BackendPort + "/tcp").WithPollInterval(50 * time.Millisecond),
	})
}

// Balancer runs the balancer with the host name balancer and the given flags besides its addresses.
func (l *Lab) Balancer(flags ...string) *Container {
	l.t.Helper()
	return l.start(spec{
		image: imageBalancer, name: "balancer", ports: []string{ClientPort, AdminPort},
		cmd: append([]string{"--listen", ":" + ClientPort, "--admin", "0.0.0.0:" + AdminPort}, flags...),
		env: map[string]string{"LB_ADMIN_TOKEN": AdminToken},
		ready: wait.ForHTTP("/healthz").WithPort(AdminPort + "/tcp").WithPollInterval(50 * time.Millisecond).
			WithHeaders(map[string]string{"Authorization": "Bearer " + AdminToken}),
	})
}

// hasLeader reports whether a Consul agent names a leader, without which it accepts nothing.
func hasLeader(body io.Reader) bool {
	text, err := io.ReadAll(body)
	return err == nil && strings.Contains(string(text), ":")
}
