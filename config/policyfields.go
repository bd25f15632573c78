package config

import (
	"strconv"
	"strings"
	"time"
)

var algorithms = choice{
	words: []string{"round-robin", "weighted-round-robin", "least-connections", "random", "p2c", "ewma", "least-time", "maglev", "ring"},
}

// Algorithms are the names of the algorithms, in the order of the documentation.
func Algorithms() []string { return append([]string(nil), algorithms.words...) }

// policyField is a setting of a policy.
type policyField struct {
	field[Overlay]
	key    string
	assign func(*Policy, any)
	value  func() any // the built-in value
}

func (f policyField) doc(text string) policyField      { f.about = text; return f }
func (f policyField) alias(name string) policyField    { f.field = f.field.alias(name); return f }
func (f policyField) otherwise(def string) policyField { f.def = def; return f }

// policyGroup is a block of a policy, or its top level if it has no name.
type policyGroup struct {
	name, about string
	fields      []policyField
	hints       map[string]string
	check       func(d *decoder, n *node, to *Overlay)
}

// setting is a policyField of the group of that name.
func setting[V any](group, name string, k kind[V], at func(*Policy) *V) policyField {
	std := builtin()
	key := name
	if group != "" {
		key = group + "." + name
	}
	return policyField{
		field: field[Overlay]{
			&info{name: name, typ: k.name, def: k.format(*at(&std))},
			func(d *decoder, n *node, to *Overlay) {
				if v, ok := scalar(d, n, k); ok {
					to.set(key, v)
				}
			},
		},
		key:    key,
		assign: func(p *Policy, v any) { *at(p) = v.(V) },
		value:  func() any { p := builtin(); return *at(&p) },
	}
}

const (
	someTime = time.Millisecond // the least of waits that must not be 0
	upTo     = 1_000_000
)

var policyGroups = []policyGroup{
	{fields: []policyField{
		setting("", "algorithm", algorithms.kind(), func(p *Policy) *string { return &p.Algorithm }).
			doc("How a backend is chosen. `round-robin`: each in turn, whatever its weight. `weighted-round-robin`: in turn, as often as its weight says, evenly spread. `least-connections`: the one with the fewest exchanges under way for its weight. `random`: at random, as often as its weight says. `p2c`: the less busy of two drawn at random by weight, or the one that answers clearly faster. `ewma`: of two drawn at random the one with the least product of recent peak latency and exchanges under way. `least-time`: the one with the least product of mean latency and exchanges under way for its weight. `maglev` and `ring`: the one that a hash of the request leads to, see `hash`. More in algorithms.md."),
		setting("", "slow_start", duration(100*time.Millisecond, true), func(p *Policy) *time.Duration { return &p.SlowStart }).
			doc("How long a backend that becomes ready, while others are, takes to get its whole share: a tenth at first, then evenly more. 0 gives it at once."),
		setting("", "panic_threshold", panicShare(), func(p *Policy) *float64 { return &p.PanicThreshold }).
			otherwise("none left").doc("When fewer than this share of the backends are ready, all take part but those in drain, of weight 0 or with an open breaker. 0 means when none is left; `never` answers 503 then."),
		setting("", "zones", choice{words: []string{"prefer", "ignore"}}.kind(), func(p *Policy) *string { return &p.Zones }).
			doc("`prefer` keeps to backends of the balancer's `zone` as far as they can bear what comes in there, and sends the rest to the others; `ignore` treats all alike. `maglev` and `ring` do not heed zones."),
		setting("", "proxy_protocol", choice{words: []string{"off", "v1", "v2"}, alias: map[string]string{"false": "off", "1": "v1", "2": "v2"}}.kind(), func(p *Policy) *string { return &p.ProxyProtocol }).
			doc("Whether backends are told the client's address by a PROXY header, and its version. A connection to a backend then serves one client's connection alone."),
	}},
	{name: "hash", about: "What `maglev` and `ring` choose by.", fields: []policyField{
		setting("hash", "by", choice{words: []string{"address", "header", "cookie", "path", "query"}}.kind(), func(p *Policy) *string { return &p.Hash.By }).
			doc("The client's address (IPv6 by its first 64 bits), the first header field, cookie or query parameter called `name`, or the path without its query. Requests without it go to any backend."),
		setting("hash", "name", text("name", checkToken), func(p *Policy) *string { return &p.Hash.Name }).
			otherwise("none").doc("Name of the header field, the cookie or the parameter."),
		setting("hash", "max_load", maxLoad(), func(p *Policy) *float64 { return &p.Hash.MaxLoad }).
			doc("How many times its share of all that is under way a backend may have, such as 1.25; what is more goes to the next for its key. 0 is no bound."),
		setting("hash", "table_size", integer(0, 4_194_319), func(p *Policy) *int { return &p.Hash.TableSize }).
			otherwise("by the number of backends").doc("About how many places the table has. The size that is taken else grows at 327, 1310, 5242 and 10485 backends, which moves most keys of `maglev`."),
	}, check: func(d *decoder, n *node, to *Overlay) {
		by, _ := to.given["hash.by"].(string)
		named := to.given["hash.name"] != nil
		switch by {
		case "header", "cookie", "query":
			if !named && !d.overlay { // the file may name it
				d.child(n, "name", "is missing", "name the "+map[string]string{"header": "header field", "cookie": "cookie", "query": "query parameter"}[by])
			}
		case "address", "path":
			if named {
				d.child(n, "name", "has no meaning for a hash of the "+by, "take it out")
			}
		}
	}},
	{name: "subset", about: "For services of very many backends under many balancers: each balancer uses some of them, all together use all evenly.", hints: map[string]string{
		"index": "it is the balancer's, not a service's: set subset.index at the top level of the configuration",
		"of":    "it is the balancer's, not a service's: set subset.of at the top level of the configuration",
	}, fields: []policyField{
		setting("subset", "size", integer(0, upTo), func(p *Policy) *int { return &p.Subset.Size }).
			doc("About how many backends this balancer uses. 0 means all."),
	}},
	{fields: []policyField{
		setting("", "health", healthRules.kind(), func(p *Policy) *string { return &p.Health }).
			doc("Whose word on a backend's health counts: `consul` (or `registry`) that of the registry's own checks alone, `probe` that of our probes alone, `both` either of them can keep a backend from serving. Registries without checks have nothing to say. See health.md."),
	}},
	{name: "health_check", about: "Active probes. Backends are probed when `type`, `interval` or `path` is given and the interval is not 0. See health.md.", fields: []policyField{
		setting("health_check", "type", choice{words: []string{"http", "tcp", "grpc"}}.kind(), func(p *Policy) *string { return &p.HealthCheck.Type }).
			doc("`http` asks for `path` and judges the response; `tcp` wants a connection; `grpc` calls grpc.health.v1.Health/Check."),
		setting("health_check", "interval", duration(10*time.Millisecond, true), func(p *Policy) *time.Duration { return &p.HealthCheck.Interval }).
			otherwise("10s once backends are probed").doc("Time from one probe of a backend to the next, varied by a tenth. 0 turns probes off."),
		setting("health_check", "unhealthy_interval", duration(10*time.Millisecond, true), func(p *Policy) *time.Duration { return &p.HealthCheck.UnhealthyInterval }).
			otherwise("`interval`").doc("The same while the backend is not healthy."),
		setting("health_check", "timeout", duration(someTime, false), func(p *Policy) *time.Duration { return &p.HealthCheck.Timeout }).
			doc("Bound of one probe."),
		setting("health_check", "failure_threshold", integer(1, upTo), func(p *Policy) *int { return &p.HealthCheck.FailureThreshold }).
			doc("Failures in a row that make a backend unhealthy."),
		setting("health_check", "success_threshold", integer(1, upTo), func(p *Policy) *int { return &p.HealthCheck.SuccessThreshold }).
			doc("Successes in a row that make it healthy again."),
		setting("health_check", "initial_state", choice{words: []string{"probing", "up"}}.kind(), func(p *Policy) *string { return &p.HealthCheck.InitialState }).
			doc("What a new backend is: `probing` takes nothing until its first probe, which comes at once and decides alone; `up` serves until probes have failed often enough."),
		setting("health_check", "share", choice{words: []string{"off", "etcd"}}.kind(), func(p *Policy) *string { return &p.HealthCheck.Share }).
			doc("`etcd` has the balancers of a fleet probe for each other: `share_by` of them each backend, and tell the others through `fleet.store`. `off` has each probe all. See health.md."),
		setting("health_check", "share_by", integer(1, upTo), func(p *Policy) *int { return &p.HealthCheck.ShareBy }).
			doc("How many balancers probe each backend where probes are shared. More than half of them have to find it down."),
		setting("health_check", "path", text("path", checkTarget), func(p *Policy) *string { return &p.HealthCheck.Path }).
			doc("What an http probe asks for; a query may follow."),
		setting("health_check", "method", text("method", checkMethod), func(p *Policy) *string { return &p.HealthCheck.Method }).
			doc("Method of an http probe."),
		setting("health_check", "host", text("host, or host:port", checkProbeHost), func(p *Policy) *string { return &p.HealthCheck.Host }).
			otherwise("that of the backend's URL").doc("Host field of an http probe, authority of a grpc one."),
		headers("health_check", "headers", func(p *Policy) *string { return &p.HealthCheck.Headers }).
			otherwise("none").doc("Further header fields of an http or grpc probe."),
		setting("health_check", "statuses", statusList(), func(p *Policy) *string { return &p.HealthCheck.Statuses }).
			doc("Statuses that an http probe succeeds by. No redirect is followed."),
		setting("health_check", "body", text("text", nil), func(p *Policy) *string { return &p.HealthCheck.Body }).
			otherwise("anything").doc("Text that the first 256 KiB of the response's body must hold."),
		setting("health_check", "body_regexp", text("regular expression", checkRegexp), func(p *Policy) *string { return &p.HealthCheck.BodyRegexp }).
			otherwise("anything").doc("Pattern that must match somewhere in them (RE2 syntax)."),
		setting("health_check", "grpc_service", text("text", nil), func(p *Policy) *string { return &p.HealthCheck.GRPCService }).
			otherwise("the server as a whole").doc("Service whose health a grpc probe asks for."),
		setting("health_check", "port", integer(0, 65535), func(p *Policy) *int { return &p.HealthCheck.Port }).
			otherwise("that of the backend's URL").doc("Another port to probe. 0 means the backend's."),
		setting("health_check", "scheme", choice{words: []string{"http", "https"}}.kind(), func(p *Policy) *string { return &p.HealthCheck.Scheme }).
			otherwise("that of the backend's URL").doc("Whether an http or grpc probe speaks TLS."),
		setting("health_check", "server_name", text("host name", checkHost), func(p *Policy) *string { return &p.HealthCheck.TLS.ServerName }).
			otherwise("`backend_tls.server_name`").doc("Name that the probe verifies, and sends as SNI."),
		setting("health_check", "ca_file", text("file", checkFile), func(p *Policy) *string { return &p.HealthCheck.TLS.CAFile }).
			otherwise("`backend_tls.ca_file`").doc("PEM file of the authorities that the probe believes."),
		setting("health_check", "insecure_skip_verify", boolean(), func(p *Policy) *bool { return &p.HealthCheck.TLS.InsecureSkipVerify }).
			otherwise("`backend_tls.insecure_skip_verify`").doc("Has the probe accept any certificate."),
	}, check: checkProbe},
	{name: "circuit_breaker", about: "A breaker for each backend. It exists when any key of the block is given and a threshold is not 0. See health.md.", fields: []policyField{
		setting("circuit_breaker", "failure_threshold", integer(0, upTo), func(p *Policy) *int { return &p.CircuitBreaker.FailureThreshold }).
			otherwise("5 once the block is given, 0 beside `failure_rate`").doc("Failures in a row that open the breaker. 0 means that no number does."),
		setting("circuit_breaker", "failure_rate", fraction(0, 1), func(p *Policy) *float64 { return &p.CircuitBreaker.FailureRate }).
			doc("Share of failures among the outcomes of the last `window` that opens the breaker. 0 means that no share does."),
		setting("circuit_breaker", "window", duration(100*time.Millisecond, false), func(p *Policy) *time.Duration { return &p.CircuitBreaker.Window }).
			doc("Time that `failure_rate` is of."),
		setting("circuit_breaker", "min_volume", integer(1, upTo), func(p *Policy) *int { return &p.CircuitBreaker.MinVolume }).
			doc("Outcomes in `window` below which there is no rate."),
		setting("circuit_breaker", "failures", causeList(), func(p *Policy) *string { return &p.CircuitBreaker.Failures }).
			doc("What counts as a failure: `5xx` answers 500 to 599 but for 502 to 504, which are `gateway`; `connect` no connection; `timeout`; `reset` a broken connection or what is no HTTP. A client that left never counts."),
		setting("circuit_breaker", "reset_timeout", duration(someTime, false), func(p *Policy) *time.Duration { return &p.CircuitBreaker.ResetTimeout }).
			doc("How long an open breaker refuses before it lets trials through."),
		setting("circuit_breaker", "reset_multiplier", fraction(1, 100), func(p *Policy) *float64 { return &p.CircuitBreaker.ResetMultiplier }).
			doc("Each time that a trial fails, the breaker is open for so many times longer."),
		setting("circuit_breaker", "max_reset_timeout", duration(someTime, false), func(p *Policy) *time.Duration { return &p.CircuitBreaker.MaxResetTimeout }).
			doc("Bound of that. Less than `reset_timeout` means none."),
		setting("circuit_breaker", "reset_jitter", fraction(0, 1), func(p *Policy) *float64 { return &p.CircuitBreaker.ResetJitter }).
			doc("Share by which the time of being open varies at random."),
		setting("circuit_breaker", "half_open_limit", integer(1, upTo), func(p *Policy) *int { return &p.CircuitBreaker.HalfOpenLimit }).
			doc("Trials under way at a time while half-open, and successes that close the breaker."),
	}},
	{name: "outlier_detection", about: "Passive health: backends that stand out among those of their service are ejected for a while, taking exchanges only where there are no others. It is on when any key of the block is given. See health.md.", fields: []policyField{
		setting("outlier_detection", "enabled", boolean(), func(p *Policy) *bool { return &p.OutlierDetection.Enabled }).
			otherwise("true if the block is given, else false").doc("Whether outliers are looked for."),
		setting("outlier_detection", "consecutive_5xx", integer(0, upTo), func(p *Policy) *int { return &p.OutlierDetection.Consecutive5xx }).
			doc("Failures in a row, answers 5xx and none at all, that eject. 0 means that no number does."),
		setting("outlier_detection", "consecutive_gateway", integer(0, upTo), func(p *Policy) *int { return &p.OutlierDetection.ConsecutiveGateway }).
			doc("The same for failures that are no answer of the backend's own: 502, 503, 504, no connection, resets, timeouts."),
		setting("outlier_detection", "success_rate_stdev", fraction(0, 100), func(p *Policy) *float64 { return &p.OutlierDetection.SuccessRateStdev }).
			doc("Ejects whoever's success rate over `interval` is so many standard deviations below the service's mean. 0 compares no rates."),
		setting("outlier_detection", "latency_factor", fraction(0, 1000), func(p *Policy) *float64 { return &p.OutlierDetection.LatencyFactor }).
			doc("Ejects whoever's mean latency over `interval` is more than so many times the service's median. 0 compares no latencies."),
		setting("outlier_detection", "interval", duration(100*time.Millisecond, false), func(p *Policy) *time.Duration { return &p.OutlierDetection.Interval }).
			doc("Time over which rates and latencies are compared."),
		setting("outlier_detection", "min_hosts", integer(1, upTo), func(p *Policy) *int { return &p.OutlierDetection.MinHosts }).
			doc("Backends with `min_volume` below which none are compared."),
		setting("outlier_detection", "min_volume", integer(1, upTo), func(p *Policy) *int { return &p.OutlierDetection.MinVolume }).
			doc("Outcomes in `interval` below which a backend is not compared."),
		setting("outlier_detection", "base_ejection_time", duration(someTime, false), func(p *Policy) *time.Duration { return &p.OutlierDetection.BaseEjectionTime }).
			doc("How long the first ejection lasts; the next lasts twice as long, the third three times, …"),
		setting("outlier_detection", "max_ejection_time", duration(someTime, false), func(p *Policy) *time.Duration { return &p.OutlierDetection.MaxEjectionTime }).
			doc("Bound of that."),
		setting("outlier_detection", "max_ejection_percent", integer(0, 100), func(p *Policy) *int { return &p.OutlierDetection.MaxEjectionPercent }).
			doc("Share of the service's backends that may be ejected at a time, rounded down."),
	}},
	{name: "adaptive_concurrency", about: "Finds out by its latency how many exchanges each backend can have at a time. What is more goes to others, and is answered 503 with Retry-After where none has room. It is on when any key of the block is given. See health.md.", fields: []policyField{
		setting("adaptive_concurrency", "enabled", boolean(), func(p *Policy) *bool { return &p.AdaptiveConcurrency.Enabled }).
			otherwise("true if the block is given, else false").doc("Whether there is a limit."),
		setting("adaptive_concurrency", "min_limit", integer(1, upTo), func(p *Policy) *int { return &p.AdaptiveConcurrency.MinLimit }).
			doc("The limit does not go below."),
		setting("adaptive_concurrency", "max_limit", integer(1, upTo), func(p *Policy) *int { return &p.AdaptiveConcurrency.MaxLimit }).
			doc("Nor above."),
		setting("adaptive_concurrency", "initial_limit", integer(1, upTo), func(p *Policy) *int { return &p.AdaptiveConcurrency.InitialLimit }).
			doc("The limit before anything is known of a backend."),
		setting("adaptive_concurrency", "tolerance", fraction(1, 100), func(p *Policy) *float64 { return &p.AdaptiveConcurrency.Tolerance }).
			doc("How many times its latency without load a backend may take before its limit goes down."),
	}, check: func(d *decoder, n *node, to *Overlay) {
		least, ok := to.given["adaptive_concurrency.min_limit"].(int)
		if most, both := to.given["adaptive_concurrency.max_limit"].(int); ok && both && least > most {
			d.child(n, "min_limit", "is more than max_limit", "make it at most "+strconv.Itoa(most))
		}
	}},
	{name: "sticky_session", about: "Sessions that keep a client with its backend.", hints: map[string]string{
		"key":  "one key seals the cookies of all services: set sticky_session.key at the top level of the configuration",
		"keys": "the same keys seal the cookies of all services: set sticky_session.keys at the top level of the configuration",
	}, fields: []policyField{
		setting("sticky_session", "enabled", boolean(), func(p *Policy) *bool { return &p.StickySession.Enabled }).
			otherwise("true if `type` is given, else false").doc("Whether there are sessions."),
		setting("sticky_session", "type", choice{words: []string{"cookie", "address", "header"}, alias: map[string]string{"ip": "address"}}.kind(), func(p *Policy) *string { return &p.StickySession.Type }).
			doc("What recognises a client: a cookie, its address, or the value of a header field. `ip` is another name of `address`."),
		setting("sticky_session", "cookie_name", text("name", checkToken), func(p *Policy) *string { return &p.StickySession.CookieName }).
			doc("Name of the cookie."),
		setting("sticky_session", "cookie_path", text("path", checkCookiePath), func(p *Policy) *string { return &p.StickySession.CookiePath }).
			doc("Paths below which clients send the cookie."),
		setting("sticky_session", "cookie_domain", text("domain", checkCookieDomain), func(p *Policy) *string { return &p.StickySession.CookieDomain }).
			otherwise("the host alone").doc("Domain to whose hosts, all below it included, clients send the cookie."),
		setting("sticky_session", "cookie_same_site", choice{words: []string{"lax", "strict", "none"}}.kind(), func(p *Policy) *string { return &p.StickySession.CookieSameSite }).
			otherwise("`lax`").doc("Whether the cookie goes along with requests that other sites cause: `lax` for links alone, `strict` never, `none` always, which clients take over TLS only."),
		setting("sticky_session", "cookie_secure", choice{words: []string{"auto", "always", "never"}}.kind(), func(p *Policy) *string { return &p.StickySession.CookieSecure }).
			doc("Whether the cookie goes over TLS alone: `auto` if the client came over TLS, to here or to a trusted proxy."),
		setting("sticky_session", "header_name", text("name", checkToken), func(p *Policy) *string { return &p.StickySession.HeaderName }).
			otherwise("none").doc("The header field of type `header`. Requests without it have no session."),
		setting("sticky_session", "address_ipv6_prefix", integer(1, 128), func(p *Policy) *int { return &p.StickySession.AddressIPv6Prefix }).
			doc("How many leading bits of an IPv6 address are one client, for type `address`. 64 keeps clients that change the rest of their address."),
		setting("sticky_session", "timeout", duration(someTime, false), func(p *Policy) *time.Duration { return &p.StickySession.Timeout }).
			alias("ttl").doc("How long a session lasts after its last exchange."),
		setting("sticky_session", "store", choice{words: []string{"none", "memory", "etcd"}}.kind(), func(p *Policy) *string { return &p.StickySession.Store }).
			otherwise("`none`").doc("Where sessions live: `none` keeps them in the sealed cookie itself, or in a hash of the address or header; `memory` in this process; `etcd` in memory that replicas share through `fleet.store`. More in sessions.md."),
		setting("sticky_session", "return", boolean(), func(p *Policy) *bool { return &p.StickySession.Return }).
			doc("Whether a client that had to leave its backend goes back there once it can. It else stays with the one that took it in."),
		setting("sticky_session", "max_sessions", integer(1, 100_000_000), func(p *Policy) *int { return &p.StickySession.MaxSessions }).
			doc("Bound of the stores `memory` and `etcd`, for each service. The least recently used session goes first."),
		setting("sticky_session", "cleanup_interval", duration(10*time.Millisecond, false), func(p *Policy) *time.Duration { return &p.StickySession.CleanupInterval }).
			doc("How often expired sessions leave memory."),
	}, check: checkSticky},
	{name: "retry", about: "When an exchange is tried again: only where nothing of a response has gone out, the body can be sent again, and the method is idempotent or the request never reached the backend.", fields: []policyField{
		setting("retry", "max_retries", integer(0, 100), func(p *Policy) *int { return &p.Retry.MaxRetries }).
			doc("Attempts after the first. 0 never retries."),
		setting("retry", "initial_interval", duration(0, true), func(p *Policy) *time.Duration { return &p.Retry.InitialInterval }).
			doc("Wait before the second retry; the first goes to another backend at once."),
		setting("retry", "max_interval", duration(0, true), func(p *Policy) *time.Duration { return &p.Retry.MaxInterval }).
			doc("No wait is longer."),
		setting("retry", "multiplier", fraction(1, 100), func(p *Policy) *float64 { return &p.Retry.Multiplier }).
			doc("Each wait is so many times the one before."),
		setting("retry", "randomization", fraction(0, 1), func(p *Policy) *float64 { return &p.Retry.Randomization }).
			doc("Share by which waits vary at random."),
		setting("retry", "on", retryOn(), func(p *Policy) *string { return &p.Retry.On }).listOrText().
			doc("What is retried. `connect`: no connection to the backend; `reset`: it broke off before its response; `malformed`: what it answered is not HTTP; `timeout`: no response within `timeouts.response_head`; statuses (429, 500 to 599): such a response, of which nothing has gone out. `none` for nothing. A backend's `Retry-After` is waited for before it is asked again, if it is at most `max_interval`; else the response passes."),
		setting("retry", "budget", fraction(0, 1), func(p *Policy) *float64 { return &p.Retry.Budget }).
			doc("Share of a service's exchanges that may be retries, over about ten seconds, beyond a floor of ten a second. 0 means no limit."),
	}, check: func(d *decoder, n *node, to *Overlay) {
		first, _ := to.given["retry.initial_interval"].(time.Duration)
		most, ok := to.given["retry.max_interval"].(time.Duration)
		if ok && first > most {
			d.child(n, "max_interval", "is "+formatDuration(most)+", less than initial_interval, "+formatDuration(first), "make it at least "+formatDuration(first))
		}
	}},
	{name: "hedge", about: "A second attempt at another backend while the first keeps a GET or HEAD without content waiting, whichever answers first; the other one is given up. Clients with a session are left alone. `retry.budget` holds for both. It is on when any key of the block is given. See reliability.md.", fields: []policyField{
		setting("hedge", "enabled", boolean(), func(p *Policy) *bool { return &p.Hedge.Enabled }).
			otherwise("true if the block is given, else false").doc("Whether there are such attempts."),
		setting("hedge", "percentile", fraction(50, 99.9), func(p *Policy) *float64 { return &p.Hedge.Percentile }).
			doc("The second attempt begins when the first has taken longer for its response's head than this percentage of the service's recent ones: with 95 about one exchange in twenty has one."),
		setting("hedge", "min_delay", duration(someTime, false), func(p *Policy) *time.Duration { return &p.Hedge.MinDelay }).
			doc("But not before that time."),
		setting("hedge", "max_delay", duration(someTime, false), func(p *Policy) *time.Duration { return &p.Hedge.MaxDelay }).
			doc("And not after that one, which is waited for too as long as fewer than 100 responses are known."),
	}, check: func(d *decoder, n *node, to *Overlay) {
		least, ok := to.given["hedge.min_delay"].(time.Duration)
		if most, both := to.given["hedge.max_delay"].(time.Duration); ok && both && least > most {
			d.child(n, "max_delay", "is "+formatDuration(most)+", less than min_delay, "+formatDuration(least), "make it at least "+formatDuration(least))
		}
	}},
	{name: "timeouts", about: "Bounds of an exchange's waits. 0 means no bound.", fields: []policyField{
		setting("timeouts", "connect", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Timeouts.Connect }).
			doc("Making a connection to a backend, its TLS handshake included."),
		setting("timeouts", "response_head", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Timeouts.ResponseHead }).
			doc("From the end of the request to a response's head."),
		setting("timeouts", "exchange", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Timeouts.Exchange }).
			doc("The whole exchange, all attempts and bodies included. Tunnels such as WebSockets are exempt."),
		setting("timeouts", "client_idle", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Timeouts.ClientIdle }).
			doc("Time for which a client may send nothing of its body, or take nothing of a response (of a large one: less than 256 KiB)."),
		setting("timeouts", "backend_idle", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Timeouts.BackendIdle }).
			doc("Time for which a backend may take nothing of a body, or send nothing of a response that has begun. Streams of events that are silent for longer need more."),
		setting("timeouts", "tunnel_idle", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Timeouts.TunnelIdle }).
			doc("Time for which neither side of a tunnel, such as a WebSocket, may send anything."),
	}},
	{name: "connections", about: "The connections to each backend, and how many there are.", fields: []policyField{
		setting("connections", "max_idle", integer(0, upTo), func(p *Policy) *int { return &p.Connections.MaxIdle }).
			doc("Idle connections kept for each backend. 0 keeps none."),
		setting("connections", "idle_timeout", duration(someTime, false), func(p *Policy) *time.Duration { return &p.Connections.IdleTimeout }).
			doc("How long a connection is kept idle, unless the backend's `Keep-Alive: timeout=` says less. It should be below the backends' own, so that no request meets a connection that closes: gunicorn closes after 2 s, Node.js, Apache httpd and uvicorn after 5 s, nginx after 75 s."),
		setting("connections", "max_conns", integer(0, upTo), func(p *Policy) *int { return &p.Connections.MaxConns }).
			doc("Exchanges with one backend at a time, each of which has a connection to itself. Further ones go to other backends, and queue when all are full. 0 means any number."),
		setting("connections", "max_queue", integer(0, upTo), func(p *Policy) *int { return &p.Connections.MaxQueue }).
			doc("Exchanges that queue for one backend, first come, first served. More than that go elsewhere, or are answered 503."),
		setting("connections", "queue_timeout", duration(someTime, false), func(p *Policy) *time.Duration { return &p.Connections.QueueTimeout }).
			doc("How long an exchange queues. It goes to another backend then, if one has room, else it is answered 503."),
		setting("connections", "keepalive", duration(time.Second, true), func(p *Policy) *time.Duration { return &p.Connections.KeepAlive }).
			doc("Time after which TCP asks for a backend that says nothing, and between its questions. 0 never asks."),
		setting("connections", "user_timeout", duration(someTime, true), func(p *Policy) *time.Duration { return &p.Connections.UserTimeout }).
			doc("How long what was sent may stay unacknowledged, or untaken, before the connection counts as broken (`TCP_USER_TIMEOUT`, on Linux). 0 leaves it to the system."),
	}},
	{name: "backend_tls", about: "How `https` backends are verified.", fields: []policyField{
		setting("backend_tls", "server_name", text("host name", checkHost), func(p *Policy) *string { return &p.BackendTLS.ServerName }).
			otherwise("the host of the backend's URL").doc("Name that is verified, and sent as SNI."),
		setting("backend_tls", "ca_file", text("file", checkFile), func(p *Policy) *string { return &p.BackendTLS.CAFile }).
			otherwise("the system's authorities").doc("PEM file of the authorities that backends' certificates may come from."),
		setting("backend_tls", "insecure_skip_verify", boolean(), func(p *Policy) *bool { return &p.BackendTLS.InsecureSkipVerify }).
			doc("Accepts any certificate."),
	}},
}

// panicShare is a share, or never, which is -1.
func panicShare() kind[float64] {
	k := fraction(0, 1)
	return kind[float64]{
		name: "number, 0 to 1, or never",
		parse: func(s string) (float64, *fault) {
			if s == "never" {
				return -1, nil
			}
			f, bad := k.parse(s)
			if bad != nil {
				bad = mustBe("a number from 0 to 1, or never", s, percentHint(s))
			}
			return f, bad
		},
		format: func(f float64) string {
			if f < 0 {
				return "never"
			}
			return k.format(f)
		},
	}
}

// maxLoad is a factor of at least 1, or 0.
func maxLoad() kind[float64] {
	k := fraction(1, 1000)
	return kind[float64]{
		name: "number, 1 to 1000, or 0",
		parse: func(s string) (float64, *fault) {
			if f, err := strconv.ParseFloat(s, 64); err == nil && f == 0 {
				return 0, nil
			}
			f, bad := k.parse(s)
			if bad != nil {
				bad = mustBe("a number from 1 to 1000, or 0", s, "")
			}
			return f, bad
		},
		format: k.format,
	}
}

// percentHint is how a percentage is written as a share.
func percentHint(s string) string {
	if n, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64); err == nil && n > 1 && n <= 100 {
		return "write " + strconv.FormatFloat(n/100, 'g', -1, 64)
	}
	return ""
}

// policyIndex finds settings by the path of their key.
var policyIndex = func() map[string]policyField {
	index := map[string]policyField{}
	for _, g := range policyGroups {
		for _, f := range g.fields {
			index[f.key] = f
		}
	}
	return index
}()

// policyBlock is a policy text.
var policyBlock = &block[Overlay]{fields: policyFields(func(o *Overlay) *Overlay { return o }, nil), hints: policyHints}

var policyHints = map[string]string{
	"url":     "backends are announced on their own, not in a policy",
	"default": "give defaults at the top level of the configuration",
}

// policyFields are the keys of a policy in a block that holds an overlay, with more fields in the groups of that name.
func policyFields[T any](at func(*T) *Overlay, more map[string][]field[T]) []field[T] {
	var out []field[T]
	for _, g := range policyGroups {
		b := &block[T]{fields: more[g.name], hints: g.hints}
		own := make([]field[T], len(g.fields))
		for i, f := range g.fields {
			own[i] = field[T]{f.info, func(d *decoder, n *node, to *T) { f.decode(d, n, at(to)) }}
		}
		b.fields = append(own, b.fields...)
		if g.check != nil {
			b.check = func(d *decoder, n *node, to *T) { g.check(d, n, at(to)) }
		}
		if g.name == "" {
			out = append(out, b.fields...)
			continue
		}
		out = append(out, sub(g.name, b, func(t *T) *T { return t }).doc(g.about))
	}
	return out
}

func checkFile(s string) *fault {
	for i := range len(s) {
		if s[i] == 0 {
			return mustBe("the name of a file", s, "")
		}
	}
	if s == "" {
		return mustBe("the name of a file", s, "take the key out for none")
	}
	return nil
}
