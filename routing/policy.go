package routing

import (
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/probe"
)

// Policy is how a service is balanced, probed, broken, retried, stuck and timed out. It is complete: all defaults are
// filled in. Policies are comparable with ==.
type Policy struct {
	Algorithm balance.Algorithm
	Hash      Hash
	// SlowStart is how long a backend that becomes ready takes to get its whole share; 0 gives it at once.
	SlowStart time.Duration
	// PanicThreshold is the share of backends (0 to 1) of which fewer being ready means that all take part; with 0 they do
	// when none is ready, below 0 never.
	PanicThreshold float64
	// IgnoreZones has backends of all zones chosen alike.
	IgnoreZones bool
	// Subset is of about how many backends this balancer uses any; 0 means all.
	Subset int
	// Health says whose word on a backend's health counts; empty means [HealthBoth].
	Health HealthRule
	Probe  probe.Options
	// ProbeTLS is how probes verify backends.
	ProbeTLS probe.TLS
	// ProbeBy is how many balancers of a fleet probe each backend and tell the others; 0 has each probe all.
	ProbeBy int
	Breaker breaker.Options
	Outlier breaker.OutlierOptions
	// Limit has the attempts under way at a backend bounded by what it is found to be able to take.
	Limit    breaker.LimitOptions
	Affinity affinity.Options
	Retry    Retry
	Hedge    Hedge
	Timeouts Timeouts
	TLS      BackendTLS
	// Connections bounds those to each backend.
	Connections Connections
	// ProxyProtocol is the version of the PROXY protocol that backends are told clients' addresses in; 0 is none. Each
	// connection to a backend belongs to one client's connection then.
	ProxyProtocol uint8
}

// HashBy is what of a request is hashed.
type HashBy string

// What can be hashed. The zero value is HashAddress.
const (
	HashAddress HashBy = "address"
	HashHeader  HashBy = "header"
	HashCookie  HashBy = "cookie"
	HashPath    HashBy = "path"
	HashQuery   HashBy = "query"
)

// Hash says what algorithms that are consistent choose by. Others do not look at it.
type Hash struct {
	By HashBy
	// Name is that of the header field, the cookie or the query's parameter. A header's is in canonical form.
	Name string
	// MaxLoad bounds a backend's attempts under way to so many times its share, 1 and up; 0 is no bound.
	MaxLoad float64
	// TableSize is about the number of places in the table; 0 goes by the number of backends.
	TableSize int
}

// Connections bounds the connections to one backend, and says how they are kept.
type Connections struct {
	// MaxIdle is how many idle ones are kept; 0 means the pools' default, negative none.
	MaxIdle int
	// IdleTimeout is how long one is kept idle; 0 means the pools' default.
	IdleTimeout time.Duration
	// MaxConns is how many attempts there are at a time, each of which has a connection to itself; 0 means any number.
	MaxConns int
	// MaxQueue is how many wait for their turn, QueueTimeout for how long at most.
	MaxQueue     int
	QueueTimeout time.Duration
	// KeepAlive is the idle time after which TCP asks whether the backend is still there; 0 means never.
	KeepAlive time.Duration
	// UserTimeout is how long what was sent may stay unacknowledged before a connection counts as broken; 0 means as
	// long as the system waits.
	UserTimeout time.Duration
}

// HealthRule says whose word on a backend's health counts: that of the registry that announces it, that of our own
// probes, or both, each of which can keep a backend from serving.
type HealthRule string

// The rules. A service whose health is the registry's is not probed.
const (
	HealthRegistry HealthRule = "consul"
	HealthProbe    HealthRule = "probe"
	HealthBoth     HealthRule = "both"
)

// Retry says when and how often an exchange is tried again. The zero value never retries.
type Retry struct {
	// MaxRetries is the greatest number of attempts after the first.
	MaxRetries int
	// InitialInterval is the wait before the second retry; the first goes to another backend at once. Each further wait
	// is Multiplier times the one before, at most MaxInterval, and varied at random by the share Randomization (0 to 1).
	InitialInterval time.Duration
	MaxInterval     time.Duration
	Multiplier      float64
	Randomization   float64
	// NotOn are the failures that are not retried. Statuses are those that are retried as if they were failures, unless the
	// backend asks for more patience than MaxInterval.
	NotOn    Failures
	Statuses StatusSet
	// Budget is the share of a service's exchanges (0 to 1) that may be retries, over about ten seconds, beyond a
	// floor of ten retries a second; 0 means no limit.
	Budget float64
}

// Hedge says when an exchange that waits for its response is tried at a second backend too, whichever answers first. It
// counts against [Retry.Budget]. The zero value never does so.
type Hedge struct {
	// Percentile (0 to 100) is that of the time to the response's head, over the service's recent exchanges, after which
	// it is done; 0 means never. The wait is MinDelay at least and MaxDelay at most, and MaxDelay while too few are known.
	Percentile         float64
	MinDelay, MaxDelay time.Duration
}

// Timeouts bound the waits of an exchange; 0 means no bound.
type Timeouts struct {
	// Connect bounds the making of a connection to a backend, its TLS handshake included.
	Connect time.Duration
	// ResponseHead bounds the wait for a response's head after the request was sent.
	ResponseHead time.Duration
	// Exchange bounds the whole exchange, all attempts and bodies included. Tunnels are exempt.
	Exchange time.Duration
	// ClientIdle bounds the time for which a client sends nothing of a body, or takes nothing of a response; BackendIdle
	// that for which a backend takes nothing of a body, or sends nothing of a response that has begun.
	ClientIdle, BackendIdle time.Duration
	// TunnelIdle bounds the time for which neither side of a tunnel sends anything.
	TunnelIdle time.Duration
}

// BackendTLS says how https backends are verified. The zero value verifies the backend's host name against the
// system's authorities.
type BackendTLS struct {
	// ServerName is verified, and sent as SNI, instead of the host in the backend's URL.
	ServerName string
	// CAFile holds the authorities (PEM) instead of the system's.
	CAFile string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
}
