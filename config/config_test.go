package config

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// parse reads a text that must be right.
func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheDefaultsAreValid(t *testing.T) {
	if p := Default().Validate(); p != nil {
		t.Error(p)
	}
	c := mustParse(t, "{}")
	c.where = nil
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("an empty map gives %+v, want the defaults", c)
	}
}

func TestEveryExampleIsValid(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "backends.yaml" {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if a, problems := ParseAnnouncement(file, data); len(problems) > 0 || len(a.Services) == 0 {
				t.Errorf("%v", problems)
			}
			continue
		}
		if _, err := Load(file, []string{"LB_ADMIN_TOKEN=0123456789abcdef"}); err != nil {
			t.Error(err)
		}
	}
}

const firstVersion = `
listen:
  port: 8080
  tls: {enabled: true, cert_file: "cert.pem", key_file: "key.pem"}
algorithm: "round-robin"
backends:
  - {id: "backend1", url: "http://localhost:8081", weight: 1}
  - {id: "backend2", url: "http://localhost:8082", weight: 2}
health_check: {interval: "30s", timeout: "5s", path: "/health", failure_threshold: 3}
circuit_breaker: {failure_threshold: 5, reset_timeout: "30s", half_open_limit: 3}
sticky_session: {enabled: true, type: "cookie", cookie_name: "session_id", timeout: "1h"}
metrics: {prometheus: {enabled: true, path: "/metrics"}}
`

func TestTheFirstVersionsFormMeansWhatItMeant(t *testing.T) {
	c := mustParse(t, firstVersion)
	if want := []Backend{{"backend1", "http://localhost:8081", 1, ""}, {"backend2", "http://localhost:8082", 2, ""}}; !slices.Equal(c.Backends, want) {
		t.Errorf("backends %v, want %v", c.Backends, want)
	}
	l := c.Listen[0]
	if l.Port != 8080 || !l.TLS.Enabled || !slices.Equal(l.TLS.Certificates, []Certificate{{"cert.pem", "key.pem"}}) {
		t.Errorf("listener %+v", l)
	}
	p, errs := c.Policy(DefaultService)
	if len(errs) != 0 {
		t.Error(errs)
	}
	want := builtin()
	want.HealthCheck.Interval, want.HealthCheck.Path = 30*time.Second, "/health"
	want.CircuitBreaker.HalfOpenLimit = 3
	want.StickySession.Enabled = true
	want.OutlierDetection.Enabled, want.AdaptiveConcurrency.Enabled, want.Hedge.Enabled = false, false, false
	if p != want {
		t.Errorf("policy\n%+v, want\n%+v", p, want)
	}
	if c.CatchAll() != "default" || c.Prometheus != (Prometheus{true, "/metrics"}) {
		t.Errorf("catch-all %q, metrics %+v", c.CatchAll(), c.Prometheus)
	}
}

func TestEveryKeyGoesWhereItBelongs(t *testing.T) {
	c := mustParse(t, `
server:
  - port: 80
    address: "::1"
    proxy_protocol: {from: [10.0.0.0/8, "::1"]}
  - port: 443
    tls:
      cert_file: a.pem
      key_file: a.key
      certificates: [{cert_file: b.pem, key_file: b.key}]
      reload_interval: 5s
      min_version: TLS1.2
      max_version: 1.3
      cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
zone: west
algorithm: least-connections
slow_start: 30s
panic_threshold: 0.25
zones: ignore
hash: {by: header, name: X-User, max_load: 1.25, table_size: 5000}
subset: {size: 20, index: 3, of: 7}
sticky_session: {type: ip, ttl: 2h, store: memory, max_sessions: 10, cleanup_interval: 1s, key: 0123456789abcdef, cookie_path: /a,
  cookie_domain: example.com, cookie_same_site: strict, cookie_secure: always, header_name: X-User, address_ipv6_prefix: 64, return: true}
retry: {max_retries: 5, initial_interval: 1s, max_interval: 2s, multiplier: 1.5, randomization: 0, budget: 1, on: [503, reset, 429, connect]}
hedge: {percentile: 99.9, min_delay: 10ms, max_delay: 2s}
timeouts: {connect: 1s, response_head: 0, exchange: 1m, client_idle: 2m, backend_idle: 0, tunnel_idle: 3m}
connections: {max_idle: 0, idle_timeout: 1s, max_conns: 2, max_queue: 3, queue_timeout: 4s, keepalive: 0, user_timeout: 5s}
proxy_protocol: v2
backend_tls: {server_name: api.internal, ca_file: ca.pem, insecure_skip_verify: true}
health_check: {type: tcp, success_threshold: 2}
discovery: [consul, "etcd://h1:2379,h2:2379/lb"]
default_service: web
default_domain: Example.COM
services:
  web: {algorithm: random, backends: [{id: 1, url: "H:80", weight: 0, zone: a}]}
routes:
  - {name: one, host: "*.Example.com", path: /v1, method: POST, headers: {x-env: beta, x-any: ""}, strip_prefix: /v1, service: api}
admin: {address: "0.0.0.0:0", token: abcdefgh}
limits: {head_bytes: 2048, head_timeout: 1s, idle_timeout: 2s, head_fields: 9, requests: 10, connections: 11, connections_per_address: 12}
shutdown_timeout: 0s
forget_after: 2h
trusted_proxies: [10.0.0.0/8, "::1"]
access_log: {path: "-", format: common}
log: {level: WARN, format: json}
`)
	got := []any{
		c.Listen[0].Address, c.Listen[0].ProxyProtocol.From, c.Listen[1].TLS.Enabled, c.Listen[1].TLS.Certificates, c.Listen[1].TLS.ReloadInterval, c.Listen[1].TLS.MinVersion,
		c.Listen[1].TLS.MaxVersion, c.Listen[1].TLS.CipherSuites, c.Discovery, c.DefaultService, c.DefaultDomain, c.ServiceBackends("web"), c.Routes,
		c.Admin, c.Limits, c.ShutdownTimeout, c.ForgetAfter, c.TrustedProxies[0].String(), c.TrustedProxies[1].String(), c.AccessLog, c.Log, c.SessionKey.Reveal(),
		c.Zone, c.Position,
	}
	want := []any{
		"::1", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, true, []Certificate{{"a.pem", "a.key"}, {"b.pem", "b.key"}}, 5 * time.Second, uint16(tls.VersionTLS12),
		uint16(tls.VersionTLS13), []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, []string{"consul", "etcd://h1:2379,h2:2379/lb"}, "web", "example.com", []Backend{{"1", "http://h:80", 0, "a"}},
		[]Route{{"one", "*.example.com", "/v1", "POST", map[string]string{"X-Env": "beta", "X-Any": ""}, "/v1", "api"}},
		Admin{"0.0.0.0:0", "abcdefgh"}, Limits{2048, time.Second, 2 * time.Second, 9, 10, 11, 12}, time.Duration(0), 2 * time.Hour, "10.0.0.0/8", "::1/128", AccessLog{"-", "common"}, Log{slog.LevelWarn, "json"}, "0123456789abcdef",
		"west", Position{3, 7},
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%d: %#v, want %#v", i, got[i], want[i])
		}
	}
	p, _ := c.Policy("other")
	wantPolicy := Policy{
		Algorithm: "least-connections", Hash: Hash{"header", "X-User", 1.25, 5000},
		SlowStart: 30 * time.Second, PanicThreshold: 0.25, Zones: "ignore", Subset: Subset{20},
		Health: "both",
		HealthCheck: HealthCheck{
			Type: "tcp", Interval: 10 * time.Second, Timeout: 5 * time.Second, Path: "/", FailureThreshold: 3, SuccessThreshold: 2,
			InitialState: "probing", Method: "GET", Statuses: "200-399", Share: "off", ShareBy: 2,
		},
		CircuitBreaker: CircuitBreaker{
			Window: 10 * time.Second, MinVolume: 20, Failures: "5xx, gateway, connect, timeout, reset",
			ResetTimeout: 30 * time.Second, ResetMultiplier: 1, MaxResetTimeout: 5 * time.Minute, HalfOpenLimit: 1,
		},
		OutlierDetection:    builtinOutliersOff(),
		AdaptiveConcurrency: AdaptiveConcurrency{MinLimit: 2, MaxLimit: 1000, InitialLimit: 20, Tolerance: 1.5},
		StickySession:       StickySession{true, "address", "session_id", "/a", "example.com", "strict", "always", "X-User", 64, 2 * time.Hour, "memory", true, 10, time.Second},
		Retry:               Retry{5, time.Second, 2 * time.Second, 1.5, 0, "connect,reset,429,503", 1},
		Hedge:               Hedge{true, 99.9, 10 * time.Millisecond, 2 * time.Second},
		Timeouts:            Timeouts{time.Second, 0, time.Minute, 2 * time.Minute, 0, 3 * time.Minute},
		BackendTLS:          BackendTLS{"api.internal", "ca.pem", true},
		Connections:         Connections{0, time.Second, 2, 3, 4 * time.Second, 0, 5 * time.Second},
		ProxyProtocol:       "v2",
	}
	if p != wantPolicy {
		t.Errorf("policy\n%+v, want\n%+v", p, wantPolicy)
	}
	if p, _ := c.Policy("web"); p.Algorithm != "random" {
		t.Errorf("the service's own algorithm is %q", p.Algorithm)
	}
}

func TestJSONIsReadLikeYAML(t *testing.T) {
	yaml := mustParse(t, "listen: {port: 1}\nretry: {budget: 0.5}\n")
	json := mustParse(t, "{\n\t\"listen\": {\"port\":1},\n\t\"retry\": {\"budget\": 5e-1}\n}")
	yaml.where, json.where = nil, nil
	if !reflect.DeepEqual(yaml, json) {
		t.Errorf("%+v\nis not\n%+v", json, yaml)
	}
}

func TestAnchorsAliasesAndMergeKeysWork(t *testing.T) {
	c := mustParse(t, `
x-base: &base
  algorithm: random
  retry: &retry {max_retries: 7}
services:
  a: *base
  b:
    <<: *base
    algorithm: round-robin
  c:
    <<: [{algorithm: least-connections}, *base]
  d:
    retry:
      max_retries: 1
      <<: *retry
`)
	for name, want := range map[string][2]any{"a": {"random", 7}, "b": {"round-robin", 7}, "c": {"least-connections", 7}, "d": {"round-robin", 1}} {
		p, _ := c.Policy(name)
		if p.Algorithm != want[0] || p.Retry.MaxRetries != want[1] {
			t.Errorf("%s: %s with %d retries, want %v", name, p.Algorithm, p.Retry.MaxRetries, want)
		}
	}
}

func TestAliasesThatContainThemselvesAreRefused(t *testing.T) {
	_, err := Parse("f", []byte("services: &s\n  web: *s\n"))
	if err == nil || !strings.Contains(err.Error(), "within its own anchor") {
		t.Errorf("got %v", err)
	}
}

// Each alias stands for ten of the one before: a parser that expands them would hold 10^10 values.
func TestAliasesOfAliasesDoNotMultiply(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &a0 {algorithm: random}\n")
	for i := range 10 {
		n := string(rune('0' + i))
		b.WriteString("x-a" + n + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+n+",", 10) + "]\n")
	}
	b.WriteString("listen: *a9\n")
	if _, err := Parse("f", []byte(b.String())); err == nil {
		t.Error("lists of lists are taken for listeners")
	}
}

func TestRoutesWithoutNamesAreNamedByTheirMatch(t *testing.T) {
	c := mustParse(t, `
discovery: [consul]
routes:
  - {host: api.example.com, path: /v1/x, service: a}
  - {host: api.example.com, path: /v1-x, service: a}
  - {method: GET, path: /, headers: {X-Env: a}, service: a}
  - {service: a}
  - {host: "*.example.com", service: a}
`)
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	if want := []string{"api.example.com-v1-x", "api.example.com-v1-x-2", "GET-X-Env", "all", "example.com"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestAnEmptyFileIsRefused(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "~", "null\n"} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), "f:1:1: the file is empty") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAFileThatCannotBeReadIsNoProblemOfItsText(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Load(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
}

func TestOverridesGoBeforeEverythingAndAreValidated(t *testing.T) {
	set := func(address string) func(*Config) { return func(c *Config) { c.Admin.Address = address } }
	c, err := Load("", []string{"LB_ADMIN_ADDRESS=127.0.0.1:1"}, set("127.0.0.1:2"))
	if err != nil || c.Admin.Address != "127.0.0.1:2" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := Load("", nil, set("0.0.0.0:2")); err == nil {
		t.Error("an admin address that others reach needs a token")
	}
	if _, err := Load("", nil, func(c *Config) { c.DefaultService = "web"; c.Discovery = []string{"consul"} }); err != nil {
		t.Error(err)
	}
}

func TestWhatAnOverrideSetIsNotBlamedOnTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lb.yaml")
	if err := os.WriteFile(file, []byte("discovery: [consul]\nadmin: {address: \"127.0.0.1:1\"}\nlisten: {port: 1}\nalgorithm: random\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file, nil, func(c *Config) {
		c.Discovery, c.Admin.Address, c.Listen[0].Port = []string{"zk://a"}, "0.0.0.0:1", -1
	})
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("got %v, want three problems", err)
	}
	for _, p := range problems {
		if p.File != "" || p.Line != 0 {
			t.Errorf("%s is said to be wrong at %s:%d", p.Key, p.File, p.Line)
		}
	}
}

// builtinOutliersOff is outlier detection as it is where nobody asks for it.
func builtinOutliersOff() OutlierDetection {
	o := builtin().OutlierDetection
	o.Enabled = false
	return o
}
