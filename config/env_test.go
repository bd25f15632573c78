package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func fromEnv(t *testing.T, env ...string) *Config {
	t.Helper()
	c, err := Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheEnvironmentGoesBeforeTheFile(t *testing.T) {
	c := mustParse(t, "listen: [{port: 1, address: 127.0.0.1}, {port: 2}]\nalgorithm: random\nretry: {max_retries: 1, budget: 0.1}\n")
	if p := c.ApplyEnv([]string{"PATH=/bin", "LB_LISTEN_PORT=9", "LB_ALGORITHM=round-robin", "LB_RETRY_MAX_RETRIES=4", "LB_LOG_LEVEL=", "LB_ADMIN_TOKEN=tokentoken"}); p != nil {
		t.Fatal(p)
	}
	p, _ := c.Policy("x")
	if c.Listen[0].Port != 9 || c.Listen[0].Address != "127.0.0.1" || c.Listen[1].Port != 2 {
		t.Errorf("listeners %+v", c.Listen)
	}
	if p.Algorithm != "round-robin" || p.Retry.MaxRetries != 4 || p.Retry.Budget != 0.1 {
		t.Errorf("policy %+v", p)
	}
	if c.Admin.Token.Reveal() != "tokentoken" {
		t.Errorf("token %q", c.Admin.Token.Reveal())
	}
}

func TestOfOneVariableTheLastHolds(t *testing.T) {
	if c := fromEnv(t, "LB_LISTEN_PORT=1", "LB_LISTEN_PORT=2"); c.Listen[0].Port != 2 {
		t.Errorf("port %d", c.Listen[0].Port)
	}
}

func TestListsAreTakenApart(t *testing.T) {
	for text, want := range map[string][]string{
		"consul":                                 {"consul"},
		"consul,etcd":                            {"consul", "etcd"},
		"etcd://a:1,b:2/lb consul://c:3":         {"etcd://a:1,b:2/lb", "consul://c:3"},
		"etcd://a:1,b:2/lb, file:///x, embedded": {"etcd://a:1,b:2/lb", "file:///x", "embedded"},
	} {
		if c := fromEnv(t, "LB_DISCOVERY="+text); !slices.Equal(c.Discovery, want) {
			t.Errorf("%q: %q, want %q", text, c.Discovery, want)
		}
	}
	if c := fromEnv(t, "LB_TRUSTED_PROXIES=10.0.0.0/8, 1.2.3.4"); len(c.TrustedProxies) != 2 {
		t.Errorf("proxies %v", c.TrustedProxies)
	}
}

func TestCertificatesFromTheEnvironmentTurnEncryptionOn(t *testing.T) {
	c := fromEnv(t, "LB_LISTEN_TLS_CERT_FILE=a", "LB_LISTEN_TLS_KEY_FILE=b")
	if l := c.Listen[0].TLS; !l.Enabled || !slices.Equal(l.Certificates, []Certificate{{"a", "b"}}) {
		t.Errorf("%+v", l)
	}
}

func TestBadVariablesAreAllTold(t *testing.T) {
	_, err := Load("", []string{
		"LB_LISTEN_PORT=eighty", "LB_ADMIN_ADRESS=x", "LB_SESSION_KEY=s3cret", "LB_DISCOVERY=consul://s3cret@h,nope://x",
		"LB_RETRY_INITIAL_INTERVAL=2s", "LB_RETRY_MAX_INTERVAL=1s", "LB_SHUTDOWN_TIMEOUT=30",
	})
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	for _, want := range []string{
		"environment: listen.port must be a whole number from 0 to 65535, not \"eighty\"\n    LB_LISTEN_PORT=eighty",
		"LB_ADMIN_ADRESS is not a known variable; did you mean LB_ADMIN_ADDRESS?",
		"sticky_session.key has 6 bytes",
		"LB_SESSION_KEY=***",
		"discovery[1] must be the URL of a source",
		"retry.max_interval is 1s, less than initial_interval, 2s",
		"give a unit: 30s",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "s3cret") {
		t.Errorf("a secret is told:\n%s", got)
	}
}

func TestVariablesOfAKubernetesServiceCalledLBAreNotOurs(t *testing.T) {
	fromEnv(t, "LB_SERVICE_HOST=10.0.0.1", "LB_SERVICE_PORT=80", "LB_SERVICE_PORT_HTTP=80", "LB_PORT=tcp://10.0.0.1:80", "LB_PORT_80_TCP=tcp://10.0.0.1:80",
		"LB_PORT_80_TCP_PROTO=tcp", "LB_PORT_80_TCP_PORT=80", "LB_PORT_80_TCP_ADDR=10.0.0.1", "LB_ADMIN_PORT=tcp://10.0.0.2:9901")
	if _, err := Load("", []string{"LB_PORT=80"}); err == nil {
		t.Error("LB_PORT=80 is a mistake of somebody who means LB_LISTEN_PORT")
	}
}

func TestEveryVariableIsUnderstood(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range variables() {
		if seen[v.name] {
			t.Errorf("%s is the variable of two keys", v.name)
		}
		seen[v.name] = true
		c := Default()
		for _, p := range c.ApplyEnv([]string{v.name + "=\x01"}) {
			if !strings.HasPrefix(p.Key, strings.Join(v.path, ".")) {
				t.Errorf("%s is taken for %s", v.name, p.Key)
			}
		}
	}
	if !seen["LB_SESSION_KEY"] || !seen["LB_LOG_LEVEL"] {
		t.Error("variables are missing")
	}
}

func TestTheEnvironmentIsPartOfTheChecksOfTheWhole(t *testing.T) {
	c := mustParse(t, "shutdown_timeout: 1s\n")
	if p := c.ApplyEnv([]string{"LB_ADMIN_ADDRESS=:1"}); p != nil {
		t.Fatal(p)
	}
	p := c.Validate()
	if len(p) != 1 || p[0].File != Environment || p[0].Text != "LB_ADMIN_ADDRESS=:1" {
		t.Errorf("got %+v", p)
	}
	if c.ShutdownTimeout != time.Second {
		t.Errorf("%v", c.ShutdownTimeout)
	}
}
