package affinity

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	t0     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	secret = []byte("0123456789abcdef0123456789abcdef")
)

func manager(t testing.TB, secret []byte) *Manager {
	t.Helper()
	m, err := NewManager(secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// browser keeps cookies as a client does, and visits services.
type browser struct {
	jar    map[string]string
	addr   netip.Addr
	header string
}

func newBrowser() *browser {
	return &browser{jar: map[string]string{}, addr: netip.MustParseAddr("192.0.2.1")}
}

func (b *browser) client() *Client {
	var parts []string
	for name, value := range b.jar {
		parts = append(parts, name+"="+value)
	}
	return &Client{Cookies: []string{strings.Join(parts, "; ")}, Addr: b.addr, Header: b.header}
}

// visit has the client answered by its backend, or by that one if it has none, and reports who it was.
func (b *browser) visit(t testing.TB, s *Sessions, now time.Time, other string) (backend string, set *http.Cookie, began bool) {
	t.Helper()
	var f Finding
	c := b.client()
	s.Find(c, now, &f)
	if backend = strings.Clone(f.Backend); backend == "" {
		backend = other
	}
	text, began := s.Keep(c, &f, backend, now)
	if text == "" {
		return backend, nil, began
	}
	set, err := http.ParseSetCookie(text)
	if err != nil {
		t.Fatalf("the cookie %q is malformed: %v", text, err)
	}
	b.jar[set.Name] = set.Value
	return backend, set, began
}

func cookieStores(t *testing.T, f func(t *testing.T, o Options)) {
	for _, store := range []string{StoreNone, StoreMemory, StoreEtcd} {
		t.Run("store "+store, func(t *testing.T) {
			f(t, Options{Type: Cookie, Store: store, Timeout: time.Hour})
		})
	}
}

func TestCookieBindsAClientToItsFirstBackend(t *testing.T) {
	cookieStores(t, func(t *testing.T, o Options) {
		s := manager(t, secret).Sessions("web")
		s.Configure(o)
		b := newBrowser()
		backend, set, began := b.visit(t, s, t0, "b1")
		if backend != "b1" || set == nil || !began {
			t.Fatalf("first visit: backend %q, cookie %v, began %v", backend, set, began)
		}
		if set.Name != "session_id" || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode || set.Path != "/" ||
			set.MaxAge != 3600 || set.Secure || set.Domain != "" {
			t.Errorf("the cookie is %v", set)
		}
		if strings.Contains(set.Value, "b1") {
			t.Errorf("the cookie's value %q tells the backend", set.Value)
		}
		backend, set, began = b.visit(t, s, t0.Add(time.Minute), "b2")
		if backend != "b1" || set != nil || began {
			t.Errorf("second visit: backend %q, cookie %v, began %v; want b1 and nothing new", backend, set, began)
		}
	})
}

func TestCookieIsSecureUnderTLS(t *testing.T) {
	cookieStores(t, func(t *testing.T, o Options) {
		s := manager(t, secret).Sessions("web")
		s.Configure(o)
		var f Finding
		text, _ := s.Keep(&Client{Secure: true}, &f, "b1", t0)
		if !strings.HasSuffix(text, "; Secure") {
			t.Errorf("the cookie is %q", text)
		}
	})
}

func TestSessionRollsWithUseAndEndsWithoutIt(t *testing.T) {
	cookieStores(t, func(t *testing.T, o Options) {
		s := manager(t, secret).Sessions("web")
		s.Configure(o)
		b := newBrowser()
		b.visit(t, s, t0, "b1")
		if _, set, _ := b.visit(t, s, t0.Add(29*time.Minute), "b2"); set != nil {
			t.Error("renewed although more than half of the time is left")
		}
		if _, set, began := b.visit(t, s, t0.Add(31*time.Minute), "b2"); set == nil || began {
			t.Errorf("after more than half of the time: cookie %v, began %v; want a renewal", set, began)
		}
		if backend, _, _ := b.visit(t, s, t0.Add(90*time.Minute), "b2"); backend != "b1" {
			t.Errorf("the renewed session went to %q, want b1", backend)
		}
		if backend, set, began := b.visit(t, s, t0.Add(151*time.Minute), "b2"); backend != "b2" || set == nil || !began {
			t.Errorf("the expired session: backend %q, cookie %v, began %v; want a new one", backend, set, began)
		}
	})
}

func TestMovedSessionStaysMoved(t *testing.T) {
	cookieStores(t, func(t *testing.T, o Options) {
		s := manager(t, secret).Sessions("web")
		s.Configure(o)
		b := newBrowser()
		b.visit(t, s, t0, "b1")
		var f Finding
		c := b.client()
		s.Find(c, t0, &f)
		text, began := s.Keep(c, &f, "b2", t0)
		if !began {
			t.Error("a session that goes to another backend counts as begun")
		}
		if set, err := http.ParseSetCookie(text); err == nil {
			b.jar[set.Name] = set.Value
		}
		if backend, _, _ := b.visit(t, s, t0.Add(time.Second), "b3"); backend != "b2" {
			t.Errorf("went to %q, want b2", backend)
		}
	})
}

func TestForeignAndForgedValuesAreNoSession(t *testing.T) {
	m := manager(t, secret)
	for _, store := range []string{StoreNone, StoreMemory} {
		o := Options{Type: Cookie, Store: store}
		api, web := m.Sessions("api"), m.Sessions("web")
		api.Configure(o)
		web.Configure(o)
		own, other := newBrowser(), newBrowser()
		own.visit(t, web, t0, "b1")
		other.visit(t, api, t0, "b1")
		good := own.jar["session_id"]
		flipped := []byte(good)
		flipped[len(flipped)-3] ^= 1
		for name, value := range map[string]string{
			"empty":                              "",
			"noise":                              "%%%\x00\xff",
			"text":                               "b1",
			"cut short":                          good[:len(good)-4],
			"lengthened":                         good + "AAAA",
			"one bit changed":                    string(flipped),
			"mark alone":                         good[:markLen],
			"another service's under our mark":   good[:markLen] + other.jar["session_id"][markLen:],
			"another service's":                  other.jar["session_id"],
			"very long":                          strings.Repeat("A", 8000),
			"long under our mark":                good[:markLen] + strings.Repeat("A", 8000),
			"an identifier that was never given": good[:markLen] + strings.Repeat("A", idLen),
		} {
			b := newBrowser()
			b.jar["session_id"] = value
			backend, set, began := b.visit(t, web, t0, "b9")
			if backend != "b9" || set == nil || !began {
				t.Errorf("store %s, %s: backend %q, cookie %v, began %v; want a new session", store, name, backend, set, began)
			}
		}
	}
}

func TestAnotherSecretsCookieIsReplacedUnderItsName(t *testing.T) {
	b := newBrowser()
	for i, want := range []string{"b1", "b2"} { // the second process knows nothing of the first one's key
		s := manager(t, nil).Sessions("web")
		s.Configure(Options{Type: Cookie})
		backend, set, _ := b.visit(t, s, t0, want)
		if backend != want || set == nil || set.Name != "session_id" {
			t.Errorf("process %d: backend %q, cookie %v", i, backend, set)
		}
	}
}

func TestBalancersWithOneSecretUnderstandEachOther(t *testing.T) {
	b := newBrowser()
	for _, offer := range []string{"b1", "b2"} {
		s := manager(t, secret).Sessions("web")
		s.Configure(Options{Type: Cookie})
		if backend, _, _ := b.visit(t, s, t0, offer); backend != "b1" {
			t.Errorf("went to %q, want b1", backend)
		}
	}
}

func TestServicesOnOneHostDoNotDisturbEachOther(t *testing.T) {
	cookieStores(t, func(t *testing.T, o Options) {
		m := manager(t, secret)
		web, api := m.Sessions("web"), m.Sessions("api")
		web.Configure(o)
		api.Configure(o)
		b := newBrowser()
		b.visit(t, web, t0, "w1")
		if _, set, _ := b.visit(t, api, t0, "a1"); set == nil || set.Name != "session_id-api" {
			t.Fatalf("the second service's cookie is %v, want session_id-api", set)
		}
		for range 3 {
			if backend, set, _ := b.visit(t, web, t0, "w2"); backend != "w1" || set != nil {
				t.Errorf("web: backend %q, cookie %v; want w1 and no cookie", backend, set)
			}
			if backend, set, _ := b.visit(t, api, t0, "a2"); backend != "a1" || set != nil {
				t.Errorf("api: backend %q, cookie %v; want a1 and no cookie", backend, set)
			}
		}
		later := t0.Add(50 * time.Minute)
		if _, set, _ := b.visit(t, api, later, "a2"); set == nil || set.Name != "session_id-api" {
			t.Errorf("the second service renews %v, want session_id-api", set)
		}
	})
}

func TestCookieIsFoundAmongManyOfItsName(t *testing.T) {
	s := manager(t, secret).Sessions("web")
	s.Configure(Options{Type: Cookie})
	b := newBrowser()
	b.visit(t, s, t0, "b1")
	good := b.jar["session_id"]
	for _, fields := range [][]string{
		{"session_id=" + good},
		{"a=b; session_id=" + good + "; c=d"},
		{"a=b", "session_id=" + good},
		{"session_id=noise; session_id=" + good},
		{`session_id="` + good + `"`},
		{";;  session_id = " + good + "\t;"},
		{"x; =y; session_id=" + good},
		{"session_id-web=" + good},
	} {
		var f Finding
		s.Find(&Client{Cookies: fields}, t0, &f)
		if f.Backend != "b1" {
			t.Errorf("cookies %q: backend %q, want b1", fields, f.Backend)
		}
	}
	for _, fields := range [][]string{nil, {""}, {"session_id"}, {"session_ids=" + good}, {"Session_id=" + good}} {
		var f Finding
		s.Find(&Client{Cookies: fields}, t0, &f)
		if f.Backend != "" {
			t.Errorf("cookies %q: backend %q, want none", fields, f.Backend)
		}
	}
}

func TestChangedOptionsEndNoRememberedSession(t *testing.T) {
	s := manager(t, secret).Sessions("web")
	o := Options{Type: Cookie, Store: StoreMemory, MaxSessions: 100}
	s.Configure(o)
	var all []*browser
	for range 50 {
		b := newBrowser()
		b.visit(t, s, t0, "b1")
		all = append(all, b)
	}
	o.MaxSessions, o.Timeout, o.CleanupInterval = 100_000, 2*time.Hour, time.Second
	s.Configure(o)
	for i, b := range all {
		if backend, _, _ := b.visit(t, s, t0, "b2"); backend != "b1" {
			t.Errorf("session %d went to %q, want b1", i, backend)
		}
	}
	if s.Active() != 50 {
		t.Errorf("%d sessions are remembered, want 50", s.Active())
	}
}

func TestRememberedAddressBindsWithoutACookie(t *testing.T) {
	s := manager(t, secret).Sessions("web")
	s.Configure(Options{Type: Address, Store: StoreMemory, Timeout: time.Hour})
	b := newBrowser()
	if _, set, began := b.visit(t, s, t0, "b1"); set != nil || !began {
		t.Errorf("cookie %v, began %v; want a session without a cookie", set, began)
	}
	b.addr = netip.MustParseAddr("::ffff:192.0.2.1")
	if backend, _, began := b.visit(t, s, t0.Add(59*time.Minute), "b2"); backend != "b1" || began {
		t.Errorf("backend %q, began %v; want b1", backend, began)
	}
	if backend, _, _ := b.visit(t, s, t0.Add(118*time.Minute), "b2"); backend != "b1" {
		t.Errorf("backend %q, want b1: each exchange prolongs the session", backend)
	}
	b.addr = netip.MustParseAddr("192.0.2.2")
	if backend, _, _ := b.visit(t, s, t0, "b3"); backend != "b3" {
		t.Errorf("another address went to %q, want b3", backend)
	}
}

func TestNoTypeHasNoSessions(t *testing.T) {
	s := manager(t, secret).Sessions("web")
	b := newBrowser()
	if _, set, began := b.visit(t, s, t0, "b1"); set != nil || began || s.Active() != 0 {
		t.Errorf("cookie %v, began %v, active %d; want nothing", set, began, s.Active())
	}
}

func TestExpiredSessionsLeaveTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manager(t, secret)
		s := m.Sessions("web")
		s.Configure(Options{Type: Cookie, Store: StoreMemory, Timeout: 10 * time.Minute, CleanupInterval: time.Minute})
		for range 3 {
			newBrowser().visit(t, s, time.Now(), "b1")
		}
		time.Sleep(5 * time.Minute)
		newBrowser().visit(t, s, time.Now(), "b1")
		if got := m.Active(); len(got) != 1 || got[0] != (Active{"web", 4}) {
			t.Errorf("active: %v, want 4 of web", got)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if s.Active() != 1 {
			t.Errorf("%d remembered, want 1", s.Active())
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if s.Active() != 0 {
			t.Errorf("%d remembered, want 0", s.Active())
		}
		newBrowser().visit(t, s, time.Now(), "b1")
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		if s.Active() != 0 {
			t.Errorf("the cleaner did not start again: %d remembered", s.Active())
		}
	})
}

func TestForgottenServiceStartsOver(t *testing.T) {
	m := manager(t, secret)
	s := m.Sessions("web")
	s.Configure(Options{Type: Cookie, Store: StoreMemory})
	newBrowser().visit(t, s, t0, "b1")
	m.Forget("web")
	if m.Sessions("web") == s || len(m.Active()) != 0 {
		t.Error("the forgotten service's sessions are still there")
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	if _, err := NewManager([]byte("too short")); err == nil || strings.Contains(err.Error(), "too short") {
		t.Errorf("error %v; want one that does not tell the secret", err)
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	for _, o := range []Options{
		{Type: Cookie}, {Type: Cookie, Store: StoreMemory}, {Type: Address, Store: StoreMemory},
		{Type: Cookie, Store: StoreEtcd}, {Type: Address, Store: StoreEtcd}, {Type: Header, Store: StoreMemory}, {Type: Header, Store: StoreEtcd},
	} {
		s := manager(t, secret).Sessions("web")
		s.Configure(o)
		b := newBrowser()
		b.header = "user-17"
		b.visit(t, s, t0, "b1")
		c, f := b.client(), new(Finding)
		if n := testing.AllocsPerRun(100, func() {
			s.Find(c, t0, f)
			s.Keep(c, f, f.Backend, t0)
		}); n != 0 {
			t.Errorf("%v: %v allocations", o, n)
		}
	}
}

func FuzzFind(f *testing.F) {
	m, err := NewManager(nil)
	if err != nil {
		f.Fatal(err)
	}
	s := m.Sessions("web")
	s.Configure(Options{Type: Cookie})
	b := newBrowser()
	b.visit(f, s, t0, "b1")
	good := b.jar["session_id"]
	f.Add("session_id=" + good)
	f.Add(`a="; session_id="x";;=`)
	f.Add("session_id=" + good[:20])
	f.Fuzz(func(t *testing.T, field string) {
		var found Finding
		s.Find(&Client{Cookies: []string{field}}, t0, &found)
		if found.Backend != "" && !strings.Contains(field, good) {
			t.Errorf("%q is a session with %q", field, found.Backend)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	for name, o := range map[string]Options{"sealed": {Type: Cookie}, "remembered": {Type: Cookie, Store: StoreMemory}, "shared": {Type: Cookie, Store: StoreEtcd}, "header": {Type: Header, Store: StoreEtcd}} {
		b.Run(name, func(b *testing.B) {
			s := manager(b, secret).Sessions("web")
			s.Configure(o)
			br := newBrowser()
			br.header = "user-17"
			br.visit(b, s, t0, "backend-17")
			c := br.client()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				f := new(Finding)
				for pb.Next() {
					s.Find(c, t0, f)
					s.Keep(c, f, f.Backend, t0)
				}
			})
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	s := manager(b, secret).Sessions("web")
	s.Configure(Options{Type: Cookie})
	f := new(Finding)
	b.ReportAllocs()
	for b.Loop() {
		s.Keep(&Client{}, f, "backend-17", t0)
	}
}
