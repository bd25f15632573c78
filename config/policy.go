package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Policy is how a service is balanced, probed, broken, retried, stuck and timed out. It is complete: all defaults are
// filled in. Policies are comparable with ==.
type Policy struct {
	// Algorithm is one of [Algorithms].
	Algorithm string
	Hash      Hash
	// SlowStart is how long a backend that becomes ready takes to get its whole share; 0 gives it at once.
	SlowStart time.Duration
	// PanicThreshold is the share of backends of which fewer being ready has all take part; 0 means when none is, below 0
	// never.
	PanicThreshold float64
	// Zones is "prefer" or "ignore".
	Zones  string
	Subset Subset
	// Health says whose word on a backend's health counts: "consul", "probe" or "both".
	Health           string
	HealthCheck      HealthCheck
	CircuitBreaker   CircuitBreaker
	OutlierDetection OutlierDetection
	// AdaptiveConcurrency bounds what is under way at a backend by what it is found to be able to take.
	AdaptiveConcurrency AdaptiveConcurrency
	StickySession       StickySession
	Retry               Retry
	Hedge               Hedge
	Timeouts            Timeouts
	BackendTLS          BackendTLS
	Connections         Connections
	// ProxyProtocol is "off", "v1" or "v2".
	ProxyProtocol string
}

// Connections bounds the connections to one backend, and says how they are kept.
type Connections struct {
	// MaxIdle is how many idle ones are kept, 0 for none; IdleTimeout for how long.
	MaxIdle     int
	IdleTimeout time.Duration
	// MaxConns is how many exchanges there are at a time, 0 for any number; MaxQueue how many wait for their turn, and
	// QueueTimeout for how long.
	MaxConns, MaxQueue int
	QueueTimeout       time.Duration
	// KeepAlive is the idle time after which TCP asks for the backend; 0 means never.
	KeepAlive time.Duration
	// UserTimeout is how long what was sent may stay unacknowledged; 0 means as long as the system waits.
	UserTimeout time.Duration
}

// Hash says what algorithms that are consistent choose by.
type Hash struct {
	// By is "address", "header", "cookie", "path" or "query"; Name is that of the header, cookie or parameter.
	By, Name string
	// MaxLoad is how many times its share of what is under way a backend may have, 1 and up; 0 is no bound.
	MaxLoad float64
	// TableSize is about the number of places in the table; 0 goes by the number of backends.
	TableSize int
}

// Subset says how many backends one balancer uses. Which is [Config.Position].
type Subset struct {
	// Size is about how many; 0 means all.
	Size int
}

// HealthCheck says how backends are probed.
type HealthCheck struct {
	// Type is "http", "tcp" or "grpc".
	Type string
	// Interval is the time from one probe to the next; 0 means that backends are not probed. UnhealthyInterval is that
	// while a backend is not healthy, 0 for the same.
	Interval, UnhealthyInterval time.Duration
	Timeout                     time.Duration
	// FailureThreshold and SuccessThreshold are how many results in a row change the verdict, 1 and up.
	FailureThreshold, SuccessThreshold int
	// InitialState is "probing" or "up".
	InitialState string
	// Share is "etcd" where the balancers of a fleet probe for each other, ShareBy of them each backend; else "off".
	Share   string
	ShareBy int

	Method, Path, Host string
	// Headers are lines "Name: value".
	Headers string
	// Statuses are in normal form: "200-299, 401".
	Statuses         string
	Body, BodyRegexp string
	GRPCService      string
	// Port is 0 and Scheme empty for those of the backend.
	Port   int
	Scheme string
	// TLS is how the probe verifies the backend where that differs from [Policy.BackendTLS]: what is empty or false is
	// taken from there.
	TLS BackendTLS
}

// CircuitBreaker says when a backend's breaker opens and how it closes again.
type CircuitBreaker struct {
	// FailureThreshold is how many failures in a row open the breaker, FailureRate which share of the outcomes in Window
	// once there were MinVolume; 0 means that none does.
	FailureThreshold int
	FailureRate      float64
	Window           time.Duration
	MinVolume        int
	// Failures are causes, of 5xx, gateway, connect, timeout and reset, separated by ", ".
	Failures        string
	ResetTimeout    time.Duration
	ResetMultiplier float64
	MaxResetTimeout time.Duration
	ResetJitter     float64
	HalfOpenLimit   int
}

// AdaptiveConcurrency says within which bounds the limit of a backend is sought.
type AdaptiveConcurrency struct {
	Enabled                          bool
	MinLimit, MaxLimit, InitialLimit int
	// Tolerance is how many times its latency without load a backend may take before its limit goes down.
	Tolerance float64
}

// OutlierDetection says which backends are ejected for a while because they stand out.
type OutlierDetection struct {
	// Enabled says whether there is any; the rest means nothing without.
	Enabled bool
	// Consecutive5xx and ConsecutiveGateway are failures in a row, of all kinds and of those that are no answer of the
	// backend's own; 0 means that no number ejects.
	Consecutive5xx, ConsecutiveGateway int
	// SuccessRateStdev and LatencyFactor compare backends over Interval; 0 means that they are not compared.
	SuccessRateStdev, LatencyFactor float64
	Interval                        time.Duration
	MinHosts, MinVolume             int
	BaseEjectionTime                time.Duration
	MaxEjectionTime                 time.Duration
	MaxEjectionPercent              int
}

// StickySession says whether and how clients stay with their backend. The sealing key is [Config.SessionKey].
type StickySession struct {
	Enabled bool
	// Type is "cookie", "address" or "header".
	Type       string
	CookieName string
	CookiePath string
	// CookieDomain is empty for the host that sets the cookie.
	CookieDomain string
	// CookieSameSite is "lax", "strict" or "none", CookieSecure "auto", "always" or "never".
	CookieSameSite string
	CookieSecure   string
	HeaderName     string
	// AddressIPv6Prefix is how many leading bits of an IPv6 address are one client.
	AddressIPv6Prefix int
	// Timeout is how long a session lasts after its last exchange.
	Timeout time.Duration
	// Store is "none", "memory" or "etcd".
	Store string
	// Return sends a client back to the backend that it had to leave.
	Return          bool
	MaxSessions     int
	CleanupInterval time.Duration
}

// Retry says when and how often an exchange is tried again.
type Retry struct {
	MaxRetries      int
	InitialInterval time.Duration
	MaxInterval     time.Duration
	Multiplier      float64
	Randomization   float64
	// On are the failures and statuses that are retried, in a text: words of retry.on, separated by commas, or "none".
	On string
	// Budget is the share of a service's exchanges that may be retries, 0 to 1; 0 means no limit.
	Budget float64
}

// Hedge says when an exchange that waits for its response is tried at a second backend too.
type Hedge struct {
	// Enabled says whether it ever is; the rest means nothing without.
	Enabled bool
	// Percentile is that of the time to the response after which it is done, within MinDelay and MaxDelay.
	Percentile         float64
	MinDelay, MaxDelay time.Duration
}

// Timeouts bound the waits of an exchange; 0 means no bound.
type Timeouts struct {
	Connect, ResponseHead, Exchange     time.Duration
	ClientIdle, BackendIdle, TunnelIdle time.Duration
}

// BackendTLS says how https backends are verified.
type BackendTLS struct {
	ServerName         string
	CAFile             string
	InsecureSkipVerify bool
}

// Overlay is the settings of a policy that one place gives; what it does not give is unset, which is not the same as
// zero. The zero value gives nothing. Overlays are not changed once they were handed over.
type Overlay struct {
	// given maps the path of a key, retry.max_retries, to its value.
	given map[string]any
}

// Keys are the paths of the settings that are given, sorted.
func (o Overlay) Keys() []string { return slices.Sorted(maps.Keys(o.given)) }

// Has reports whether a setting is given, by its path, or any of a block's, by the block's name.
func (o Overlay) Has(key string) bool {
	if _, ok := o.given[key]; ok {
		return true
	}
	for k := range o.given {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// Text is the overlay as a policy text (JSON); nil if nothing is given.
func (o Overlay) Text() []byte {
	if len(o.given) == 0 {
		return nil
	}
	tree := map[string]any{}
	for key, v := range o.given {
		if d, ok := v.(time.Duration); ok {
			v = formatDuration(d)
		}
		if f, ok := v.(float64); ok && f < 0 {
			v = "never" // see panicShare
		}
		in := tree
		group, name, nested := strings.Cut(key, ".")
		if nested {
			if tree[group] == nil {
				tree[group] = map[string]any{}
			}
			in, _ = tree[group].(map[string]any)
		} else {
			name = group
		}
		in[name] = v
	}
	text, err := json.Marshal(tree)
	if err != nil {
		panic("config: a setting that JSON cannot hold: " + err.Error()) // kinds read finite numbers, texts and booleans only
	}
	return text
}

func (o *Overlay) set(key string, v any) {
	if o.given == nil {
		o.given = map[string]any{}
	}
	o.given[key] = v
}

// resolve lays overlays over the built-in defaults, the weakest first.
func resolve(layers ...Overlay) Policy {
	p := builtin()
	all := Overlay{}
	for _, o := range layers {
		for key, v := range o.given {
			all.set(key, v)
		}
	}
	for key, v := range all.given {
		policyIndex[key].assign(&p, v)
	}
	// What costs something is off until it is asked for.
	if !all.Has("health_check.type") && !all.Has("health_check.interval") && !all.Has("health_check.path") {
		p.HealthCheck.Interval = 0
	}
	if !all.Has("circuit_breaker") {
		p.CircuitBreaker.FailureThreshold = 0
	} else if p.CircuitBreaker.FailureRate > 0 && !all.Has("circuit_breaker.failure_threshold") {
		p.CircuitBreaker.FailureThreshold = 0 // the rate alone was asked for
	}
	if !all.Has("outlier_detection.enabled") {
		p.OutlierDetection.Enabled = all.Has("outlier_detection")
	}
	if !all.Has("adaptive_concurrency.enabled") {
		p.AdaptiveConcurrency.Enabled = all.Has("adaptive_concurrency")
	}
	if !all.Has("hedge.enabled") {
		p.Hedge.Enabled = all.Has("hedge")
	}
	if p.Health == "consul" {
		p.HealthCheck.Interval = 0
	}
	if !all.Has("sticky_session.enabled") {
		p.StickySession.Enabled = all.Has("sticky_session.type")
	}
	return p
}

// Policy is the complete policy of a service: the built-in defaults, under the configuration's top level, under the
// texts announced by sources, under the configuration's block for the service. Of the texts the first is the strongest.
// A text that cannot be read is left out, and its error returned at its index; the errors are as many as the texts.
func (c *Config) Policy(service string, texts ...[]byte) (Policy, []error) {
	layers := make([]Overlay, 0, len(texts)+2)
	layers = append(layers, c.Defaults)
	errs := make([]error, len(texts))
	for i, text := range slices.Backward(texts) {
		o, problems := parsePolicy(text)
		if errs[i] = problems.textErr(); errs[i] == nil {
			layers = append(layers, o)
		}
	}
	return resolve(append(layers, c.Services[service].Policy)...), errs
}

// CheckPolicy reports all that is wrong with a policy text: a block as under services: in the file, without backends.
func CheckPolicy(text []byte) error {
	_, problems := parsePolicy(text)
	return problems.textErr()
}

func parsePolicy(text []byte) (Overlay, Problems) {
	var o Overlay
	d := &decoder{report: &report{}}
	doc := read(newSource("", text), textLimits, false, d.report)
	if doc.root != nil && !doc.broken {
		policyBlock.decode(d, doc.root, &o)
	}
	d.problems.sort()
	return o, d.problems
}
