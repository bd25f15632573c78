package config

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// root is the whole file.
var root = &block[Config]{
	fields: rootFields(),
	hints: map[string]string{
		"policies": "write policies under services",
		"policy":   "write policy keys (algorithm, retry, …) at the top level, or under services",
		"tls":      "write it under listen",
		"port":     "write it under listen",
	},
}

func rootFields() []field[Config] {
	std := *Default()
	return concat(
		[]field[Config]{
			listenField().alias("server"),
			value("zone", text("text", nil), std, func(c *Config) *string { return &c.Zone }).
				otherwise("none").doc("Where the balancer stands. Backends of the same zone are preferred, see `zones`."),
		},
		topPolicyFields(),
		[]field[Config]{
			backendsField(func(c *Config) *[]Backend { return &c.Backends }).
				doc("The backends of the service `default`, which answers what no route matches unless `default_service` names another."),
			servicesField(),
			routesField(),
			values("discovery", normal("URL", discoveryURL), func(c *Config) *[]string { return &c.Discovery }).splitBy(splitSources).
				doc("Sources in order of precedence, the strongest first: `consul://…`, `etcd://…`, `file://…`, `embedded`; see discovery.md."),
			value("default_service", text("name", checkName), std, func(c *Config) *string { return &c.DefaultService }).
				otherwise("`default` if there are `backends`, else none").doc("The service that answers what no route matches."),
			value("default_domain", normal("host name", domain), std, func(c *Config) *string { return &c.DefaultDomain }).
				doc("A service `web` that no route leads to is reached as `web` and as `web.` and this."),
			sub("metrics", &block[Config]{fields: []field[Config]{
				sub("prometheus", prometheusBlock, func(c *Config) *Prometheus { return &c.Prometheus }).
					doc("Metrics on the listeners. The admin address always has them at `/metrics`."),
			}}, func(c *Config) *Config { return c }).doc("What the balancer tells of its numbers."),
			sub("admin", adminBlock, func(c *Config) *Admin { return &c.Admin }).doc("The API and the dashboard."),
			sub("fleet", fleetBlock, func(c *Config) *Fleet { return &c.Fleet }).fixed().
				doc("What replicas share through etcd or Consul; see fleet.md."),
			sub("announce", announceBlock, func(c *Config) *Announce { return &c.Announce }).fixed().
				doc("Registers the balancer itself as a backend, so that others find it. Nothing is registered without `service`."),
			sub("limits", limitsBlock, func(c *Config) *Limits { return &c.Limits }).fixed().doc("What clients can take; `lb_limits_total` counts what strikes."),
			value("shutdown_timeout", duration(0, true), std, func(c *Config) *time.Duration { return &c.ShutdownTimeout }).
				doc("How long exchanges under way may take to finish once the balancer is told to stop."),
			value("forget_after", duration(time.Second, false), std, func(c *Config) *time.Duration { return &c.ForgetAfter }).
				doc("How long a service that nothing announces any more is kept, answering 503."),
			value("merge", mergeModes.kind(), std, func(c *Config) *string { return &c.Merge }).
				doc("What becomes of a service that several sources announce. `union`: the backends of all, each address once. `priority`: the strongest source that has any backend of it, alone. `shadow`: the first source alone; the others are compared with it, see `loadbalancer diff`. Own `backends` are always added."),
			sub("guard", guardBlock, func(c *Config) *Guard { return &c.Guard }).
				doc("Holds back what a source takes away when it is most of what it announced; see discovery.md."),
			sub("snapshot", snapshotBlock, func(c *Config) *Snapshot { return &c.Snapshot }).fixed().
				doc("The last known good state on disk, to start from while sources are away."),
			values("trusted_proxies", network(), func(c *Config) *[]netip.Prefix { return &c.TrustedProxies }).
				doc("Networks whose `X-Forwarded-…` and `Forwarded` headers are believed; a single address is one too."),
			sub("access_log", accessLogBlock, func(c *Config) *AccessLog { return &c.AccessLog }).fixed().doc("One line for each exchange."),
			sub("log", logBlock, func(c *Config) *Log { return &c.Log }).doc("What the balancer tells of itself, on standard error."),
		},
	)
}

// topPolicyFields are the policy keys at the top level: those of a service, and the sealing key of all sessions.
func topPolicyFields() []field[Config] {
	defaults := func(c *Config) *Overlay { return &c.Defaults }
	key := value("key", secretText(16), Config{}, func(c *Config) *Secret { return &c.SessionKey }).
		env("LB_SESSION_KEY").otherwise("shared through `fleet.store`, else made up at the start").
		doc("Secret that seals cookies; only at the top level. Balancers that share clients need the same one, and a restarted one needs its old one, or sessions begin anew.")
	position := []field[Config]{
		value("index", integer(0, upTo), Config{}, func(c *Config) *int { return &c.Position.Index }).
			doc("Which of the balancers this one is, from 0; only at the top level. Needs `of`."),
		value("of", integer(0, upTo), Config{}, func(c *Config) *int { return &c.Position.Of }).
			otherwise("not known").doc("How many balancers there are; only at the top level. Without it a hash of the host's name and the port takes the place of `index`, and subsets are even only in the mean."),
	}
	keys := values("keys", secretText(16), func(c *Config) *[]Secret { return &c.SessionKeys }).
		env("LB_SESSION_KEYS").otherwise("`key` alone").
		doc("Secrets of which the first seals cookies and all open them, for a rotation; only at the top level, and instead of `key`.")
	return policyFields(defaults, map[string][]field[Config]{"sticky_session": {key, keys}, "subset": position})
}

var (
	prometheusBlock = &block[Prometheus]{fields: []field[Prometheus]{
		value("enabled", boolean(), Default().Prometheus, func(p *Prometheus) *bool { return &p.Enabled }).
			doc("Whether the listeners serve metrics too."),
		value("path", text("path", checkPath), Default().Prometheus, func(p *Prometheus) *string { return &p.Path }).
			doc("Where on the listeners."),
	}}
	adminBlock = &block[Admin]{fields: []field[Admin]{
		value("address", normal("host:port", hostPort), Default().Admin, func(a *Admin) *string { return &a.Address }).
			fixed().doc("Address of the API and the dashboard; port 0 takes a free one. One that is not a loopback address needs a token."),
		value("token", secretText(8), Default().Admin, func(a *Admin) *Secret { return &a.Token }).
			doc("Secret that callers present; without one, who reaches the address may do everything."),
	}}
	fleetBlock = &block[Fleet]{fields: []field[Fleet]{
		value("enabled", boolean(), Default().Fleet, func(f *Fleet) *bool { return &f.Enabled }).
			doc("Whether anything is shared: the list of replicas, an operator's overrides, sessions and their key."),
		value("store", normal("URL", storeURL), Default().Fleet, func(f *Fleet) *string { return &f.Store }).
			otherwise("the first etcd of `discovery`").
			doc("`etcd://…`, `embedded`, or `consul://…`, which keeps the list of replicas alone."),
		value("id", text("name", checkID), Default().Fleet, func(f *Fleet) *string { return &f.ID }).
			otherwise("host name and port").doc("Name of this replica, unique in the fleet."),
		value("ttl", duration(time.Second, false), Default().Fleet, func(f *Fleet) *time.Duration { return &f.TTL }).
			doc("How long a replica that was killed stays in the list. Consul has at least 10s."),
	}}
	announceBlock = &block[Announce]{fields: []field[Announce]{
		value("service", text("name", checkName), Announce{}, func(a *Announce) *string { return &a.Service }).
			otherwise("none").doc("The service that it is a backend of."),
		value("url", normal("URL", backendURL), Announce{}, func(a *Announce) *string { return &a.URL }).
			otherwise("that of the first listener, if it has an address").doc("Where others reach it."),
		value("id", text("name", checkID), Announce{}, func(a *Announce) *string { return &a.ID }).
			otherwise("service and address").doc("Name of the backend."),
		value("weight", integer(0, MaxWeight), Default().Announce, func(a *Announce) *int { return &a.Weight }).
			doc("Share of the traffic."),
		value("zone", text("text", nil), Announce{}, func(a *Announce) *string { return &a.Zone }).
			otherwise("none").doc("Where it stands."),
		values("stores", normal("URL", storeURL), func(a *Announce) *[]string { return &a.Stores }).splitBy(splitSources).
			otherwise("every etcd and Consul of `discovery`").doc("Where it is registered: `etcd://…`, `consul://…`, `embedded`."),
		value("ttl", duration(time.Second, false), Default().Announce, func(a *Announce) *time.Duration { return &a.TTL }).
			doc("How long it stays registered after it was killed."),
		value("drain", duration(0, true), Default().Announce, func(a *Announce) *time.Duration { return &a.Drain }).
			doc("How long it goes on accepting at the shutdown, announced as draining, before it is withdrawn and its listeners close."),
	}}
	limitsBlock = &block[Limits]{fields: []field[Limits]{
		value("head_bytes", integer(1024, 16<<20), Default().Limits, func(l *Limits) *int { return &l.HeadBytes }).
			doc("Bytes of a request's head."),
		value("head_timeout", duration(someTime, false), Default().Limits, func(l *Limits) *time.Duration { return &l.HeadTimeout }).
			doc("From a request's first byte to the end of its head."),
		value("idle_timeout", duration(someTime, false), Default().Limits, func(l *Limits) *time.Duration { return &l.IdleTimeout }).
			doc("Wait for the next request on a connection."),
		value("head_fields", integer(8, 60_000), Default().Limits, func(l *Limits) *int { return &l.HeadFields }).
			doc("Fields of a request's head."),
		value("requests", integer(0, 1_000_000_000), Default().Limits, func(l *Limits) *int { return &l.Requests }).
			doc("Requests on one connection, which ends in good order after the last. 0 means any number."),
		value("connections", integer(0, 100_000_000), Default().Limits, func(l *Limits) *int { return &l.Connections }).
			doc("Connections that clients have open at a time, over all listeners; further ones are closed at once. 0 means any number."),
		value("connections_per_address", integer(0, 100_000_000), Default().Limits, func(l *Limits) *int { return &l.ConnectionsPerAddress }).
			doc("Connections from one address at a time, of IPv6 from one /64; further ones are closed at once. `trusted_proxies` are exempt. 0 means any number."),
	}}
	guardBlock = &block[Guard]{fields: []field[Guard]{
		value("mode", choice{words: []string{"hold", "strict", "off"}}.kind(), Default().Guard, func(g *Guard) *string { return &g.Mode }).
			doc("`hold` obeys the source once `hold` is over; `strict` waits for an operator (`loadbalancer guard release`); `off` obeys at once."),
		value("window", duration(100*time.Millisecond, false), Default().Guard, func(g *Guard) *time.Duration { return &g.Window }).
			doc("Time within which removals are added up."),
		value("max_removal", share(0.01, 1), Default().Guard, func(g *Guard) *float64 { return &g.MaxRemoval }).
			doc("Share of a source's backends that may go within the window. More is held back, if it is of more than one service or a listing came back empty."),
		value("min_backends", integer(1, upTo), Default().Guard, func(g *Guard) *int { return &g.MinBackends }).
			doc("Sources with fewer backends are believed."),
		value("hold", duration(100*time.Millisecond, false), Default().Guard, func(g *Guard) *time.Duration { return &g.Hold }).
			doc("How long removals are held. A held backend serves only while its health checks, or a TCP connection where there are none, succeed."),
	}}
	snapshotBlock = &block[Snapshot]{fields: []field[Snapshot]{
		value("path", text("file", checkFile), Default().Snapshot, func(s *Snapshot) *string { return &s.Path }).
			otherwise("no snapshot").doc("File that is written in the background when something changed, at most once a second, and read at the start."),
	}}
	accessLogBlock = &block[AccessLog]{fields: []field[AccessLog]{
		value("path", text("file, or -", checkFile), Default().AccessLog, func(a *AccessLog) *string { return &a.Path }).
			otherwise("no access log").doc("File that lines are appended to; `-` is standard output."),
		value("format", choice{words: []string{"json", "common"}}.kind(), Default().AccessLog, func(a *AccessLog) *string { return &a.Format }).
			doc("`json`, or the Common Log Format."),
	}}
	logBlock = &block[Log]{fields: []field[Log]{
		value("level", logLevel(), Default().Log, func(l *Log) *slog.Level { return &l.Level }).
			doc("The least important level that is told."),
		value("format", choice{words: []string{"text", "json"}}.kind(), Default().Log, func(l *Log) *string { return &l.Format }).
			fixed().doc("How lines are written."),
	}}
	backendBlock = &block[Backend]{
		fields: []field[Backend]{
			value("id", text("name", checkID), defaultBackend(), func(b *Backend) *string { return &b.ID }).
				otherwise("required").doc("Name of the backend, unique in its service."),
			value("url", normal("URL", backendURL), defaultBackend(), func(b *Backend) *string { return &b.URL }).
				otherwise("required").doc("`http://host:port`, `https://host:port`, or `host:port`."),
			value("weight", integer(0, MaxWeight), defaultBackend(), func(b *Backend) *int { return &b.Weight }).
				doc("Share of the traffic relative to the others'. 0 takes nothing new."),
			value("zone", text("text", nil), defaultBackend(), func(b *Backend) *string { return &b.Zone }).
				doc("Where the backend stands."),
		},
		check: func(d *decoder, n *node, _ *Backend) { require(d, n, "id", "url") },
		hints: map[string]string{"name": "did you mean id?", "address": "did you mean url?"},
	}
	certificateBlock = &block[Certificate]{
		fields: []field[Certificate]{
			value("cert_file", text("file", checkFile), Certificate{}, func(c *Certificate) *string { return &c.CertFile }).
				otherwise("required").doc("PEM file of the certificate and those of its issuers."),
			value("key_file", text("file", checkFile), Certificate{}, func(c *Certificate) *string { return &c.KeyFile }).
				otherwise("required").doc("PEM file of its private key."),
		},
		check: func(d *decoder, n *node, _ *Certificate) { require(d, n, "cert_file", "key_file") },
	}
)

// require tells of keys that a block lacks.
func require(d *decoder, n *node, keys ...string) {
	for _, key := range keys {
		if n.get(key) == nil {
			d.child(n, key, "is missing", "")
		}
	}
}

// backendsField is a list of backends with ids of their own. One that is wrong is left out.
func backendsField[T any](at func(*T) *[]Backend) field[T] {
	return items("backends", backendBlock, defaultBackend, func(to *T) func(*decoder, *node, Backend, bool) {
		seen := map[string]pos{}
		return func(d *decoder, n *node, b Backend, ok bool) {
			if first, twice := seen[b.ID]; twice && b.ID != "" {
				d.child(n, "id", quote(b.ID)+" is taken, first on line "+lineOf(first), "give each backend its own")
				return
			}
			seen[b.ID] = n.pos
			if ok {
				*at(to) = append(*at(to), b)
			}
		}
	})
}

func logLevel() kind[slog.Level] {
	levels := choice{words: []string{"debug", "info", "warn", "error"}, alias: map[string]string{"warning": "warn"}}
	return kind[slog.Level]{
		name: strings.Join(levels.words, ", "),
		parse: func(s string) (l slog.Level, f *fault) {
			word, f := levels.parse(strings.ToLower(s))
			if f != nil {
				return l, f
			}
			_ = l.UnmarshalText([]byte(word)) // knows the four words
			return l, nil
		},
		format: func(l slog.Level) string { return strings.ToLower(l.String()) },
	}
}

func tlsVersion() kind[uint16] {
	versions := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	return kind[uint16]{
		name: "1.2, 1.3",
		parse: func(s string) (uint16, *fault) {
			short := strings.TrimPrefix(strings.ToUpper(s), "VERSION")
			short = strings.TrimLeft(strings.TrimPrefix(short, "TLS"), "V ")
			if len(short) == 2 {
				short = short[:1] + "." + short[1:]
			}
			if v, ok := versions[short]; ok {
				return v, nil
			}
			return 0, mustBe("1.2 or 1.3", s, "older versions are not secure")
		},
		format: func(v uint16) string {
			return strings.TrimPrefix(strings.TrimPrefix(tls.VersionName(v), "TLS "), "0x0000")
		},
	}
}

func cipherSuite() kind[uint16] {
	return kind[uint16]{
		name: "cipher suite",
		parse: func(s string) (uint16, *fault) {
			var names []string
			for _, c := range tls.CipherSuites() {
				if c.Name == s {
					return c.ID, nil
				}
				names = append(names, c.Name)
			}
			for _, c := range tls.InsecureCipherSuites() {
				if c.Name == s {
					return 0, &fault{quote(s) + " is not secure", "use one of " + strings.Join(names, ", ")}
				}
			}
			if near := nearest(s, names); near != "" {
				return 0, mustBe("a cipher suite", s, "did you mean "+near+"?")
			}
			return 0, mustBe("a cipher suite", s, "known: "+strings.Join(names, ", "))
		},
		format: tls.CipherSuiteName,
	}
}

func concat[T any](lists ...[]T) []T {
	var out []T
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
