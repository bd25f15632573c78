package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

// routesOf lists routes in a short form, in the order in which the labels make them.
func routesOf(l labels) []string {
	var texts []string
	for _, r := range l.routes {
		text := match(r)
		if r.StripPrefix != "" {
			text += " strip " + r.StripPrefix
		}
		texts = append(texts, strings.TrimSpace(text))
	}
	return texts
}

func optionsOf(l labels) map[string]string {
	m := map[string]string{}
	for k, v := range l.policy {
		m[k] = v.value
	}
	return m
}

func codesOf(problems []discovery.Problem) []string {
	var codes []string
	for _, p := range problems {
		codes = append(codes, p.Code)
	}
	return codes
}

func TestLabelsOfAnInstance(t *testing.T) {
	const (
		option = discovery.CodeBadOption
		route  = discovery.CodeBadRoute
	)
	for _, c := range []struct {
		name    string
		tags    []string
		meta    map[string]string
		scheme  string
		share   float64
		routes  []string
		options map[string]string
		codes   []string
	}{
		{name: "other tags mean nothing", tags: []string{"v1", "prod", "traefik.enable=true", "lbx=1", ""}, meta: map[string]string{"zone": "a"}},
		{name: "a host", tags: []string{"lb.host=API.example.com"}, routes: []string{"api.example.com"}},
		{name: "a wildcard", tags: []string{"lb.host=*.example.com"}, routes: []string{"*.example.com"}},
		{name: "a host and a path make one route", tags: []string{"lb.path=/v1/", "lb.host=a.b"}, routes: []string{"a.b/v1"}},
		{name: "several make each combination", tags: []string{"lb.host=a", "lb.host=b", "lb.path=/x", "lb.path=/y"},
			routes: []string{"a/x", "a/y", "b/x", "b/y"}},
		{name: "everything a route has", routes: []string{`POST a/x X-Canary="yes" strip /x`},
			tags: []string{"lb.host=a", "lb.path=/x", "lb.method=POST", "lb.header.x-canary=yes", "lb.strip_prefix=/x"}},
		{name: "a strip without a route", tags: []string{"lb.strip_prefix=/x"}, codes: []string{option}},
		{name: "a strip that is not in front", tags: []string{"lb.path=/y", "lb.strip_prefix=/x"}, codes: []string{route}},
		{name: "a bad host spoils its route alone", tags: []string{"lb.host=a b", "lb.host=c"}, routes: []string{"c"}, codes: []string{route}},
		{name: "a bad path", tags: []string{"lb.path=x"}, codes: []string{route}},
		{name: "a bad method", tags: []string{"lb.method=GE T"}, codes: []string{route}},
		{name: "policy options", tags: []string{"lb.algorithm=p2c", "lb.health_check.path=/x=1"},
			options: map[string]string{"algorithm": "p2c", "health_check.path": "/x=1"}},
		{name: "meta has dashes for dots", meta: map[string]string{"lb-health_check-path": "/x", "lb-host": "a", "lb-header-X-A-B": "1", "lb-scheme": "https"},
			scheme: "https", routes: []string{`a X-A-B="1"`}, options: map[string]string{"health_check.path": "/x"}},
		{name: "the same twice is no conflict", tags: []string{"lb.algorithm=p2c"}, meta: map[string]string{"lb-algorithm": "p2c"},
			options: map[string]string{"algorithm": "p2c"}},
		{name: "two values on one instance", tags: []string{"lb.algorithm=p2c", "lb.algorithm=random"},
			options: map[string]string{"algorithm": "p2c"}, codes: []string{option}},
		{name: "no value", tags: []string{"lb.algorithm", "lb.=x", "lb."}, codes: []string{option, option, option}},
		{name: "empty parts of a key", tags: []string{"lb.a..b=x", "lb..=x"}, codes: []string{option, option}},
		{name: "a scheme that is none", tags: []string{"lb.scheme=ftp"}, codes: []string{option}},
		{name: "a label too long", tags: []string{"lb.x=" + strings.Repeat("y", maxLabel)}, codes: []string{discovery.CodeTooLarge}},

		{name: "fabio path", tags: []string{"urlprefix-/css"}, routes: []string{"/css"}},
		{name: "fabio host and path", tags: []string{"urlprefix-i.com/static"}, routes: []string{"i.com/static"}},
		{name: "fabio host", tags: []string{"urlprefix-MySite.com/"}, routes: []string{"mysite.com/"}},
		{name: "fabio wildcard", tags: []string{"urlprefix-*.site.com/"}, routes: []string{"*.site.com/"}},
		{name: "fabio port of the scheme", tags: []string{"urlprefix-a.com:80/x", "urlprefix-b.com:443/"}, routes: []string{"a.com/x", "b.com/"}},
		{name: "fabio options", tags: []string{"urlprefix-a/x  strip=/x proto=https weight=0.25"},
			scheme: "https", share: 0.25, routes: []string{"a/x strip /x"}},
		{name: "fabio options not known", tags: []string{"urlprefix-a/ tlsskipverify=true proto=grpc weight=2 strip"},
			routes: []string{"a/"}, codes: []string{option, option, option}},
		{name: "fabio weight that is no number", tags: []string{"urlprefix-a/ weight=NaN"}, routes: []string{"a/"}, codes: []string{option}},
		{name: "fabio TCP", tags: []string{"urlprefix-:8080", "urlprefix-:8080 proto=tcp", "urlprefix-a/ proto=tcp"}, codes: []string{option, option, option}},
		{name: "fabio restrictions are not dropped", codes: []string{option, option, option, option},
			tags: []string{"urlprefix-a/ allow=ip:10.0.0.0/8", "urlprefix-b/ deny=ip:1.2.3.4/32", "urlprefix-c/ auth=me", "urlprefix-d/ redirect=301,https://d/"}},
		{name: "fabio without a route", tags: []string{"urlprefix-", "urlprefix- strip=/x", "urlprefix-host"}, codes: []string{option, route, option}},
		{name: "fabio glob", tags: []string{"urlprefix-a*b.com/"}, codes: []string{route}},
		{name: "lb-scheme is stronger than proto", tags: []string{"urlprefix-a/ proto=http"}, meta: map[string]string{"lb-scheme": "https"},
			scheme: "https", routes: []string{"a/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := parseLabels(c.tags, c.meta)
			if l.scheme != c.scheme || l.share != c.share {
				t.Errorf("scheme %q, share %v; want %q, %v", l.scheme, l.share, c.scheme, c.share)
			}
			if got := routesOf(l); !slices.Equal(got, c.routes) {
				t.Errorf("routes are %q, want %q", got, c.routes)
			}
			if got := optionsOf(l); !maps.Equal(got, c.options) {
				t.Errorf("options are %q, want %q", got, c.options)
			}
			if got := codesOf(l.wrong); !slices.Equal(got, c.codes) {
				t.Errorf("problems are %+v, want the codes %q", l.wrong, c.codes)
			}
		})
	}
}

func TestTooManyLabelsAreToldOnce(t *testing.T) {
	var tags []string
	for i := range 3 * maxLabels {
		tags = append(tags, "lb.k"+strings.Repeat("x", i%100+1)+"="+strings.Repeat("v", i))
	}
	n := 0
	for _, p := range parseLabels(tags, nil).wrong {
		if p.Code == discovery.CodeTooLarge {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d problems of that kind, want 1", n)
	}
}

func TestLabelsCannotMultiplyToManyRoutes(t *testing.T) {
	var tags []string
	for i := range maxLabels / 2 {
		tags = append(tags, fmt.Sprintf("lb.host=h%d", i), fmt.Sprintf("lb.path=/p%d", i))
	}
	l := parseLabels(tags, nil)
	if len(l.routes) != maxLabels || len(l.wrong) != 1 || l.wrong[0].Code != discovery.CodeTooLarge {
		t.Errorf("%d routes and the problems %+v, want %d and one that says so", len(l.routes), l.wrong, maxLabels)
	}
}

func TestRouteNamesAreStableAndDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, r := range []discovery.Route{
		{}, {Path: "/"}, {Path: "/a"}, {Path: "/a_b"}, {Path: "/a/b"}, {Path: "/a-b"}, {Host: "a"}, {Host: "*.a"}, {Host: "-.a"},
		{Method: "GET", Host: "a"}, {Headers: map[string]string{"X": "1"}}, {Headers: map[string]string{"X": "2"}},
		{Path: "/" + strings.Repeat("long", 100)}, {Path: "/" + strings.Repeat("long", 101)}, {Path: "/ü"}, {Path: "/ö"},
	} {
		r.Service = "web"
		name := routeName(r)
		if other, ok := seen[name]; ok {
			t.Errorf("%q names both %q and %q", name, other, match(r))
		}
		seen[name] = match(r)
		if err := discovery.CheckName(name); err != nil {
			t.Errorf("%q: %v", match(r), err)
		}
	}
	if got := routeName(discovery.Route{Service: "web", Host: "i.com", Path: "/static"}); got != "web.i.com_static" {
		t.Errorf("the name is %q, want web.i.com_static", got)
	}
}

func FuzzLabels(f *testing.F) {
	for _, tag := range []string{
		"lb.host=a", "lb.path=/a", "lb.header.X=1", "lb.strip_prefix=/", "lb.a.b.c=d", "lb.=", "lb", "urlprefix-/css", "urlprefix-:80",
		"urlprefix-a.b/c strip=/c proto=https weight=0.3", "urlprefix-a/ weight=NaN", "urlprefix-*./", "urlprefix-a//", "urlprefix-/\x00",
	} {
		f.Add(tag, "lb-health_check-path", "/x")
		f.Add(tag, tag, tag)
	}
	f.Fuzz(func(t *testing.T, tag, key, value string) {
		entries := entriesOf(instanceOf("web-1", func(s *agentService) {
			s.Tags = []string{tag, "urlprefix-" + tag, "lb." + tag}
			s.Meta = map[string]string{key: value, "lb-" + key: value}
		}))
		d := decoder{}
		s, problems := d.service("web", entries)
		checkDecoded(t, s, problems)
		again, _ := d.service("web", entries)
		if !s.Equal(again) {
			t.Errorf("the same labels give %+v and %+v", s, again)
		}
	})
}
