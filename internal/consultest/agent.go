package consultest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// startTimeout bounds a start, from the process to a leader that answers.
const startTimeout = 60 * time.Second

// Options say how an agent is started. The zero value is a development server without ACLs.
type Options struct {
	// ACL turns access control on with the default policy deny; [Agent.Token] may do everything then.
	ACL bool
	// Join makes the agent a client of that server, without a store of its own.
	Join *Agent
	// Datacenter is the agent's; empty means dc1, which others cannot join then.
	Datacenter string
	// Federate joins the agent's datacenter to that of another agent.
	Federate *Agent
	// Config is further configuration in HCL, laid over everything else.
	Config string
}

// Agent is a running consul agent, a server of its own. Its methods are for the test's goroutine alone.
type Agent struct {
	// HTTPAddr is the host and port of the HTTP API. It outlives [Agent.Restart].
	HTTPAddr string
	// Node is the name of the agent's node.
	Node string
	// Token is the management token when ACLs are on, else empty.
	Token string

	serf   string // the address where others join
	wan    string // the address where other datacenters join
	joins  bool   // it is a client of a server
	t      testing.TB
	binary string
	config string // the path of the configuration file
	log    string // the path of the log, appended to by every process
	proc   *process
}

// Start runs an agent and returns when it has elected itself and answers. It is killed at the test's end; a failed
// test's output then holds the end of its log.
func Start(t testing.TB, o Options) *Agent {
	t.Helper()
	binary := Binary(t)
	dir := t.TempDir()
	a := &Agent{
		t: t, binary: binary, Node: "node-a",
		config: filepath.Join(dir, "agent.hcl"), log: filepath.Join(dir, "agent.log"),
	}
	if o.Join != nil {
		a.Node, a.joins = "node-b", true
	}
	if o.ACL {
		a.Token = "11111111-2222-3333-4444-555555555555"
	}
	t.Cleanup(func() {
		a.Stop()
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", tail(a.log, 8<<10))
		}
	})
	// Another process may take a port between its choice and the agent's start.
	for try := 1; ; try++ {
		ports := freePorts(t, 4)
		a.HTTPAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
		a.serf = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[2]))
		a.wan = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[3]))
		if err := os.WriteFile(a.config, []byte(a.hcl(ports, o)), 0o600); err != nil {
			t.Fatal(err)
		}
		err := a.launch()
		if err == nil {
			return a
		}
		if try == 3 || !errors.Is(err, errExited) {
			t.Fatalf("starting consul: %v", err)
		}
	}
}

func (a *Agent) hcl(ports []int, o Options) string {
	wan := -1
	if o.Datacenter != "" {
		wan = ports[3]
	}
	text := fmt.Sprintf(`
node_name = %q
bind_addr = "127.0.0.1"
client_addr = "127.0.0.1"
advertise_addr = "127.0.0.1"
ports { http = %d  server = %d  serf_lan = %d  serf_wan = %d  dns = -1  grpc = -1  grpc_tls = -1  https = -1 }
connect { enabled = false }
performance { raft_multiplier = 1  leave_drain_time = "0s" }
disable_update_check = true
limits { http_max_conns_per_client = 1000 }
`, a.Node, ports[0], ports[1], ports[2], wan)
	if o.ACL {
		text += fmt.Sprintf("acl { enabled = true  default_policy = \"deny\"  tokens { initial_management = %q  agent = %q } }\n",
			a.Token, a.Token)
	}
	if o.Datacenter != "" {
		text += fmt.Sprintf("datacenter = %q  advertise_addr_wan = \"127.0.0.1\"\n", o.Datacenter)
	}
	if o.Federate != nil {
		text += fmt.Sprintf("retry_join_wan = [%q]  retry_interval_wan = \"100ms\"\n", o.Federate.wan)
	}
	if o.Join != nil {
		text += fmt.Sprintf("data_dir = %q  retry_join = [%q]  retry_interval = \"100ms\"\n", filepath.Dir(a.config), o.Join.serf)
	}
	return text + o.Config + "\n"
}

var errExited = errors.New("the agent exited")

// launch starts a process and waits until it answers.
func (a *Agent) launch() error {
	args := []string{"agent", "-config-file=" + a.config, "-log-level=warn"}
	if !a.joins {
		args = append(args, "-dev")
	}
	proc, err := startProcess(a.log, a.binary, args...)
	if err != nil {
		return err
	}
	a.proc = proc
	deadline := time.Now().Add(startTimeout)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-proc.exited:
			tick.Stop()
			return fmt.Errorf("%w: %s", errExited, tail(a.log, 2<<10))
		case <-tick.C:
		}
		if a.ready() {
			tick.Stop()
			return nil
		}
		if time.Now().After(deadline) {
			tick.Stop()
			proc.kill()
			return fmt.Errorf("no leader within %v: %s", startTimeout, tail(a.log, 2<<10))
		}
	}
}

// ready reports whether the agent leads and has registered itself, after which writes are taken.
func (a *Agent) ready() bool {
	c, done := a.client()
	defer done()
	services, _, err := c.Catalog().Services(nil)
	if err != nil || len(services) == 0 {
		return false
	}
	leader, err := c.Status().Leader()
	return err == nil && leader != ""
}

// Client is a client of the agent's API, with the management token when ACLs are on.
func (a *Agent) Client() *api.Client {
	a.t.Helper()
	c, done := a.client()
	a.t.Cleanup(done)
	return c
}

func (a *Agent) client() (*api.Client, func()) {
	tr := &http.Transport{}
	c, err := api.NewClient(&api.Config{
		Address: a.HTTPAddr, Scheme: "http", Token: a.Token,
		HttpClient: &http.Client{Transport: tr, Timeout: 30 * time.Second},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return c, tr.CloseIdleConnections
}

// URL is what --discovery takes to watch this agent.
func (a *Agent) URL() string {
	if a.Token != "" {
		return "consul://" + a.Token + "@" + a.HTTPAddr
	}
	return "consul://" + a.HTTPAddr
}

// Stop kills the agent at once, as a crash does. It may be called again.
func (a *Agent) Stop() {
	if a.proc != nil {
		a.proc.kill()
	}
}

// Restart kills the agent and starts another on the same ports. It knows nothing, and its indexes begin anew.
func (a *Agent) Restart() {
	a.t.Helper()
	a.Stop()
	deadline := time.Now().Add(startTimeout)
	for {
		err := a.launch()
		if err == nil {
			return
		}
		if !errors.Is(err, errExited) || time.Now().After(deadline) {
			a.t.Fatalf("restarting consul: %v", err)
		}
	}
}

// Freeze stops the agent's process where it is: connections stay open, nothing is answered.
func (a *Agent) Freeze() {
	a.t.Helper()
	if err := a.proc.freeze(); err != nil {
		a.t.Fatal(err)
	}
}

// Thaw lets a frozen agent go on.
func (a *Agent) Thaw() {
	a.t.Helper()
	if err := a.proc.thaw(); err != nil {
		a.t.Fatal(err)
	}
}

// freePorts are n ports of 127.0.0.1 that were free, for TCP and UDP, a moment ago.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for len(ports) < n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			continue
		}
		u.Close()
		ports = append(ports, port)
	}
	return ports
}

// tail is the end of a file, for a message.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(text) > n {
		text = text[len(text)-n:]
	}
	return strings.TrimSpace(string(text))
}
