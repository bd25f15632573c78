package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// rule forbids imports, with its reason. Packages of ours are named by their path within the module, others by a "!" and
// the path that they are imported by, what is below it included; "x/..." means x and all below it, "..." every package
// of ours.
type rule struct {
	packages  []string
	except    []string // packages that the rule does not bind
	forbidden []string
	stdOnly   bool // everything but the standard library is forbidden
	reason    string
}

// sources are the packages that speak with places which announce.
var sources = []string{"discovery/etcd/...", "discovery/consul/...", "discovery/file/..."}

// helpers are the packages that tests alone use.
var helpers = []string{"discovery/discoverytest", "internal/consultest", "internal/faultnet", "internal/memnet", "internal/testcert"}

// rules are the rows of the design's table of imports, one or more each.
func rules() []rule {
	return []rule{
		{
			packages:  []string{"config/...", "discovery", "breaker", "affinity/...", "probe", "tlsload", "metrics", "accesslog"},
			forbidden: []string{"..."},
			reason: "it is a leaf: values and behaviour that everybody may use without taking on anything else; " +
				"only server knows them all and wires them together",
		},
		{
			packages:  sources,
			forbidden: []string{"routing/...", "proxy/...", "config/..."},
			reason: "a source speaks one protocol and pushes into a discovery.Sink; what becomes of it, and how it is " +
				"configured, is decided elsewhere, so that a source can be tested and replaced alone",
		},
		{
			packages:  []string{"discovery/etcd/..."},
			forbidden: []string{"discovery/consul/...", "discovery/file/..."},
			reason:    "sources know nothing of each other: what they share is the contract in discovery",
		},
		{
			packages:  []string{"discovery/consul/..."},
			forbidden: []string{"discovery/etcd/...", "discovery/file/..."},
			reason:    "sources know nothing of each other: what they share is the contract in discovery",
		},
		{
			packages:  []string{"discovery/file/..."},
			forbidden: []string{"discovery/consul/...", "discovery/etcd/..."},
			reason:    "sources know nothing of each other: what they share is the contract in discovery",
		},
		{
			packages:  []string{"discovery/announce"},
			forbidden: append([]string{"routing/...", "proxy/...", "config/..."}, sources...),
			reason: "it holds what is written in a store and knows no store: those are slots, which the packages of the " +
				"stores make",
		},
		{
			packages:  []string{"fleet", "register", "admin/client"},
			forbidden: append([]string{"routing/...", "proxy/...", "config/..."}, sources...),
			reason: "what is told of replicas, a registration and an operator's commands need no balancer around them; " +
				"server opens the stores for them",
		},
		{
			packages:  []string{"backend"},
			forbidden: []string{"discovery/...", "routing/...", "probe", "metrics"},
			reason: "the record of a backend outlives tables and announcements and is written by many; it must not depend " +
				"on where backends come from nor on who reads it",
		},
		{
			packages:  []string{"balance"},
			forbidden: []string{"!net/http", "routing/..."},
			reason: "pickers are pure: they see weights and counters, not requests or tables, and are compared with " +
				"oracles for that",
		},
		{
			packages:  []string{"routing"},
			forbidden: append([]string{"proxy/...", "config/..."}, sources...),
			reason: "data flows discovery → routing → proxy and imports point against it; policies reach routing resolved, " +
				"announcements through discovery's contract",
		},
		{
			packages:  []string{"snapshot"},
			forbidden: append([]string{"proxy/...", "config/...", "admin/...", "metrics", "probe"}, sources...),
			reason:    "it writes down what the catalog knows; what is configured, and who is told of it, is the server's",
		},
		{
			packages:  []string{"proxy/..."},
			forbidden: append([]string{"config/...", "probe", "metrics", "admin/..."}, sources...),
			reason: "the exchange sees a table and nothing of how it came to be; whoever measures or steers it reads " +
				"counters and declares interfaces of its own",
		},
		{
			packages: []string{"proxy/http1", "proxy/proxyproto"},
			stdOnly:  true,
			reason:   "the wire is bytes in, messages out, without policy, so that it can be fuzzed and reused alone",
		},
		{
			packages:  []string{"..."},
			except:    []string{"cmd/...", "integration/...", "bench/..."},
			forbidden: []string{"server"},
			reason:    "server is the composition root: it knows all, and only commands and black-box tests know it",
		},
		{
			packages:  []string{"internal/backoff", "internal/faultnet", "internal/gcpace", "internal/filewatch", "internal/memnet", "internal/zapslog"},
			forbidden: []string{"..."},
			reason:    "a small helper that everybody may use takes nothing else along",
		},
		{
			packages:  []string{"..."},
			except:    []string{"cmd/...", "integration/...", "internal/demo/..."},
			forbidden: []string{"internal/demo/..."},
			reason:    "the demo's backends are for the dev command and scripts, no part of the balancer",
		},
		{
			packages:  []string{"..."},
			except:    append([]string{"integration/...", "bench/..."}, helpers...),
			forbidden: append([]string{"!testing", "!net/http/httptest", "!pgregory.net/rapid", "!go.uber.org/goleak", "!github.com/testcontainers"}, helpers...),
			reason:    "what tests need stays out of the binary; a new helper of tests is named in helpers, in rules.go",
		},
	}
}

// violations are the imports that break rules, with their place and the reason.
func violations(packages []*pkg, rules []rule) []string {
	var found []string
	for _, p := range packages {
		for _, r := range rules {
			if !matchAny(r.packages, p.path) || matchAny(r.except, p.path) {
				continue
			}
			for _, f := range p.files {
				for _, i := range f.imports {
					if r.forbids(p.path, i.path) {
						found = append(found, fmt.Sprintf("%s:%d: %s must not import %s: %s", f.name, i.line, p.path, i.path, r.reason))
					}
				}
			}
		}
	}
	return found
}

func (r rule) forbids(from, imported string) bool {
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	switch {
	case isOurs && ours == from:
		return false
	case r.stdOnly:
		first, _, _ := strings.Cut(imported, "/")
		return strings.Contains(first, ".")
	case isOurs:
		return matchAny(r.forbidden, ours)
	}
	return slices.ContainsFunc(r.forbidden, func(f string) bool {
		foreign, ok := strings.CutPrefix(f, "!")
		return ok && (imported == foreign || strings.HasPrefix(imported, foreign+"/"))
	})
}

func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, p) })
}

// match reports whether a package's path is meant by a pattern.
func match(pattern, p string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return p == base || strings.HasPrefix(p, base+"/")
	}
	return p == pattern
}
