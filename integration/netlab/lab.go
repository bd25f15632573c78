//go:build linux

package netlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// Lab is a network and the hosts on it. It belongs to one test; its methods may be called concurrently.
type Lab struct {
	t      testing.TB
	fabric *fabric
	work   sync.WaitGroup

	mu    sync.Mutex
	hosts []*Host
}

// New makes a network without hosts, which is gone when the test ends.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("tests on a private network are skipped: they make network namespaces, which only root may")
	}
	l := &Lab{t: t, fabric: newFabric()}
	// Whether the machine lets us is seen by the first host; the client is always there.
	ns, tap, err := newNamespace(address(1))
	if err != nil {
		t.Skipf("tests on a private network are skipped: %v", err)
	}
	t.Cleanup(l.close)
	l.add("client", ns, tap, address(1))
	return l
}

// address is that of the host of that number.
func address(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(n)}), 24)
}

// close ends what runs on the hosts, then the network.
func (l *Lab) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		h.close()
	}
	l.fabric.close()
	for _, h := range l.hosts {
		h.port.tap.Close()
		h.ns.file.Close()
	}
	l.work.Wait()
}

// Host adds a host.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	l.mu.Lock()
	n := len(l.hosts) + 1
	l.mu.Unlock()
	ns, tap, err := newNamespace(address(n))
	if err != nil {
		l.t.Fatalf("host %s: %v", name, err)
	}
	return l.add(name, ns, tap, address(n))
}

func (l *Lab) add(name string, ns namespace, tap *os.File, addr netip.Prefix) *Host {
	h := &Host{Name: name, IP: addr.Addr().String(), t: l.t, ns: ns, port: &port{name, tap}}
	l.fabric.add(h.port)
	l.work.Go(func() { l.fabric.carry(h.port) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, h)
	return h
}

// Client is the host on which the test's own clients are.
func (l *Lab) Client() *Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hosts[0]
}

// OneWay has a fault on the way from one host to another; the way back stays as it is.
func (l *Lab) OneWay(from, to *Host, f Fault) { l.fabric.set(from.port, to.port, f) }

// Between has a fault on both ways between hosts. The zero Fault heals.
func (l *Lab) Between(a, b *Host, f Fault) {
	l.OneWay(a, b, f)
	l.OneWay(b, a, f)
}

// Isolate has a fault between a host and all others. The zero Fault heals.
func (l *Lab) Isolate(h *Host, f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range l.hosts {
		if other != h {
			l.Between(h, other, f)
		}
	}
}

// Heal takes all faults away.
func (l *Lab) Heal() {
	l.fabric.mu.Lock()
	defer l.fabric.mu.Unlock()
	clear(l.fabric.faults)
}

// Host is a machine of its own as far as its network goes. Its methods may be called concurrently.
type Host struct {
	Name string
	// IP is its address on the lab's network.
	IP string

	t    testing.TB
	ns   namespace
	port *port

	mu        sync.Mutex
	processes []*Process
	closers   []func()
}

// Addr is a port of the host, as others reach it.
func (h *Host) Addr(port int) string { return net.JoinHostPort(h.IP, fmt.Sprint(port)) }

// Dial connects from the host. The address must be an IP address and a port.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.ns.in(func() error {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens on a port of the host until the test ends.
func (h *Host) Listen(port int) net.Listener {
	h.t.Helper()
	var ln net.Listener
	err := h.ns.in(func() (err error) {
		ln, err = net.Listen("tcp4", h.Addr(port))
		return err
	})
	if err != nil {
		h.t.Fatalf("host %s: %v", h.Name, err)
	}
	h.OnClose(func() { ln.Close() })
	return ln
}

// OnClose has f called when the lab ends, before its network does.
func (h *Host) OnClose(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closers = append(h.closers, f)
}

func (h *Host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.closers {
		f()
	}
	for _, p := range h.processes {
		p.end()
	}
}
