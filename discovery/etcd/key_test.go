package etcd

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vietddude/load-balancer/discovery"
)

func TestKeysLieWhereTheLayoutSays(t *testing.T) {
	for key, want := range map[string]place{
		"services/web/b1":            {backendKind, "web", "b1"},
		"services/web/10.0.0.1:8080": {backendKind, "web", "10.0.0.1:8080"},
		"services/a.b_c-d/i-0(x)@y":  {backendKind, "a.b_c-d", "i-0(x)@y"},
		"policies/web":               {policyKind, "web", ""},
		"routes/api":                 {routeKind, "", "api"},
		"sessions/web/abc/def":       {},
		"overrides/":                 {},
		"status":                     {},
		"fleet/x":                    {},
	} {
		if got, f := locate(key); f != nil || got != want {
			t.Errorf("%s lies at %+v (%v), want %+v", key, got, f, want)
		}
	}
}

func TestKeysOutsideTheLayoutAreRejected(t *testing.T) {
	for key, code := range map[string]string{
		"":                    discovery.CodeBadKey,
		"x":                   discovery.CodeBadKey,
		"service/web/b1":      discovery.CodeBadKey,
		"Services/web/b1":     discovery.CodeBadKey,
		"/services/web/b1":    discovery.CodeBadKey,
		"services/web":        discovery.CodeBadKey,
		"services":            discovery.CodeBadName,
		"services/":           discovery.CodeBadName,
		"services//b1":        discovery.CodeBadName,
		"services/web/":       discovery.CodeBadName,
		"services/web/b1/":    discovery.CodeBadName,
		"services/web/a/b":    discovery.CodeBadName,
		"services/../x":       discovery.CodeBadName,
		"services/web/..":     discovery.CodeBadName,
		"services/../x/b1":    discovery.CodeBadName,
		"services/we b/b1":    discovery.CodeBadName,
		"services/web/b\x001": discovery.CodeBadName,
		"services/w\xffb/b1":  discovery.CodeBadName,
		"policies/":           discovery.CodeBadName,
		"policies/../web":     discovery.CodeBadName,
		"policies/web/x":      discovery.CodeBadName,
		"routes/a/b":          discovery.CodeBadName,
		"services/" + strings.Repeat("a", 300) + "/b": discovery.CodeBadName,
	} {
		if got, f := locate(key); f == nil || f.code != code {
			t.Errorf("%.60q lies at %+v (%v), want %s", key, got, f, code)
		}
	}
}

func TestPrintableKeysStayApartShortAndReadable(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	keys := []string{"/lb/services/web/b1", "/lb/x\x00", "/lb/x\n", "/lb/\xff", "/lb/\xfe", long + "1", long + "2", strings.Repeat("\x00", 1<<20)}
	seen := map[string]string{}
	for _, key := range keys {
		p := printable(key)
		if other, ok := seen[p]; ok {
			t.Errorf("%.40q and %.40q are both printed as %.80s", key, other, p)
		}
		seen[p] = key
		if len(p) > 4096 || !utf8.ValidString(p) || strings.ContainsAny(p, "\x00\n") {
			t.Errorf("%.40q is printed as %.80q", key, p)
		}
	}
	if p := printable(keys[0]); p != keys[0] {
		t.Errorf("%q is printed as %q", keys[0], p)
	}
}
