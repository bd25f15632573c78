package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/internal/steady"
	"github.com/vietddude/load-balancer/proxy/http1"
	"github.com/vietddude/load-balancer/routing"
)

// byBothDoors runs a test with the engine's door and with net/http's.
func byBothDoors(t *testing.T, policy routing.Policy, f func(t *testing.T, l *lab)) {
	t.Run("default door", func(t *testing.T) { f(t, newLab(t, policy)) })
	t.Run("net/http", func(t *testing.T) {
		f(t, newLab(t, policy, func(_ *Options, s *httptest.Server) { s.EnableHTTP2 = true }))
	})
}

// hashed waits until keys decide, and returns who answers a request.
func (l *lab) hashed(target string, header http.Header) string {
	l.t.Helper()
	waitFor(l.t, "the table of hashes", func() bool { return l.service("web").Runtime.Ready().Tabled() })
	r, err := http.NewRequest("GET", l.front.URL+target, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	resp, body := l.do(r)
	if resp.StatusCode != 200 {
		l.t.Fatalf("status %d", resp.StatusCode)
	}
	return body
}

func TestRequestsOfOneKeyGoToOneBackendAndOthersElsewhere(t *testing.T) {
	for _, c := range []struct {
		hash routing.Hash
		// request is number n of those that have key k; with k below 0 the request has none.
		request func(k, n int) (string, http.Header)
	}{
		{routing.Hash{By: routing.HashHeader, Name: "X-User"}, func(k, n int) (string, http.Header) {
			if k < 0 {
				return "/", nil
			}
			return fmt.Sprint("/", n), http.Header{"X-User": {fmt.Sprint(k), fmt.Sprint(n)}}
		}},
		{routing.Hash{By: routing.HashCookie, Name: "user"}, func(k, n int) (string, http.Header) {
			if k < 0 {
				return "/", http.Header{"Cookie": {"username=1; xuser=2"}}
			}
			return "/", http.Header{"Cookie": {fmt.Sprintf("a=%d; user=%d", n, k)}}
		}},
		{routing.Hash{By: routing.HashPath}, func(k, n int) (string, http.Header) {
			return fmt.Sprintf("/%d?%d", k, n), nil
		}},
		{routing.Hash{By: routing.HashQuery, Name: "user"}, func(k, n int) (string, http.Header) {
			if k < 0 {
				return "/?xuser=1&users=1", nil
			}
			return fmt.Sprintf("/%d?a=%d&user=%d", n, n, k), nil
		}},
	} {
		policy := defaultPolicy()
		policy.Algorithm, policy.Hash = balance.Maglev, c.hash
		t.Run(string(c.hash.By), func(t *testing.T) {
			byBothDoors(t, policy, func(t *testing.T, l *lab) {
				l.announce("web", []string{named(t, "0"), named(t, "1"), named(t, "2")})
				all := map[string]bool{}
				for k := range 12 {
					first := l.hashed(c.request(k, 0))
					all[first] = true
					for n := range 4 {
						if got := l.hashed(c.request(k, n)); got != first {
							t.Fatalf("key %d went to %s and to %s", k, first, got)
						}
					}
				}
				if len(all) < 2 {
					t.Errorf("all keys went to %v", all)
				}
				if c.hash.By == routing.HashPath {
					return
				}
				without := map[string]bool{}
				for n := range 60 {
					without[l.hashed(c.request(-1, n))] = true
				}
				if len(without) != 3 {
					t.Errorf("requests without a key went to %v only", without)
				}
			})
		})
	}
}

func TestClientsOfOneAddressGoToOneBackend(t *testing.T) {
	policy := defaultPolicy()
	policy.Algorithm = balance.Ring
	byBothDoors(t, policy, func(t *testing.T, l *lab) {
		l.announce("web", []string{named(t, "0"), named(t, "1"), named(t, "2")})
		first := l.hashed("/", nil)
		for n := range 10 {
			if got := l.hashed(fmt.Sprint("/", n), nil); got != first {
				t.Fatalf("went to %s and to %s", first, got)
			}
		}
	})
}

func TestHashedExchangesAreRetriedElsewhere(t *testing.T) {
	policy := defaultPolicy()
	policy.Algorithm, policy.Hash = balance.Maglev, routing.Hash{By: routing.HashPath, MaxLoad: 2}
	byBothDoors(t, policy, func(t *testing.T, l *lab) {
		l.announce("web", []string{"http://127.0.0.1:1", named(t, "1"), named(t, "2")})
		for n := range 20 {
			if got := l.hashed(fmt.Sprint("/", n), nil); got != "1" && got != "2" {
				t.Fatalf("answered by %q", got)
			}
		}
		l.settled()
		if n := l.service("web").Runtime.Load.Load(); n != 0 {
			t.Errorf("%d attempts are counted as under way after all have ended", n)
		}
	})
}

func TestIPv6AddressesAreHashedByTheirNetwork(t *testing.T) {
	hash := func(a string) uint64 { return hashAddr(netip.MustParseAddr(a)) }
	if hash("2001:db8::1") != hash("2001:db8::ffff:1") || hash("2001:db8::1") == hash("2001:db8:0:1::1") {
		t.Error("want addresses of one /64 alike, and of two not")
	}
	if hash("10.0.0.1") == hash("10.0.0.2") {
		t.Error("two IPv4 addresses are hashed alike")
	}
	hashAddr(netip.Addr{})
}

func TestCookiesAndParametersAreFoundExactly(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   string
		ok     bool
	}{
		{nil, "", false},
		{[]string{"a=1"}, "1", true},
		{[]string{"b=2;a=1"}, "1", true},
		{[]string{"b=2;  a=x=y ; c"}, "x=y", true},
		{[]string{"aa=1; a; b=a=2"}, "", false},
		{[]string{"b=1", "a=2; a=3"}, "2", true},
		{[]string{"a="}, "", true},
	} {
		if got, ok := cookieOf(http.Header{"Cookie": c.fields}, "a"); got != c.want || ok != c.ok {
			t.Errorf("cookie a of %q is %q, %t", c.fields, got, ok)
		}
	}
	for _, c := range []struct {
		target, want string
		ok           bool
	}{
		{"/", "", false}, {"/a=1", "", false}, {"/?a=1", "1", true}, {"/?b=1&a", "", true}, {"/?aa=1&b=a", "", false}, {"/?b&a=x=y&a=2", "x=y", true},
	} {
		if got, ok := parameterOf(c.target, "a"); got != c.want || ok != c.ok {
			t.Errorf("parameter a of %q is %q, %t", c.target, got, ok)
		}
	}
}

func TestHashingDoesNotAllocate(t *testing.T) {
	text := "GET /x?user=7 HTTP/1.1\r\nHost: a\r\nX-User: 12345\r\nCookie: a=1; user=9\r\n\r\n"
	var r http1.Request
	var in http1.Reader
	in.Reset(strings.NewReader(text), make([]byte, 4096))
	if err := in.ReadRequest(&r, &http1.Limits{Head: 4096}); err != nil {
		t.Fatal(err)
	}
	f := &wireFields{}
	f.reset(&r.Head)
	x := &exchange{}
	x.req.Header, x.req.Target, x.req.Path = f, "/x?user=7", "/x"
	x.client.addr = netip.MustParseAddr("10.0.0.1")
	for _, h := range []routing.Hash{{}, {By: routing.HashHeader, Name: "X-User"}, {By: routing.HashCookie, Name: "user"}, {By: routing.HashPath}, {By: routing.HashQuery, Name: "user"}} {
		if got := testing.AllocsPerRun(100, func() { x.hashKey(&h) }); got != 0 {
			t.Errorf("by %s: %.1f allocations", h.By, got)
		}
	}
}

func TestAnswersAndFailuresAreToldToTheLatency(t *testing.T) {
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{named(t, "0"), "http://127.0.0.1:1"})
	for range 4 {
		l.get("/")
	}
	bs := l.service("web").Backends
	now := steady.Millis(time.Now())
	if bs[0].State.Latency.Peak(now) == 0 {
		t.Error("the backend's answers are not known")
	}
	if bs[0].ZoneRequests.Load() < 4 {
		t.Errorf("%d attempts are counted by zone", bs[0].ZoneRequests.Load())
	}
}
