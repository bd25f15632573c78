package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"net/http/httptest"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
)

func stickyLab(t *testing.T, o affinity.Options, change ...func(*Options, *httptest.Server)) *lab {
	p := defaultPolicy()
	p.Affinity = o
	p.Breaker = breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}
	l := newLab(t, p, change...)
	l.announce("web", []string{named(t, "0"), named(t, "1"), named(t, "2")})
	return l
}

// visit asks with the cookie and returns who answered and the cookie that the client has then.
func (l *lab) visit(cookie string) (body, now string) {
	l.t.Helper()
	r, _ := http.NewRequest("GET", l.front.URL, nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	resp, body := l.do(r)
	for _, c := range resp.Cookies() {
		cookie = c.Name + "=" + c.Value
	}
	return body, cookie
}

func TestSessionsStayWithTheirBackend(t *testing.T) {
	for _, store := range []string{affinity.StoreNone, affinity.StoreMemory, affinity.StoreEtcd} {
		t.Run(store, func(t *testing.T) {
			l := stickyLab(t, affinity.Options{Type: affinity.Cookie, Store: store})
			counts := map[string]int{}
			for range 9 {
				first, cookie := l.visit("")
				counts[first]++
				for range 3 {
					if body, now := l.visit(cookie); body != first || now != cookie {
						t.Fatalf("went to %s with %q, then to %s with %q", first, cookie, body, now)
					}
				}
			}
			if counts["0"] != 3 || counts["1"] != 3 || counts["2"] != 3 {
				t.Errorf("new clients are spread %v, want evenly", counts)
			}
			if n := l.service("web").Runtime.Stats.Read().Sessions; n != 9 {
				t.Errorf("%d sessions are counted, want 9", n)
			}
		})
	}
}

func TestSessionLeavesABackendThatCannotTakeIt(t *testing.T) {
	for name, harm := range map[string]func(l *lab, i int){
		"down": func(l *lab, i int) { l.service("web").Backends[i].State.SetHealth(backend.Down) },
		"broken": func(l *lab, i int) {
			b := l.service("web").Backends[i].State.Breaker
			permit, _ := b.Allow(time.Now())
			b.Done(permit, time.Now(), breaker.Failure)
		},
		"gone": func(l *lab, i int) {
			s := discovery.Service{Name: "web"}
			for j, b := range l.service("web").Backends {
				if j != i {
					s.Backends = append(s.Backends, b.Backend)
				}
			}
			l.announceService(s)
		},
	} {
		for _, store := range []string{affinity.StoreNone, affinity.StoreMemory, affinity.StoreEtcd} {
			t.Run(name+" "+store, func(t *testing.T) {
				l := stickyLab(t, affinity.Options{Type: affinity.Cookie, Store: store})
				first, cookie := l.visit("")
				harm(l, int(first[0]-'0'))
				second, moved := l.visit(cookie)
				if second == first {
					t.Fatalf("went to %s again", first)
				}
				for range 3 {
					if body, _ := l.visit(moved); body != second {
						t.Errorf("moved to %s and then to %s", second, body)
					}
				}
			})
		}
	}
}

func TestSessionStaysThroughADrainButGetsNoNewTime(t *testing.T) {
	l := stickyLab(t, affinity.Options{Type: affinity.Cookie, Timeout: time.Hour})
	first, cookie := l.visit("")
	state := l.service("web").Backends[first[0]-'0'].State
	state.SetDraining(true)
	for range 3 {
		if body, _ := l.visit(cookie); body != first {
			t.Errorf("the session went to %s", body)
		}
	}
	for range 6 {
		if body, _ := l.visit(""); body == first {
			t.Errorf("a new client went to the backend in drain")
		}
	}
}

func TestRetriedSessionMovesToWhoAnswered(t *testing.T) {
	p := defaultPolicy()
	p.Affinity = affinity.Options{Type: affinity.Cookie}
	l := newLab(t, p)
	l.announce("web", []string{resets(t), named(t, "up")})
	body, cookie := l.visit("")
	if body != "up" || cookie == "" {
		t.Fatalf("%q with cookie %q", body, cookie)
	}
	for range 4 {
		if body, _ := l.visit(cookie); body != "up" {
			t.Errorf("went to %q", body)
		}
	}
	if r := l.records(5); r[0].Attempts != 2 || r[4].Attempts != 1 {
		t.Errorf("%d and %d attempts, want 2 and 1", r[0].Attempts, r[4].Attempts)
	}
}

func TestAddressesStayWithTheirBackend(t *testing.T) {
	for _, store := range []string{affinity.StoreNone, affinity.StoreMemory, affinity.StoreEtcd} {
		t.Run(store, func(t *testing.T) {
			l := stickyLab(t, affinity.Options{Type: affinity.Address, Store: store}, func(o *Options, _ *httptest.Server) {
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			})
			from := func(addr string) string {
				r, _ := http.NewRequest("GET", l.front.URL, nil)
				r.Header.Set("X-Forwarded-For", addr)
				resp, body := l.do(r)
				if c := resp.Header.Get("Set-Cookie"); c != "" {
					t.Errorf("a cookie was sent: %q", c)
				}
				return body
			}
			seen := map[string]bool{}
			for i := range 30 {
				addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()
				first := from(addr)
				seen[first] = true
				if second := from(addr); second != first {
					t.Errorf("%s went to %s and to %s", addr, first, second)
				}
			}
			if len(seen) != 3 {
				t.Errorf("only %v have clients", seen)
			}
			addr := "192.0.2.1"
			first := from(addr)
			l.service("web").Backends[first[0]-'0'].State.SetHealth(backend.Down)
			second := from(addr)
			if second == first || from(addr) != second {
				t.Errorf("after %s went down: %s", first, second)
			}
		})
	}
}

func TestCookieIsSecureOverTLSAlone(t *testing.T) {
	for _, secure := range []bool{false, true} {
		l := stickyLab(t, affinity.Options{Type: affinity.Cookie}, func(_ *Options, s *httptest.Server) {
			if secure {
				s.TLS = testTLS()
			}
		})
		resp, _ := l.get("/")
		if c := resp.Header.Get("Set-Cookie"); c == "" || strings.Contains(c, "; Secure") != secure {
			t.Errorf("secure %v: %q", secure, c)
		}
	}
}

func TestPolicyChangeTakesSessionsWithIt(t *testing.T) {
	l := stickyLab(t, affinity.Options{Type: affinity.Cookie, Store: affinity.StoreMemory})
	first, cookie := l.visit("")
	l.policy.Affinity.Timeout = 2 * time.Hour
	l.policy.Affinity.MaxSessions = 7
	sink := l.catalog.Sink("test")
	s := discovery.Service{Name: "web", Policy: []byte("changed")}
	for _, b := range l.service("web").Backends {
		s.Backends = append(s.Backends, b.Backend)
	}
	sink.Service(s)
	sink.Synced()
	waitFor(t, "the policy", func() bool { return l.service("web").Policy.Affinity.MaxSessions == 7 })
	for range 4 {
		if body, _ := l.visit(cookie); body != first {
			t.Errorf("the session went from %s to %s", first, body)
		}
	}
	if _, cookie := l.visit(""); cookie == "" {
		t.Error("no session began")
	}
}

func TestHeadersStayWithTheirBackend(t *testing.T) {
	for _, store := range []string{affinity.StoreNone, affinity.StoreMemory, affinity.StoreEtcd} {
		t.Run(store, func(t *testing.T) {
			l := stickyLab(t, affinity.Options{Type: affinity.Header, HeaderName: "X-User", Store: store})
			as := func(user string) string {
				r, _ := http.NewRequest("GET", l.front.URL, nil)
				if user != "" {
					r.Header.Set("X-User", user)
				}
				resp, body := l.do(r)
				if c := resp.Header.Get("Set-Cookie"); c != "" {
					t.Errorf("a cookie was sent: %q", c)
				}
				return body
			}
			seen := map[string]bool{}
			for _, user := range strings.Split("ann bob cyn dan eve fay gus hal ivy jon kim leo", " ") {
				first := as(user)
				seen[first] = true
				for range 3 {
					if again := as(user); again != first {
						t.Errorf("%s went to %s and to %s", user, first, again)
					}
				}
			}
			if len(seen) < 2 {
				t.Errorf("only %v have clients", seen)
			}
			without := map[string]bool{}
			for range 6 {
				without[as("")] = true
			}
			if len(without) != 3 {
				t.Errorf("requests without the header went to %v, want all three", without)
			}
		})
	}
}

func TestSessionGoesBackToAnUpBackendOnlyIfAskedFor(t *testing.T) {
	for _, returns := range []bool{false, true} {
		l := stickyLab(t, affinity.Options{Type: affinity.Cookie, Return: returns})
		first, cookie := l.visit("")
		state := l.service("web").Backends[first[0]-'0'].State
		state.SetHealth(backend.Down)
		second, cookie := l.visit(cookie)
		if again, _ := l.visit(cookie); again != second || again == first {
			t.Errorf("moved to %s and then to %s", second, again)
		}
		state.SetHealth(backend.Up)
		want := second
		if returns {
			want = first
		}
		for range 3 {
			var body string
			if body, cookie = l.visit(cookie); body != want {
				t.Errorf("return %v: went to %s, want %s", returns, body, want)
			}
		}
	}
}
