package affinity

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCookieHasTheConfiguredAttributes(t *testing.T) {
	for _, c := range []struct {
		o       Options
		overTLS bool
		want    string
	}{
		{Options{}, false, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"},
		{Options{}, true, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"},
		{Options{CookieSecure: "always"}, false, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"},
		{Options{CookieSecure: "never"}, true, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"},
		{Options{CookieSameSite: "strict"}, false, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"},
		{Options{CookieSameSite: "none"}, false, "; Path=/; Max-Age=3600; HttpOnly"},
		{Options{CookieSameSite: "none"}, true, "; Path=/; Max-Age=3600; HttpOnly; SameSite=None; Secure"},
		{Options{CookiePath: "/app", CookieDomain: "example.com", Timeout: time.Millisecond}, false, "; Path=/app; Domain=example.com; Max-Age=1; HttpOnly; SameSite=Lax"},
	} {
		s := manager(t, secret).Sessions("web")
		c.o.Type = Cookie
		s.Configure(c.o)
		var f Finding
		text, _ := s.Keep(&Client{Secure: c.overTLS}, &f, "b1", t0)
		if _, attributes, _ := strings.Cut(text, ";"); ";"+attributes != c.want {
			t.Errorf("%+v, over TLS %v: %q, want %q", c.o, c.overTLS, ";"+attributes, c.want)
		}
		if _, err := http.ParseSetCookie(text); err != nil {
			t.Error(err)
		}
	}
}

func TestIPv6ClientsAreToldByTheConfiguredPrefix(t *testing.T) {
	for _, store := range []string{StoreMemory, StoreEtcd} {
		s := manager(t, secret).Sessions("web")
		s.Configure(Options{Type: Address, Store: store, AddressIPv6Prefix: 64})
		b := newBrowser()
		for addr, want := range map[string]string{
			"2001:db8:0:1::1": "b1", "2001:db8:0:2::1": "b2", "192.0.2.1": "b3", "192.0.2.2": "b4",
		} {
			b.addr = netip.MustParseAddr(addr)
			b.visit(t, s, t0, want)
		}
		for addr, want := range map[string]string{
			"2001:db8:0:1:ffff::9": "b1", "2001:db8:0:1::7%eth0": "b1", "2001:db8:0:2::2": "b2", "2001:db8:0:3::2": "new",
			"::ffff:192.0.2.1": "b3", "192.0.2.2": "b4",
		} {
			b.addr = netip.MustParseAddr(addr)
			if got, _, _ := b.visit(t, s, t0, "new"); got != want {
				t.Errorf("store %s: %s went to %s, want %s", store, addr, got, want)
			}
		}
	}
}

func TestHeaderBindsWhoeverSendsIt(t *testing.T) {
	for _, store := range []string{StoreMemory, StoreEtcd} {
		s := manager(t, secret).Sessions("web")
		s.Configure(Options{Type: Header, HeaderName: "X-User", Store: store})
		b := newBrowser()
		long := strings.Repeat("x", 5000)
		for i, user := range []string{"ann", "bob", long, long + "y"} {
			b.header = user
			if _, set, began := b.visit(t, s, t0, "b"+string(rune('1'+i))); set != nil || !began {
				t.Errorf("cookie %v, began %v; want a session without a cookie", set, began)
			}
		}
		for i, user := range []string{"ann", "bob", long, long + "y"} {
			b.header = user
			if got, _, _ := b.visit(t, s, t0, "b9"); got != "b"+string(rune('1'+i)) {
				t.Errorf("store %s: user %d went to %s", store, i, got)
			}
		}
		b.header = ""
		if _, _, began := b.visit(t, s, t0, "b1"); began || s.Active() != 4 {
			t.Errorf("without the header: began %v, active %d; want no session and 4 others", began, s.Active())
		}
	}
}

func TestAHashChoosesWhereNothingIsStored(t *testing.T) {
	for _, o := range []Options{{Type: Address}, {Type: Header, HeaderName: "X-User"}} {
		s := manager(t, secret).Sessions("web")
		s.Configure(o)
		b := newBrowser()
		hash := func(header, addr string) (uint64, bool) {
			b.header, b.addr = header, netip.MustParseAddr(addr)
			var f Finding
			s.Find(b.client(), t0, &f)
			return s.Hash(&f)
		}
		ann, ok := hash("ann", "192.0.2.1")
		again, _ := hash("ann", "192.0.2.1")
		bob, _ := hash("bob", "192.0.2.2")
		if !ok || ann != again || ann == bob {
			t.Errorf("%v: %x, then %x, another %x, ok %v", o.Type, ann, again, bob, ok)
		}
	}
	s := manager(t, secret).Sessions("web")
	s.Configure(Options{Type: Header, HeaderName: "X-User"})
	var f Finding
	s.Find(newBrowser().client(), t0, &f)
	if _, ok := s.Hash(&f); ok {
		t.Error("a client without the header has a hash")
	}
}

func TestSessionReturnsToItsFormerBackendOnlyIfAskedFor(t *testing.T) {
	cookieStores(t, func(t *testing.T, o Options) {
		for _, returns := range []bool{false, true} {
			o.Return = returns
			s := manager(t, secret).Sessions("web")
			s.Configure(o)
			b := newBrowser()
			// move has the client answered by a backend, whatever it is bound to, and returns to where it goes before that.
			move := func(to string) (backend, home string) {
				var f Finding
				c := b.client()
				s.Find(c, t0, &f)
				backend, home = strings.Clone(f.Backend), strings.Clone(f.Home)
				if text, _ := s.Keep(c, &f, to, t0); text != "" {
					set, err := http.ParseSetCookie(text)
					if err != nil {
						t.Fatal(err)
					}
					b.jar[set.Name] = set.Value
				}
				return backend, home
			}
			home := func(id string) string {
				if returns {
					return id
				}
				return ""
			}
			for i, step := range []struct{ to, backend, home string }{
				{"b1", "", ""},
				{"b2", "b1", ""}, // b1 is away
				{"b2", "b2", home("b1")},
				{"b3", "b2", home("b1")}, // b2 as well
				{"b1", "b3", home("b1")}, // back
				{"b1", "b1", home("")},
			} {
				if !returns && step.to == "b1" && i > 0 {
					break
				}
				if backend, home := move(step.to); backend != step.backend || home != step.home {
					t.Errorf("return %v, step %d: with %q, home %q; want %q, %q", returns, i, backend, home, step.backend, step.home)
				}
			}
		}
	})
}
