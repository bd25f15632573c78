package upstream

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/proxy/proxyproto"
	"github.com/vietddude/load-balancer/routing"
)

// caller asks for connections.
type caller struct {
	gone     chan struct{}
	deadline time.Time
	ends     Ends
}

func (c *caller) Gone() <-chan struct{} { return c.gone }
func (c *caller) Deadline() time.Time   { return c.deadline }
func (c *caller) Ends() Ends            { return c.ends }

func take(t testing.TB, p *Pools, s *backend.State, policy *routing.Policy, c *caller) *Conn {
	t.Helper()
	conn, err := p.Get(t.Context(), s, policy, c, false)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestIdleConnectionsAreBoundedByThePolicy(t *testing.T) {
	for name, c := range map[string]struct {
		policy routing.Connections
		kept   int64
	}{
		"two":             {routing.Connections{MaxIdle: 2}, 2},
		"none":            {routing.Connections{MaxIdle: -1}, 0},
		"the pools' rule": {routing.Connections{}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, open := counted(t, false)
			p, st, policy := pools(t, Options{MaxIdle: 3}), state(s.URL), &routing.Policy{Connections: c.policy}
			var all []*Conn
			for range 5 {
				all = append(all, take(t, p, st, policy, &caller{}))
			}
			if n := st.Conns.Open(); n != 5 {
				t.Errorf("%d are open, want 5", n)
			}
			for _, conn := range all {
				conn.Release(time.Now())
			}
			if n := st.Conns.Open(); n != c.kept {
				t.Errorf("%d are kept, want %d", n, c.kept)
			}
			waitFor(t, func() bool { return open.Load() == c.kept })
			p.CloseIdle()
			if n := st.Conns.Open(); n != 0 || st.Conns.Made() != 5 {
				t.Errorf("%d are open after all were closed, %d were made", n, st.Conns.Made())
			}
		})
	}
}

func TestIdleConnectionsEndBeforeTheBackendEndsThem(t *testing.T) {
	s, _, open := counted(t, false)
	p, st := pools(t, Options{IdleTimeout: time.Hour}), state(s.URL)
	policy := &routing.Policy{Connections: routing.Connections{IdleTimeout: time.Hour}}
	conn := take(t, p, st, policy, &caller{})
	conn.KeepsFor([]byte("timeout=1"))
	conn.Release(time.Now())
	waitFor(t, func() bool { return open.Load() == 0 }) // after half a second
}

func TestOpenConnectionsStayWithinTheBound(t *testing.T) {
	s, _, _ := counted(t, false)
	p, st := pools(t, Options{}), state(s.URL)
	policy := &routing.Policy{Connections: routing.Connections{MaxConns: 1}}
	take(t, p, st, policy, &caller{}).Release(time.Now())
	if err := ask(t, p, st, policy); err != nil { // the transport does not know of the idle one
		t.Fatal(err)
	}
	if n := st.Conns.Open(); n != 1 {
		t.Errorf("%d are open, want 1", n)
	}
	if err := ask(t, p, st, policy); err != nil {
		t.Fatal(err)
	}
	if n := st.Conns.Made(); n != 2 {
		t.Errorf("%d were made, want 2: the second request has the first's", n)
	}
	take(t, p, st, policy, &caller{}).Close()
	waitFor(t, func() bool { return st.Conns.Open() == 0 })
}

// silentTLS accepts connections and never says anything, so that a handshake lasts for ever.
func silentTLS(t testing.TB) string {
	return "https" + listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })[len("http"):]
}

func TestAConnectionIsNotWaitedForWhenTheCallerHasLeft(t *testing.T) {
	p, st := pools(t, Options{}), state(silentTLS(t))
	c := &caller{gone: make(chan struct{})}
	time.AfterFunc(10*time.Millisecond, func() { close(c.gone) })
	_, err := p.Get(t.Context(), st, &routing.Policy{}, c, false)
	if err == nil || err.Kind != Canceled {
		t.Fatalf("got %v", err)
	}
	if st.Conns.Open() != 0 || st.Conns.Unmade() != 0 {
		t.Errorf("%d are open, %d count as failed", st.Conns.Open(), st.Conns.Unmade())
	}
}

func TestAConnectionIsNotWaitedForBeyondTheCallersDeadline(t *testing.T) {
	p, st := pools(t, Options{}), state(silentTLS(t))
	_, err := p.Get(t.Context(), st, &routing.Policy{}, &caller{deadline: time.Now().Add(10 * time.Millisecond)}, false)
	if err == nil || err.Kind != ConnectTimeout || err.Sent {
		t.Fatalf("got %v", err)
	}
	if st.Conns.Open() != 0 || st.Conns.Unmade() != 1 {
		t.Errorf("%d are open, %d count as failed", st.Conns.Open(), st.Conns.Unmade())
	}
}

func TestConnectionsThatAreNotMadeCountAsSuch(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	ln.Close()
	for url, connect := range map[string]time.Duration{nobody: time.Minute, silentTLS(t): 10 * time.Millisecond} {
		p, st, policy := pools(t, Options{}), state(url), &routing.Policy{Timeouts: routing.Timeouts{Connect: connect}}
		if _, err := p.Get(t.Context(), st, policy, &caller{}, false); err == nil {
			t.Fatal("connected")
		}
		if err := ask(t, p, st, policy); err == nil {
			t.Fatal("answered")
		}
		waitFor(t, func() bool { return st.Conns.Unmade() == 2 })
		if st.Conns.Open() != 0 || st.Conns.Made() != 0 {
			t.Errorf("%s: %d are open, %d were made", url, st.Conns.Open(), st.Conns.Made())
		}
	}
}

// told is a backend that reads a PROXY header, under which TLS may follow, and tells it.
func told(t testing.TB, secure *tls.Config) (url string, headers chan proxyproto.Header) {
	headers = make(chan proxyproto.Header, 16)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hi") })}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(introducing{ln, secure, headers}) }()
	t.Cleanup(func() { s.Close(); <-done })
	return "http://" + ln.Addr().String(), headers
}

type introducing struct {
	net.Listener
	secure  *tls.Config
	headers chan proxyproto.Header
}

func (l introducing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h, err := proxyproto.Read(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	l.headers <- h
	if l.secure != nil {
		c = tls.Server(c, l.secure)
	}
	return c, nil
}

func TestBackendsAreToldWhomAConnectionBelongsTo(t *testing.T) {
	s, _, _ := counted(t, true) // for its certificate
	for name, secure := range map[string]*tls.Config{"clear": nil, "TLS": s.TLS} {
		for _, version := range []uint8{1, 2} {
			url, headers := told(t, secure)
			if secure != nil {
				url = "https" + url[len("http"):]
			}
			p, st := pools(t, Options{}), state(url)
			policy := &routing.Policy{ProxyProtocol: version, TLS: routing.BackendTLS{InsecureSkipVerify: true}}
			ends := Ends{netip.MustParseAddrPort("203.0.113.7:5000"), netip.MustParseAddrPort("192.0.2.1:80")}
			want := proxyproto.Header{Source: ends.Client, Destination: ends.Local}
			conn := take(t, p, st, policy, &caller{ends: ends})
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %v", name, err)
			}
			if got := <-headers; got != want {
				t.Errorf("%s, version %d: told %v", name, version, got)
			}
			conn.Close()
			r := request(t, WithEnds(t.Context(), ends))
			resp, err := p.RoundTrip(r, st, policy)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := <-headers; got != want {
				t.Errorf("%s, version %d, by the transport: told %v", name, version, got)
			}
		}
	}
}

func TestAConnectionThatBelongsToAClientServesNoOther(t *testing.T) {
	url, headers := told(t, nil)
	p, st, policy := pools(t, Options{}), state(url), &routing.Policy{ProxyProtocol: 2}
	local := netip.MustParseAddrPort("192.0.2.1:80")
	client := func(text string) *caller { return &caller{ends: Ends{netip.MustParseAddrPort(text), local}} }
	a, b := client("203.0.113.7:5000"), client("203.0.113.7:5001")
	ofA, ofB := take(t, p, st, policy, a), take(t, p, st, policy, b)
	ofA.Release(time.Now())
	ofB.Release(time.Now())
	if c := take(t, p, st, policy, a); c != ofA {
		t.Error("a client's connection is not used again")
	}
	elsewhere := *a
	elsewhere.ends.Local = netip.MustParseAddrPort("192.0.2.1:443")
	if c := take(t, p, st, policy, &elsewhere); c == ofA || c == ofB {
		t.Error("a client has the connection of one that asked at another port")
	} else {
		c.Close()
	}
	if c := take(t, p, st, policy, client("203.0.113.8:5000")); c == ofA || c == ofB {
		t.Error("a client has another's connection")
	} else {
		c.Close()
	}
	ofA.Close()
	for i := range 3 { // and by the transport, where each request has its own
		r := request(t, WithEnds(t.Context(), a.ends))
		resp, err := p.RoundTrip(r, st, policy)
		if err != nil {
			t.Fatal(i, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	for i, want := range []string{"203.0.113.7:5000", "203.0.113.7:5001", "203.0.113.7:5000", "203.0.113.8:5000", "203.0.113.7:5000", "203.0.113.7:5000", "203.0.113.7:5000"} {
		if h := <-headers; h.Source.String() != want {
			t.Errorf("connection %d is %v's", i, h.Source)
		}
	}
}

func TestANameWithAddressesOfBothFamiliesIsReachedByWhicheverAnswers(t *testing.T) {
	addrs, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", "localhost")
	if err != nil || len(addrs) < 2 {
		t.Skip("localhost does not have addresses of both families here")
	}
	for _, a := range addrs {
		ln, err := net.Listen("tcp", net.JoinHostPort(a.String(), "0"))
		if err != nil {
			t.Skip(err)
		}
		port := netip.MustParseAddrPort(ln.Addr().String()).Port()
		st := state("http://" + netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
		st = state("http://localhost" + st.Key().URL[len("http://127.0.0.1"):])
		take(t, pools(t, Options{}), st, &routing.Policy{}, &caller{}).Close()
		ln.Close()
	}
}

func TestTheTransportsConnectionsAreCounted(t *testing.T) {
	s, _, _ := counted(t, false)
	var failed atomic.Int64
	st := state(s.URL)
	p := New(Options{})
	for range 3 {
		if ask(t, p, st, &routing.Policy{}) != nil {
			failed.Add(1)
		}
	}
	if st.Conns.Open() != 1 || st.Conns.Made() != 1 || failed.Load() != 0 {
		t.Errorf("%d are open, %d were made", st.Conns.Open(), st.Conns.Made())
	}
	p.CloseIdle()
	waitFor(t, func() bool { return st.Conns.Open() == 0 })
	s.Close()
	ask(t, p, st, &routing.Policy{})
	if st.Conns.Unmade() != 1 {
		t.Errorf("%d could not be made, want 1", st.Conns.Unmade())
	}
}
