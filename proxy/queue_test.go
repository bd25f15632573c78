package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/proxy/proxyproto"
	"github.com/vietddude/load-balancer/routing"
)

// gated is a backend whose answers wait for a permission each, and that knows how many it is asked for at a time.
type gated struct {
	url       string
	open      chan struct{}
	ended     chan struct{}
	now, most atomic.Int64
	asked     atomic.Int64
	mu        sync.Mutex // guards targets
	targets   []string
}

func newGated(t testing.TB) *gated {
	g := &gated{open: make(chan struct{})}
	g.url = httpBackend(t, g.answer)
	g.ended = make(chan struct{})
	t.Cleanup(func() { close(g.ended) })
	return g
}

func (g *gated) answer(w http.ResponseWriter, r *http.Request) {
	g.asked.Add(1)
	g.mu.Lock()
	g.targets = append(g.targets, r.URL.Path)
	g.mu.Unlock()
	n := g.now.Add(1)
	defer g.now.Add(-1)
	for m := g.most.Load(); n > m && !g.most.CompareAndSwap(m, n); m = g.most.Load() {
	}
	select {
	case <-g.open:
	case <-r.Context().Done():
	case <-g.ended: // the test has failed
	}
	io.WriteString(w, r.URL.Path)
}

func crowdedPolicy(conns routing.Connections) routing.Policy {
	p := defaultPolicy()
	p.Connections = conns
	return p
}

// start asks for a path and tells the status.
func (l *lab) start(path string) <-chan int {
	done := make(chan int, 1)
	go func() {
		resp, err := l.front.Client().Get(l.front.URL + path)
		if err != nil {
			done <- 0
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	return done
}

func TestExchangesQueueForAFullBackendInTheirOrder(t *testing.T) {
	g := newGated(t)
	l := newLab(t, crowdedPolicy(routing.Connections{MaxConns: 2, MaxQueue: 10, QueueTimeout: time.Minute}))
	l.announce("web", []string{g.url})
	state := l.service("web").Backends[0].State
	var all []<-chan int
	for i := range 6 {
		all = append(all, l.start("/"+string(rune('a'+i))))
		if i < 2 {
			waitFor(t, "the backend to be asked", func() bool { return g.asked.Load() == int64(i+1) })
		} else {
			waitFor(t, "an exchange to queue", func() bool { return state.Seats.Waiting() == int64(i-1) })
		}
	}
	close(g.open)
	for _, done := range all {
		if s := <-done; s != 200 {
			t.Errorf("status %d", s)
		}
	}
	l.settled()
	if n := g.most.Load(); n > 2 {
		t.Errorf("%d at a time, want 2 at most", n)
	}
	got := strings.Join(g.targets, "")
	if len(got) != 12 || got[:4] != "/a/b" {
		t.Errorf("asked in the order %s", got)
	}
	if n := state.Seats.Waiting(); n != 0 || state.InFlight() != 0 {
		t.Errorf("%d still wait, %d are in flight", n, state.InFlight())
	}
}

func TestAnExchangeGoesWhereThereIsRoom(t *testing.T) {
	full, free := newGated(t), newGated(t)
	close(free.open)
	l := newLab(t, crowdedPolicy(routing.Connections{MaxConns: 1, MaxQueue: 10, QueueTimeout: time.Minute}))
	l.announce("web", []string{full.url, free.url})
	var held <-chan int // one that the full one keeps
	for full.asked.Load() == 0 {
		held = l.start("/")
		waitFor(t, "an answer, or the full one to be asked", func() bool {
			select {
			case <-held:
				return true
			default:
				return full.asked.Load() == 1
			}
		})
	}
	for range 6 {
		if s := <-l.start("/"); s != 200 {
			t.Errorf("status %d", s)
		}
	}
	if n := full.asked.Load(); n != 1 {
		t.Errorf("the full one was asked %d times", n)
	}
	close(full.open)
	if s := <-held; s != 200 {
		t.Errorf("the one that was held: %d", s)
	}
}

func TestAQueueThatIsFullOrTooSlowIsA503(t *testing.T) {
	for name, c := range map[string]routing.Connections{
		"queue-timeout": {MaxConns: 1, MaxQueue: 10, QueueTimeout: 10 * time.Millisecond},
		"queue-full":    {MaxConns: 1, MaxQueue: 0, QueueTimeout: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGated(t)
			l := newLab(t, crowdedPolicy(c))
			l.announce("web", []string{g.url})
			first := l.start("/")
			waitFor(t, "the backend to be asked", func() bool { return g.asked.Load() == 1 })
			resp, _ := l.get("/")
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
			}
			if r := l.records(1)[0]; r.Error != name || r.Attempts != 0 {
				t.Errorf("logged %q after %d attempts", r.Error, r.Attempts)
			}
			state := l.service("web").Backends[0].State
			if n := state.Seats.Timeouts(); n != 1 {
				t.Errorf("%d are counted", n)
			}
			close(g.open)
			if s := <-first; s != 200 {
				t.Errorf("the first: %d", s)
			}
			l.settled()
			if s := <-l.start("/"); s != 200 {
				t.Errorf("once there is room: %d", s)
			}
		})
	}
}

func TestASessionsClientQueuesForItsBackendThenGoesElsewhere(t *testing.T) {
	a, b := newGated(t), newGated(t)
	close(b.open)
	p := crowdedPolicy(routing.Connections{MaxConns: 1, MaxQueue: 10, QueueTimeout: 20 * time.Millisecond})
	p.Affinity = affinity.Options{Type: affinity.Cookie, CookieName: "s"}
	l := newLab(t, p)
	l.announce("web", []string{a.url})
	done := make(chan *http.Response)
	ask := func(cookie *http.Cookie) *http.Response {
		r, _ := http.NewRequest("GET", l.front.URL, nil)
		if cookie != nil {
			r.AddCookie(cookie)
		}
		resp, _ := l.do(r)
		return resp
	}
	go func() { done <- ask(nil) }()
	a.open <- struct{}{}
	cookie := (<-done).Cookies()[0]
	l.announce("web", []string{a.url, b.url})
	go func() { done <- ask(cookie) }() // and holds the only seat
	waitFor(t, "the session's backend to be asked", func() bool { return a.asked.Load() == 2 })
	if resp := ask(cookie); resp.StatusCode != 200 || b.asked.Load() != 1 {
		t.Errorf("status %d, the other backend was asked %d times", resp.StatusCode, b.asked.Load())
	}
	close(a.open)
	<-done
}

func TestAClientThatLeavesWhileItQueuesLeavesTheQueue(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	l := newLab(t, crowdedPolicy(routing.Connections{MaxConns: 1, MaxQueue: 10, QueueTimeout: time.Minute}))
	l.announce("web", []string{g.url})
	first := l.start("/")
	waitFor(t, "the backend to be asked", func() bool { return g.asked.Load() == 1 })
	state := l.service("web").Backends[0].State
	c, _ := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	waitFor(t, "the exchange to queue", func() bool { return state.Seats.Waiting() == 1 })
	c.Close()
	waitFor(t, "it to leave", func() bool { return state.Seats.Waiting() == 0 })
	if r := l.records(1)[0]; r.Error != "client-gone" {
		t.Errorf("logged %q", r.Error)
	}
	close(g.open)
	<-first
	l.settled()
	if n := g.asked.Load(); n != 1 {
		t.Errorf("the backend was asked %d times", n)
	}
}

func TestAClientThatLeavesWhileABackendIsConnectedToStopsThat(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	url := rawBackend(t, func(c *net.TCPConn, _ *bufio.Reader) {
		select {
		case begun <- struct{}{}:
		default:
		}
		io.Copy(io.Discard, c) // no handshake
	})
	p := defaultPolicy()
	p.Timeouts.Connect = time.Minute
	l := newLab(t, p)
	l.announce("web", []string{"https" + strings.TrimPrefix(url, "http")})
	c, _ := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	c.Close()
	if r := l.records(1)[0]; r.Error != "client-gone" || r.Attempts != 1 {
		t.Errorf("logged %q after %d attempts", r.Error, r.Attempts)
	}
	l.settled()
	if l.service("web").Backends[0].State.Avoided(time.Now()) {
		t.Error("the backend is avoided for it")
	}
}

// sayingWhom is a backend that answers with what the PROXY header of its connection says.
func sayingWhom(t testing.TB) string {
	return rawBackend(t, func(c *net.TCPConn, _ *bufio.Reader) {
		h, err := proxyproto.Read(c)
		if err != nil {
			return
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, h.Source.String())
		})}
		ln := &oneConn{c: c, done: make(chan struct{})}
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(ln.done)
			}
		}
		s.Serve(ln)
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	c    net.Conn
	once sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (c net.Conn, err error) {
	l.once.Do(func() { c = l.c })
	if c == nil {
		<-l.done
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.c.LocalAddr() }

func TestBackendsAreToldTheClientsAddressByAPROXYHeader(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		p := defaultPolicy()
		p.ProxyProtocol = 2
		l := newLab(t, p, func(_ *Options, s *httptest.Server) {
			if h2 {
				s.EnableHTTP2, s.TLS = true, testTLS()
			}
		})
		l.announce("web", []string{sayingWhom(t)})
		if !h2 {
			for range 2 {
				c, r := l.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
				for range 2 {
					if _, got := readAnswer(t, r); got != c.LocalAddr().String() {
						t.Errorf("the backend was told %q, not %v", got, c.LocalAddr())
					}
				}
			}
			continue
		}
		_, got := l.get("/")
		if a, err := netip.ParseAddrPort(got); err != nil || a.Addr().String() != "127.0.0.1" {
			t.Errorf("by HTTP/2 the backend was told %q", got)
		}
	}
}
