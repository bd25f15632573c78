package etcd

import (
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

func TestLintTellsWhatASourceWouldReject(t *testing.T) {
	o := Options{Decoder: decoder{}}
	for _, c := range []struct {
		o          Options
		key, value string
		code       string // empty for none
	}{
		{o, "/lb/services/web/a", "10.0.0.1:80", ""},
		{o, "/lb/services/web/a", "10.0.0.1", discovery.CodeBadURL},
		{o, "/lb/services/web", "10.0.0.1:80", discovery.CodeBadKey},
		{o, "/lb/services/we b/a", "10.0.0.1:80", discovery.CodeBadName},
		{o, "/lb/policies/web", "good", ""},
		{o, "/lb/policies/web", "bad", discovery.CodeBadPolicy},
		{o, "/lb/routes/r", `{"Service":"web"}`, ""},
		{o, "/lb/routes/r", `{`, discovery.CodeBadRoute},
		{o, "/lb/sessions/x", "whatever", ""},
		{o, "/lb-staging/services/web/a", "10.0.0.1:80", discovery.CodeBadKey},
		{Options{}, "/lb/policies/web", "good", discovery.CodeBadPolicy},
		{Options{Prefix: "/x/"}, "/x/services/web/a", "10.0.0.1:80", ""},
		{Options{Format: FormatKratos}, "/microservices/web/a", "10.0.0.1:80", discovery.CodeBadValue},
		{Options{Format: FormatGoZero}, "web/1", "10.0.0.1:80", ""},
		{Options{Format: "eureka"}, "web/1", "10.0.0.1:80", discovery.CodeBadOption},
	} {
		got := Lint(c.o, c.key, []byte(c.value))
		switch {
		case c.code == "" && len(got) != 0:
			t.Errorf("%s %s: %+v, want nothing", c.key, c.value, got)
		case c.code != "" && (len(got) != 1 || got[0].Code != c.code || got[0].Key != c.key || got[0].Detail == ""):
			t.Errorf("%s %s: %+v, want one of code %s", c.key, c.value, got, c.code)
		}
	}
}
