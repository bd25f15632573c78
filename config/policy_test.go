package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLayersOfAPolicyGoOverEachOtherKeyByKey(t *testing.T) {
	c := mustParse(t, `
retry: {max_retries: 1, budget: 0.1}
timeouts: {connect: 1s}
services: {web: {retry: {max_retries: 4}}}
`)
	strong := []byte(`{"retry":{"max_retries":"3","multiplier":"3"},"timeouts":{"exchange":"9s"}}`)
	weak := []byte("retry: {max_retries: 2, multiplier: 2.5, randomization: 0.25}\ntimeouts: {connect: 7s}\n")
	p, errs := c.Policy("web", strong, weak)
	if errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	want := builtin().Retry
	want.MaxRetries, want.Multiplier, want.Randomization, want.Budget = 4, 3, 0.25, 0.1
	if p.Retry != want {
		t.Errorf("retry %+v, want %+v", p.Retry, want)
	}
	waits := builtin().Timeouts
	waits.Connect, waits.Exchange = 7*time.Second, 9*time.Second
	if p.Timeouts != waits {
		t.Errorf("timeouts %+v, want %+v", p.Timeouts, waits)
	}
	if p, _ := c.Policy("other", strong); p.Retry.MaxRetries != 3 {
		t.Errorf("without a block in the file the source's text holds, got %d", p.Retry.MaxRetries)
	}
}

func TestATextThatCannotBeReadIsLeftOutWhole(t *testing.T) {
	p, errs := Default().Policy("web", []byte("algorithm: random\nretry: {max_retries: many}"), nil, []byte("algorithm: least-connections"))
	if len(errs) != 3 || errs[0] == nil || errs[1] != nil || errs[2] != nil {
		t.Fatalf("errors %v", errs)
	}
	if p.Algorithm != "least-connections" {
		t.Errorf("algorithm %s", p.Algorithm)
	}
	if want := `retry.max_retries must be a whole number from 0 to 100, not "many" (line 2, column 22)`; errs[0].Error() != want {
		t.Errorf("got  %s\nwant %s", errs[0], want)
	}
}

func TestWhatCostsSomethingIsOffUntilItIsAskedFor(t *testing.T) {
	type on struct{ probe, breaker, session bool }
	for _, c := range []struct {
		top, text string
		want      on
	}{
		{"{}", "", on{}},
		{"health_check: {timeout: 1s, failure_threshold: 2}", "", on{}},
		{"health_check: {path: /h}", "", on{probe: true}},
		{"health_check: {type: tcp}", "", on{probe: true}},
		{"health_check: {interval: 1s}", "", on{probe: true}},
		{"health_check: {interval: 1s}", "health_check: {interval: 0s}", on{}},
		{"{}", "health_check: {path: /h}", on{probe: true}},
		{"circuit_breaker: {reset_timeout: 1s}", "", on{breaker: true}},
		{"circuit_breaker: {reset_timeout: 1s}", "circuit_breaker: {failure_threshold: 0}", on{}},
		{"circuit_breaker: {}", "", on{}},
		{"sticky_session: {cookie_name: a}", "", on{}},
		{"sticky_session: {type: cookie}", "", on{session: true}},
		{"sticky_session: {type: cookie, enabled: false}", "", on{}},
		{"sticky_session: {type: cookie, enabled: false}", "sticky_session: {enabled: true}", on{session: true}},
		{"sticky_session: {enabled: true}", "", on{session: true}},
	} {
		p, errs := mustParse(t, c.top).Policy("web", []byte(c.text))
		if errs[0] != nil {
			t.Fatal(errs)
		}
		if got := (on{p.HealthCheck.Interval > 0, p.CircuitBreaker.FailureThreshold > 0, p.StickySession.Enabled}); got != c.want {
			t.Errorf("%s under %s: %+v, want %+v", c.text, c.top, got, c.want)
		}
	}
}

func TestCheckPolicyTellsEverythingInOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"algorithm: random":             "",
		`{"retry":{"max_retries":"5"}}`: "",
		"backends: []":                  "backends is not a known key",
		"sticky_session: {key: 0123456789abcdef}": "set sticky_session.key at the top level",
		"algorithm: p2c":                                                      "",
		"sticky_session: {type: header}":                                      "header_name is missing",
		"sticky_session: {cookie_path: 'a;b'}":                                "a path that begins with /",
		"sticky_session: {cookie_path: '/a;b'}":                               "without ;",
		"sticky_session: {cookie_domain: 'a b'}":                              "a domain such as",
		"sticky_session: {address_ipv6_prefix: 0}":                            "from 1 to 128",
		"sticky_session: {cookie_same_site: none, cookie_secure: never}":      "use auto or always",
		"sticky_session: {cookie_name: __Host-s, cookie_domain: example.com}": "without one alone",
		"sticky_session: {cookie_name: __Host-s, cookie_path: /a}":            "path / alone",
		"sticky_session: {cookie_name: __Secure-s, cookie_secure: never}":     "use auto or always",
		"panic_threshold: 0.5":                                                "",
		"panic_threshold: never":                                              "",
		"panic_threshold: 50%":                                                "a number from 0 to 1, or never, not \"50%\"; write 0.5",
		"hash: {max_load: 0.5}":                                               "a number from 1 to 1000, or 0",
		"hash: {max_load: 0}":                                                 "",
		"hash: {by: header}":                                                  "hash.name is missing; name the header field",
		"hash: {by: cookie, name: user}":                                      "",
		"hash: {by: path, name: x}":                                           "hash.name has no meaning for a hash of the path",
		"subset: {index: 1}":                                                  "set subset.index at the top level",
		"slow_start: 1ms":                                                     "at least 100ms, or 0",
		"zones: a":                                                            "must be one of prefer or ignore",
		"hedge: {percentile: 95, min_delay: 5ms}":                             "",
		"hedge: {enabled: false}":                                             "",
		"hedge: {percentile: 0.95}":                                           "a number from 50 to 99.9",
		"hedge: {percentile: 95%}":                                            "a number from 50 to 99.9",
		"hedge: {min_delay: 0}":                                               "at least 1ms",
		"hedge: {min_delay: 2s, max_delay: 1s}":                               "hedge.max_delay is 1s, less than min_delay, 2s; make it at least 2s",
		"hedge: {delay: 1s}":                                                  "hedge.delay is not a known key",
		"- a":                                                                 "must be a map of settings, not a list",
		"text":                                                                "must be a map of settings, not a single value",
		"algorithm: {":                                                        "(line 1, column",
		`{"retry":`:                                                           "(line 1, column",
		"a: 1\nb: 2":                                                          "a is not a known key",
		strings.Repeat("[", 1<<20):                                            "at most 65536 are read",
		strings.Repeat("[", 1<<10):                                            "nested more than 16 deep",
		"\x00\xff\xfe":                                                        "single value",
	} {
		err := CheckPolicy([]byte(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%.40q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%.40q: %v, want something with %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%.40q: more than one line: %v", text, err)
		}
	}
}

// Whatever an overlay gives, its text gives again.
func TestAnOverlaySurvivesItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o Overlay
		for key, f := range policyIndex {
			if !rapid.Bool().Draw(t, key) {
				continue
			}
			var v any
			switch reflect.TypeOf(f.value()).Kind() {
			case reflect.Int:
				v = rapid.IntRange(1, 100).Draw(t, "int")
			case reflect.Int64:
				v = time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "duration"))
			case reflect.Float64:
				if v = 1.0; key == "hedge.percentile" {
					v = 99.5
				}
			case reflect.Bool:
				v = rapid.Bool().Draw(t, "bool")
			default:
				v = map[string]string{
					"algorithm": "random", "health_check.type": "tcp", "health_check.path": "/x?y=<z>", "sticky_session.type": "address",
					"hash.by": "header", "hash.name": "n", "zones": "ignore",
					"health": "probe", "health_check.method": "HEAD", "health_check.host": "h:1", "health_check.headers": "A: b\nX-Y: z: 1",
					"health_check.statuses": "200-299, 401", "health_check.body": "<ok>", "health_check.body_regexp": "a|b", "health_check.grpc_service": "s",
					"health_check.scheme": "https", "health_check.initial_state": "up", "health_check.share": "etcd", "health_check.server_name": "h", "health_check.ca_file": "f",
					"circuit_breaker.failures": "gateway, reset", "sticky_session.cookie_name": "c", "sticky_session.cookie_path": "/a", "sticky_session.cookie_domain": "example.com",
					"sticky_session.cookie_same_site": "strict", "sticky_session.cookie_secure": "always", "sticky_session.header_name": "X-User", "proxy_protocol": "v1", "retry.on": "reset,503", "sticky_session.store": "memory", "backend_tls.server_name": "h", "backend_tls.ca_file": "a \"b\" é",
				}[key]
			}
			o.set(key, v)
		}
		if o.Has("hash.by") {
			o.set("hash.name", "n")
		}
		if o.Has("adaptive_concurrency.max_limit") {
			o.set("adaptive_concurrency.max_limit", 1000) // no less than the least
		}
		delete(o.given, "health_check.type") // only some keys mean anything to each type
		if first, ok := o.given["retry.initial_interval"]; ok && o.Has("retry.max_interval") {
			o.set("retry.max_interval", first)
		}
		if first, ok := o.given["hedge.min_delay"]; ok && o.Has("hedge.max_delay") {
			o.set("hedge.max_delay", first)
		}
		got, problems := parsePolicy(o.Text())
		if len(problems) > 0 {
			t.Fatalf("%s\n%v", o.Text(), problems)
		}
		if !reflect.DeepEqual(got, o) {
			t.Fatalf("%v\nis not\n%v", got, o)
		}
	})
}

func TestParseRoute(t *testing.T) {
	r, err := ParseRoute("api", []byte(`{"host":"API.example.com","path":"/v1","service":"api"}`))
	if want := (Route{Name: "api", Host: "api.example.com", Path: "/v1", Service: "api"}); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, %v, want %+v", r, err, want)
	}
	for text, want := range map[string]string{
		"":                            "the route is empty",
		"host: a":                     "service is missing",
		"{service: a, pth: /}":        "did you mean path?",
		"{service: ../x}":             "service must be a name",
		"{service: a, path: '/?a=b'}": "path alone",
		"{service: a, headers: [x]}":  "headers must be a map",
		"service":                     "must be a map",
	} {
		if _, err := ParseRoute("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something with %q", text, err, want)
		}
	}
	if _, err := ParseRoute("../x", []byte("service: a")); err == nil {
		t.Error("../x is no name of a route")
	}
}

func TestABalancersPlaceIsAmongThoseThereAre(t *testing.T) {
	for text, want := range map[string]string{
		"subset: {index: 2, of: 3}": "",
		"subset: {of: 3}":           "",
		"subset: {index: 3, of: 3}": "subset.index is 3 of 3 balancers; they count from 0: set subset.of to their number",
		"subset: {index: 3}":        "subset.index is 3, but of how many is not said",
	} {
		_, err := Parse("f.yaml", []byte(text))
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %q", text, got, want)
		}
	}
}
