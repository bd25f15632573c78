package archtest

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func packages(t *testing.T) []*pkg {
	t.Helper()
	all, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func report(t *testing.T, found []string) {
	t.Helper()
	for _, v := range found {
		t.Error(v)
	}
}

func TestImportsFollowTheDesign(t *testing.T) { report(t, violations(packages(t), rules())) }

func TestEveryPackageHasOneComment(t *testing.T) { report(t, packageComments(packages(t))) }

func TestNoStateIsKeptAtPackageLevel(t *testing.T) { report(t, sharedState(packages(t))) }

func TestPickersHaveNoClock(t *testing.T) {
	for _, p := range packages(t) {
		if p.path == "balance" {
			report(t, clockReads(p))
		}
	}
}

func TestTheWholeModuleIsSeen(t *testing.T) {
	var paths []string
	for _, p := range packages(t) {
		paths = append(paths, p.path)
	}
	for _, want := range []string{"backend", "balance", "breaker", "discovery", "discovery/etcd", "internal/archtest", "probe", "routing", "tlsload"} {
		if !slices.Contains(paths, want) {
			t.Errorf("the package %s was not read, only %v", want, paths)
		}
	}
	if slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, "integration/tools") || strings.HasPrefix(p, ".") }) {
		t.Errorf("nested modules or hidden folders were read: %v", paths)
	}
}

func TestTheModulesNameIsRight(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "module "+module+"\n") {
		t.Errorf("go.mod does not begin with module %s, so that no import is taken for ours", module)
	}
}

// importing is a module of one package that imports one other.
func importing(path, target string) []*pkg {
	return []*pkg{{path: path, files: []file{{name: path + "/a.go", imports: []imported{{path: target, line: 3}}}}}}
}

func TestEachRowOfTheTableForbids(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"config", "discovery"},
		{"discovery", "backend"},
		{"breaker", "internal/backoff"},
		{"affinity", "backend"},
		{"probe", "backend"},
		{"tlsload", "config"},
		{"metrics", "routing"},
		{"accesslog", "proxy"},
		{"discovery/etcd", "routing"},
		{"discovery/consul", "proxy/upstream"},
		{"discovery/file", "config"},
		{"discovery/etcd", "discovery/consul"},
		{"discovery/consul", "discovery/file"},
		{"discovery/file", "discovery/etcd"},
		{"backend", "discovery"},
		{"backend", "routing"},
		{"backend", "probe"},
		{"backend", "metrics"},
		{"balance", "routing"},
		{"balance", "!net/http"},
		{"balance", "!net/http/httputil"},
		{"routing", "proxy"},
		{"routing", "discovery/etcd"},
		{"routing", "config"},
		{"proxy", "discovery/consul"},
		{"proxy", "config"},
		{"proxy", "probe"},
		{"proxy/upstream", "metrics"},
		{"proxy", "admin"},
		{"proxy/http1", "balance"},
		{"proxy/http1", "!golang.org/x/net/http/httpguts"},
		{"admin", "server"},
		{"internal/demo", "server"},
		{"internal/backoff", "discovery"},
		{"server", "internal/demo"},
		{"server", "!testing"},
		{"server", "!pgregory.net/rapid"},
	} {
		to, foreign := strings.CutPrefix(c.to, "!")
		if !foreign {
			to = module + "/" + to
		}
		found := violations(importing(c.from, to), rules())
		if len(found) == 0 {
			t.Errorf("%s may import %s", c.from, to)
			continue
		}
		for _, part := range []string{c.from + "/a.go:3: ", " must not import " + to + ": "} {
			if !strings.Contains(found[0], part) {
				t.Errorf("%q does not say %q", found[0], part)
			}
		}
	}
}

func TestWhatTheDesignWantsIsAllowed(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"cmd/loadbalancer", "server"},
		{"cmd/loadbalancer", "internal/demo"},
		{"integration", "server"},
		{"server", "config"},
		{"server", "discovery/etcd"},
		{"routing", "discovery"},
		{"routing", "probe"},
		{"proxy", "routing"},
		{"proxy", "proxy/http1"},
		{"backend", "breaker"},
		{"discovery/etcd", "discovery"},
		{"discovery/etcd", "internal/backoff"},
	} {
		if found := violations(importing(c.from, module+"/"+c.to), rules()); len(found) > 0 {
			t.Errorf("%s", found[0])
		}
	}
	for _, std := range []string{"net/http", "bufio", "sync/atomic"} {
		if found := violations(importing("proxy/http1", std), rules()); len(found) > 0 {
			t.Errorf("%s", found[0])
		}
	}
}

func TestEveryRuleHasItsReason(t *testing.T) {
	for _, r := range rules() {
		if len(r.reason) < 20 {
			t.Errorf("the rule for %v has no reason", r.packages)
		}
	}
}

// parsed is a package of some files' texts.
func parsed(t *testing.T, texts ...string) *pkg {
	t.Helper()
	p := &pkg{path: "x"}
	for _, text := range texts {
		syntax, err := parser.ParseFile(token.NewFileSet(), "x.go", text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, file{name: "x/x.go", syntax: syntax})
	}
	return p
}

func TestPackageCommentsAreCounted(t *testing.T) {
	const with, without = "// Package x is.\npackage x", "package x"
	for name, c := range map[string]struct {
		texts []string
		bad   int
	}{
		"one":      {[]string{with, without}, 0},
		"none":     {[]string{without, without}, 1},
		"two":      {[]string{with, with}, 1},
		"wrong":    {[]string{"// Is a package.\npackage x"}, 1},
		"command":  {[]string{"// Command x does.\npackage main"}, 0},
		"detached": {[]string{"// Package x is.\n\npackage x"}, 1},
	} {
		if found := packageComments([]*pkg{parsed(t, c.texts...)}); len(found) != c.bad {
			t.Errorf("%s: found %v, want %d", name, found, c.bad)
		}
	}
}

func TestClockReadsAreFound(t *testing.T) {
	p := parsed(t, `package x
import "time"
var timeout = 3 * time.Second
func f(t time.Time) { _ = t.After(t); _ = t.Sub(time.Now()) }`)
	if found := clockReads(p); len(found) != 1 || !strings.Contains(found[0], "time.Now") {
		t.Errorf("found %v, want time.Now alone", found)
	}
}

func TestSharedStateIsFound(t *testing.T) {
	for text, bad := range map[string]bool{
		`var m map[string]int`:         true,
		`var m = map[string]int{}`:     true,
		`var m = make(map[string]int)`: true,
		`var c = make(chan int)`:       true,
		`var c chan int`:               true,
		`var list []string`:            false,
		"var list []string\nfunc add(s string) { list = append(list, s) }": true,
		`var mu sync.Mutex`:                             true,
		`var n atomic.Int64`:                            true,
		`var p atomic.Pointer[int]`:                     true,
		`var p = &sync.Mutex{}`:                         true,
		`var pool = sync.Pool{}`:                        false,
		`var m sync.Map`:                                true,
		`var n = new(atomic.Int64)`:                     true,
		`var count int`:                                 true,
		`var table = map[string]int{"a": 1}`:            false,
		`var list = [...]string{"a"}`:                   false,
		`var err = errors.New("x")`:                     false,
		`var _ I = (*T)(nil)`:                           false,
		`var once = sync.OnceValue(f)`:                  false,
		"//go:embed page.html\nvar page string":         false,
		"// version is set by -ldflags\nvar v string":   false,
		`func f() { var m map[string]int; _ = m }`:      false,
		`type t struct { mu sync.Mutex; n map[int]int}`: false,
	} {
		if found := sharedState([]*pkg{parsed(t, "package x\n"+text)}); (len(found) > 0) != bad {
			t.Errorf("%s: found %v, want state: %v", text, found, bad)
		}
	}
}
