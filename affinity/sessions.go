package affinity

import (
	"crypto/rand"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Client is what a client is recognised by.
type Client struct {
	// Cookies are the values of the request's Cookie fields.
	Cookies []string
	// Addr is where the request came from.
	Addr netip.Addr
	// Header is the value of the field called [Options.HeaderName]; empty for none. [Sessions.Find] alone looks at it.
	Header string
	// Secure reports whether it came over TLS.
	Secure bool
}

// Finding is what [Sessions.Find] learned of a request. It may be used again for another request.
type Finding struct {
	// Backend is the ID of the backend that the client is bound to; empty for none. It is valid until the Finding is
	// used again, so whoever keeps it longer clones it.
	Backend string
	// Home is the ID of the backend that the client had to leave and returns to as soon as that can take it; empty for
	// none. It is as valid as Backend.
	Home string

	// key is what the client's session is remembered by; zero if the client presented nothing to tell it by.
	key key
	// id is the identifier within the cookie of a shared session.
	id key
	// issued is when the client was last sent a cookie for its session; for sealed cookies it follows from the expiry.
	issued time.Time
	// taken says that a cookie of the configured name belongs to another service.
	taken bool
	// old says that the cookie is to be replaced: it was sealed under a secret that seals no more, or does not say what
	// the store says.
	old bool
	buf [maxSealed]byte
}

// Sessions are the sessions of one service. All methods may be called concurrently.
type Sessions struct {
	service string
	mark    string
	seals   atomic.Pointer[sealers]
	config  atomic.Pointer[config]

	// mu guards changes of config and the making of the stores.
	mu      sync.Mutex
	stopped bool
	// Each kind of sessions is remembered by itself; nil until it is needed. Shared ones are all in one.
	byCookie, byAddr, byHeader, shared atomic.Pointer[memory]
	share                              *share // the manager's
	forgotten                          bool   // guarded by the manager: the service is gone, its shared sessions are not yet
}

func (s *Sessions) memories() [4]*atomic.Pointer[memory] {
	return [...]*atomic.Pointer[memory]{&s.byCookie, &s.byAddr, &s.byHeader, &s.shared}
}

// config is what follows from options, made once.
type config struct {
	given Options
	Options
	// suffixed is the cookie's name where the configured one is taken.
	suffixed string
	// clear and secure are the cookie's attributes.
	clear, secure string
}

func newSessions(secrets [][]byte, service string, share *share) *Sessions {
	s := &Sessions{service: service, mark: markOf(service), share: share}
	s.seals.Store(newSealers(secrets, service))
	s.config.Store(s.newConfig(Options{}))
	return s
}

func (s *Sessions) newConfig(o Options) *config {
	c := &config{given: o, Options: o.withDefaults()}
	c.suffixed = c.CookieName + "-" + s.service
	c.clear, c.secure = c.attributes(false), c.attributes(true)
	return c
}

// Configure sets the options. Sessions go on as far as the new options know them: a remembered session survives any
// change that leaves its type and store, a sealed one also that of the timeout. With equal options it does nothing and
// costs little.
func (s *Sessions) Configure(o Options) {
	if s.config.Load().given == o {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.newConfig(o)
	for _, p := range s.memories() {
		if m := p.Load(); m != nil {
			m.setLimit(c.MaxSessions)
			m.setEvery(c.CleanupInterval)
		}
	}
	s.config.Store(c)
}

// Options are the options in force, defaults filled in.
func (s *Sessions) Options() Options { return s.config.Load().Options }

// Active is the number of sessions that are remembered.
func (s *Sessions) Active() int64 {
	var n int64
	for _, p := range s.memories() {
		if m := p.Load(); m != nil {
			n += m.active.Load()
		}
	}
	return n
}

// Find looks up the client's session.
func (s *Sessions) Find(c *Client, now time.Time, f *Finding) {
	f.Backend, f.Home, f.key, f.id, f.issued, f.taken, f.old = "", "", key{}, key{}, time.Time{}, false, false
	o := s.config.Load()
	switch o.Type {
	case Cookie:
		s.findCookie(o, c, now, f)
		return
	case Address:
		f.key = addrKey(o.client(c.Addr))
	case Header:
		if c.Header != "" {
			f.key = hashKey("header", s.service, c.Header)
		}
	}
	if f.key == (key{}) {
		return
	}
	switch o.Store {
	case StoreMemory:
		s.recall(s.memory(o), f.key, now, f)
	case StoreEtcd:
		if o.Type == Address {
			f.key = hashKey("address", s.service, stringOf(f.key[:]))
		}
		s.recall(&s.shared, f.key, now, f)
	}
}

// recall takes what is remembered of a key, and reports whether anything is.
func (s *Sessions) recall(p *atomic.Pointer[memory], k key, now time.Time, f *Finding) bool {
	m := p.Load()
	if m == nil {
		return false
	}
	b, ok := m.get(k, now)
	if ok {
		f.Backend, f.Home, f.issued = b.backend, b.home, b.issued
	}
	return ok
}

// memory is where sessions of the configured type are remembered.
func (s *Sessions) memory(o *config) *atomic.Pointer[memory] {
	switch {
	case o.Store == StoreEtcd:
		return &s.shared
	case o.Type == Address:
		return &s.byAddr
	case o.Type == Header:
		return &s.byHeader
	}
	return &s.byCookie
}

// Hash is what chooses the client's backend by [Rendezvous] where nothing is stored: a hash of its address or header.
// Ok is false where sessions are stored, in a cookie or in memory, or the client has no such header.
func (s *Sessions) Hash(f *Finding) (h uint64, ok bool) {
	o := s.config.Load()
	if o.Type == Cookie || o.Store == StoreMemory || o.Store == StoreEtcd || f.key == (key{}) {
		return 0, false
	}
	return hashBytes(stringOf(f.key[:])), true
}

// findCookie tries every cookie of the service's two names until one is a session.
func (s *Sessions) findCookie(o *config, c *Client, now time.Time, f *Finding) {
	for _, field := range c.Cookies {
		for field != "" {
			var name, value string
			name, value, field = nextCookie(field)
			if name != o.CookieName && name != o.suffixed {
				continue
			}
			mark := ownerMark(value)
			if mark != s.mark {
				f.taken = f.taken || mark != "" && name == o.CookieName
				continue
			}
			if f.Backend == "" {
				s.readValue(o, value[markLen:], now, f)
			}
		}
	}
}

// readValue takes the session of a value, without its mark, if it is one.
func (s *Sessions) readValue(o *config, value string, now time.Time, f *Finding) {
	if o.Store == StoreMemory {
		if len(value) != idLen {
			return
		}
		var k key
		if n, err := encoding.Decode(k[:], bytesOf(value)); err != nil || n != len(k) {
			return
		}
		if s.recall(&s.byCookie, k, now, f) {
			f.key = k
		}
		return
	}
	c, old, ok := s.seals.Load().open(&f.buf, value)
	if !ok || !now.Before(c.expires) {
		return
	}
	issued := c.expires.Add(-o.Timeout)
	f.Backend, f.Home, f.id, f.old = c.backend, c.home, c.id, old
	if o.Store == StoreEtcd && c.id != (key{}) {
		// What the replicas agree on goes before what the cookie says; where that is not known, the cookie will do.
		f.key = hashKey("cookie", s.service, stringOf(c.id[:]))
		if s.recall(&s.shared, f.key, now, f) {
			f.old = old || f.Backend != c.backend || f.Home != c.home
		}
	}
	f.issued = issued
}

// Keep binds the client to the backend that answered it, given what Find learned. It returns the value of a Set-Cookie
// field to send, empty for none, and reports whether a session began. The ID of the backend must last.
func (s *Sessions) Keep(c *Client, f *Finding, backend string, now time.Time) (setCookie string, began bool) {
	o := s.config.Load()
	if len(backend) > maxID {
		return "", false
	}
	b := bound{backend: backend, expires: now.Add(o.Timeout), issued: f.issued}
	began = f.Backend != backend
	if o.Return {
		switch {
		case f.Home != "" && f.Home != backend:
			b.home = f.Home
		case f.Home == "" && began:
			b.home = f.Backend
		}
	}
	stored := o.Store == StoreMemory || o.Store == StoreEtcd
	if o.Type == Cookie {
		return s.keepCookie(o, c, f, b, began || f.Home != b.home, now), began
	}
	if !stored || f.key == (key{}) {
		return "", false
	}
	s.store(s.memory(o), o).put(f.key, b)
	return "", began
}

// keepCookie keeps a session by cookie; changed says that it is with another backend than before.
func (s *Sessions) keepCookie(o *config, c *Client, f *Finding, b bound, changed bool, now time.Time) string {
	remembered := o.Store == StoreMemory
	fresh := stale(f.issued, o.Timeout, now)
	k, id := f.key, f.id
	switch {
	case remembered:
		if k == (key{}) {
			k, fresh = newKey(), true
		}
	default:
		fresh = fresh || changed || f.old
		if o.Store == StoreEtcd && id == (key{}) {
			id, fresh = newKey(), true
			k = hashKey("cookie", s.service, stringOf(id[:]))
		}
	}
	if fresh {
		b.issued = now
	}
	if o.Store == StoreMemory || o.Store == StoreEtcd {
		s.store(s.memory(o), o).put(k, b)
	}
	if !fresh {
		return ""
	}
	var buf [1024]byte
	text := beginSetCookie(buf[:0], o.name(f), s.mark)
	if remembered {
		text = encoding.AppendEncode(text, k[:])
	} else {
		text = s.seals.Load().newest.appendSealed(text, sealed{backend: b.backend, home: b.home, id: id, expires: b.expires})
	}
	if o.Options.secure(c.Secure) {
		return string(append(text, o.secure...))
	}
	return string(append(text, o.clear...))
}

// newKey is a random identifier that nobody guesses.
func newKey() (k key) {
	rand.Read(k[:]) // never fails
	return k
}

// stale reports whether less than half of a session's time is left to a cookie, or more than there is to have.
func stale(issued time.Time, timeout time.Duration, now time.Time) bool {
	age := now.Sub(issued)
	return age > timeout/2 || age < -time.Minute
}

// name is the cookie's name for a client with these cookies.
func (c *config) name(f *Finding) string {
	if f.taken {
		return c.suffixed
	}
	return c.CookieName
}

// store returns the memory behind the pointer and makes it if need be.
func (s *Sessions) store(p *atomic.Pointer[memory], o *config) *memory {
	if m := p.Load(); m != nil {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := p.Load()
	if m == nil {
		m = newMemory(o.MaxSessions, o.CleanupInterval)
		if p == &s.shared {
			m.share, m.service = s.share, s.service
		}
		if s.stopped {
			m.stop()
		}
		p.Store(m)
	}
	return m
}

// stop ends the memories' background work.
func (s *Sessions) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, p := range s.memories() {
		if m := p.Load(); m != nil {
			m.stop()
		}
	}
}
