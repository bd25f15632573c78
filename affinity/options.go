package affinity

import "time"

// Type is what recognises a client.
type Type string

// The types of affinity. The zero value is none.
const (
	None    Type = ""
	Cookie  Type = "cookie"
	Address Type = "address"
	Header  Type = "header"
)

// Options say how a service's sessions work. The zero value has none. Options are comparable.
type Options struct {
	Type Type
	// CookieName is the name of the cookie; empty means session_id. The service's own name is bound into the value, so
	// that one service's cookie says nothing to another.
	CookieName string
	// CookiePath and CookieDomain say where clients send the cookie; empty means everywhere on the host that set it.
	CookiePath, CookieDomain string
	// CookieSameSite says whether it goes along with foreign sites' requests: lax, strict or none; empty means lax. A
	// cookie that is not secure has no such attribute where it would be none, since clients would not take it.
	CookieSameSite string
	// CookieSecure says whether the cookie goes over TLS alone: auto, if it was set over TLS; always; never. Empty means auto.
	CookieSecure string
	// HeaderName is the header field whose value is the client's, for sessions by header.
	HeaderName string
	// AddressIPv6Prefix is how many of the leading bits of an IPv6 address are one client; 0 means all.
	AddressIPv6Prefix int
	// Timeout is how long a session lasts after its last exchange; 0 means 1 h.
	Timeout time.Duration
	// Store is where sessions live: "none" (the sealed cookie itself, or a hash of the address or header), "memory", or
	// "etcd", which is memory that replicas share.
	Store string
	// Return sends a client back to the backend that it had to leave, once that can take it again.
	Return bool
	// MaxSessions bounds the memory; 0 means 100,000. The least recently used session goes first.
	MaxSessions int
	// CleanupInterval is how often expired sessions leave the memory; 0 means 1 min.
	CleanupInterval time.Duration
}

// The stores of sessions. The zero value means StoreNone.
const (
	StoreNone   = "none"
	StoreMemory = "memory"
	StoreEtcd   = "etcd"
)

// Defaults of the zero fields of [Options].
const (
	DefaultCookieName      = "session_id"
	DefaultTimeout         = time.Hour
	DefaultMaxSessions     = 100_000
	DefaultCleanupInterval = time.Minute
)

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.CookieName == "" {
		o.CookieName = DefaultCookieName
	}
	if o.CookiePath == "" {
		o.CookiePath = "/"
	}
	if o.AddressIPv6Prefix <= 0 {
		o.AddressIPv6Prefix = 128
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxSessions <= 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.CleanupInterval <= 0 {
		o.CleanupInterval = DefaultCleanupInterval
	}
	return o
}
