//go:build linux

package integration

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/integration/netlab"
	"github.com/vietddude/load-balancer/integration/programs"
)

// clockConfig has what reckons with time: besides probes a tunnel that may be silent for a while, sessions, an algorithm that
// forgets, and services that are remembered.
const clockConfig = `
health_check: {type: tcp, interval: 500ms, timeout: 1s, failure_threshold: 2, success_threshold: 1}
timeouts: {connect: 1s, response_head: 2s, tunnel_idle: 10s}
algorithm: ewma
sticky_session: {enabled: true, timeout: 2h}
outlier_detection: {enabled: true}
forget_after: 50m
`

func TestFaultsOfTheClockFailNoRequestAndAreMadeUpFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		shift time.Duration
	}{
		{"an hour forwards, later back", time.Hour},
		{"an hour back, later forwards", -time.Hour},
	} {
		t.Run("etcd "+c.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.startEtcd(1)
			n.tryClock("the balancer's clock jumps "+c.name+" (etcd)", n.etcdURL(), n.etcdAnnouncer(), c.shift)
		})
		t.Run("Consul "+c.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.startConsul()
			n.tryClock("the balancer's clock jumps "+c.name+" (Consul)", n.consulURL(), n.consulAnnouncer(), c.shift)
		})
	}
}

// tryClock has the wall clock of a balancer, and of a registration with a time to live, jump and jump back under load, and
// requires what [network.tryStoreFault] does. What reckons with time must not notice: a tunnel that is in use, a session,
// a service that has no backend any more, the registration.
func (n *network) tryClock(name, store string, a announcer, shift time.Duration) {
	n.t.Helper()
	clock, err := programs.NewClock(filepath.Join(n.t.TempDir(), "clock"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = clock.Close() })
	p := netlab.Program{Path: program(n.t, once(clockedOnce)), Env: []string{clock.Env()}}
	lb := n.runBalancer(p, clockConfig, "--discovery", store, "--service", "web")
	for _, backend := range []string{"one", "two", "three", "past", "echo", "kept"} {
		n.addBackend(backend)
	}
	p.Args = []string{"register", "--discovery", store, "--service", "kept", "--id", "kept", "--url", n.backends["kept"].url(), "--ttl", "3s"}
	n.backends["kept"].host.Run(p)
	for service, backend := range map[string]string{"web": "one", "past": "past", "echo": "echo"} {
		a.add(service, backend)
	}
	a.add("web", "two")
	beside := append(n.truth("echo", "echo"), n.truth("kept", "kept")...)
	lb.holds(time.Minute, append(append(n.truth("web", "one", "two"), n.truth("past", "past")...), beside...))
	a.remove("past", "past")
	lb.holds(time.Minute, append(n.truth("web", "one", "two"), beside...))
	session := n.openSession(lb, "two")
	tunnel := n.openTunnel(lb, "echo")
	before := lb.footprint()
	l := startLoadBy(n.t, n.transport(n.lab.Client()), lb.url, 50)

	struck := time.Now()
	n.set(clock, shift)
	if d := n.clockOf(lb, "past"); (d - shift).Abs() > time.Minute {
		n.t.Errorf("the balancer's clock differs by %v, want %v", d, shift)
	}
	a.add("web", "three")
	a.remove("web", "one")
	lb.holds(healing, append(n.truth("web", "two", "three"), beside...)) // nothing that it needs is away
	time.Sleep(lasting() - time.Since(struck))                           // the fault itself
	n.set(clock, 0)
	took := lb.holds(healing, append(n.truth("web", "two", "three"), beside...))
	a.add("web", "one")
	took = max(took, lb.holds(healing, append(n.truth("web", "one", "two", "three"), beside...)))
	if d := n.clockOf(lb, "past"); d.Abs() > time.Minute {
		n.t.Errorf("after the fault the balancer's clock differs by %v", d)
	}
	l.end()
	row(n.t, name, l, took)
	l.stop(n.t)
	n.expectSession(lb, session, "two")
	if err := tunnel(); err != nil {
		n.t.Errorf("a tunnel that was in use broke: %v", err)
	}
	lb.expectNoLeak(before)
}

func (n *network) set(clock *programs.Clock, shift time.Duration) {
	n.t.Helper()
	if err := clock.Set(int64(shift / time.Second)); err != nil {
		n.t.Fatal(err)
	}
}

// clockOf is how much a balancer's clock differs from ours, as the answer says that it gives itself for a service without
// a backend, which it must still know.
func (n *network) clockOf(lb *netBalancer, service string) time.Duration {
	n.t.Helper()
	resp, err := n.request(lb, service, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		n.t.Errorf("for a service that was known the answer is %s, want 503", resp.Status)
	}
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		n.t.Fatal(err)
	}
	return time.Until(at)
}

// request asks a balancer for a service by its name, over a connection that it leaves no trace of.
func (n *network) request(lb *netBalancer, service string, cookie *http.Cookie) (*http.Response, error) {
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, lb.url, nil)
	if err != nil {
		return nil, err
	}
	if req.Host = service; cookie != nil {
		req.AddCookie(cookie)
	}
	req.Close = true
	return (&http.Client{Transport: n.transport(n.lab.Client()), Timeout: requestTimeout}).Do(req)
}

// answeredBy asks for the service web, and returns who answers and the session that it begins, nil for none.
func (n *network) answeredBy(lb *netBalancer, session *http.Cookie) (string, *http.Cookie) {
	n.t.Helper()
	resp, err := n.request(lb, "web", session)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	for _, c := range resp.Cookies() {
		return resp.Header.Get("X-Backend"), c
	}
	return resp.Header.Get("X-Backend"), nil
}

// openSession begins a session with a backend of the service web.
func (n *network) openSession(lb *netBalancer, backend string) (session *http.Cookie) {
	n.t.Helper()
	eventually(n.t, time.Minute, "a session with "+backend, func() bool {
		var by string
		by, session = n.answeredBy(lb, nil)
		return by == backend && session != nil
	})
	return session
}

// expectSession requires that a session is still with its backend.
func (n *network) expectSession(lb *netBalancer, session *http.Cookie, backend string) {
	n.t.Helper()
	for range 20 {
		if by, _ := n.answeredBy(lb, session); by != backend {
			n.t.Errorf("the session is with %s now, want %s", by, backend)
			return
		}
	}
}

// openTunnel opens a tunnel to a service whose backend sends back what it gets, and sends something twice a second until
// the returned function is called, which tells what went wrong.
func (n *network) openTunnel(lb *netBalancer, service string) (end func() error) {
	n.t.Helper()
	c, err := n.lab.Client().Dial(n.t.Context(), "tcp4", lb.host.Addr(netClientPort))
	if err != nil {
		n.t.Fatal(err)
	}
	n.lab.Client().OnClose(func() { c.Close() })
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+service+"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		n.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		n.t.Fatalf("no tunnel: %v %v", resp, err)
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	failed := make(chan error, 1)
	go func() { failed <- echo(ctx, c, r) }()
	return func() error {
		cancel()
		defer c.Close()
		return <-failed
	}
}

// echo sends a byte twice a second and waits for its return, until the context ends.
func echo(ctx context.Context, c net.Conn, r io.Reader) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		_ = c.SetDeadline(time.Now().Add(requestTimeout))
		if _, err := c.Write([]byte{'x'}); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// upgraded answers a request for a tunnel, and sends back what comes through it.
func upgraded(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(c, rw)
}
