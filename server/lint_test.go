package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/internal/consultest"
	"github.com/vietddude/load-balancer/server"
)

// lints checks a text and returns "key: code" for each problem.
func lints(t *testing.T, text string, o server.LintOptions) string {
	t.Helper()
	problems, err := server.Lint("f", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range problems {
		out = append(out, p.Key+": "+p.Code)
	}
	return strings.Join(out, "; ")
}

func TestWhatIsToBePutIntoAStoreIsCheckedAsItsSourceReadsIt(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"consul, one service":  {`{"service": {"name": "web", "port": 80, "tags": ["lb.host=shop.example.com"]}}`, ""},
		"consul, several":      {`{"services": [{"name": "web", "port": 80}, {"id": "x", "name": "api"}]}`, "api/x@f: bad-url"},
		"consul, of the API":   {`{"ID": "w1", "Name": "web", "Port": 80, "Meta": {"lb-algorithm": "fastest"}}`, "web/w1@f"},
		"consul, a list":       {`[{"name": "web", "port": 80, "tags": ["urlprefix-/x allow=ip:10.0.0.0/8"]}]`, "bad-option"},
		"etcd":                 {"# ours\n\n/lb/services/web/a=10.0.0.1:80\n/lb/policies/web={\"algorithm\": \"random\"}\n", ""},
		"etcd, a bad value":    {"/lb/services/web/a=10.0.0.1\n", "f:1 /lb/services/web/a: bad-url"},
		"etcd, a bad policy":   {"/lb/policies/web={\"algorithm\": \"fastest\"}\n", "f:1 /lb/policies/web: bad-policy"},
		"etcd, another prefix": {"/other/services/web/a=10.0.0.1:80\n", "bad-key"},
		"etcd, no line":        {"/lb/services/web/a\n", "f:1: bad-value"},
		"etcd, twice":          {"/lb/routes/r={\"service\": \"web\"}\n/lb/routes/r={\"service\": \"web\"}\n", "f:2 /lb/routes/r: duplicate"},
		"a file":               {"services: {web: {backends: [{id: a, url: \"10.0.0.1:80\"}]}}\n", ""},
		"a file, in JSON":      {`{"services": {"web": {"backends": [{"id": "a", "url": "10.0.0.1"}]}}}`, "f:1:"},
	} {
		got := lints(t, c.text, server.LintOptions{})
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestLintKnowsPrefixAndTagOfTheSource(t *testing.T) {
	if got := lints(t, "/other/services/web/a=10.0.0.1:80\n", server.LintOptions{Etcd: "etcd:///other"}); got != "" {
		t.Error(got)
	}
	if got := lints(t, `{"service": {"name": "web"}}`, server.LintOptions{Consul: "consul://127.0.0.1?tag=public"}); got != "" {
		t.Errorf("what the source passes over is told: %s", got)
	}
}

func TestWhatIsNothingToCheckIsAnError(t *testing.T) {
	for _, o := range []server.LintOptions{{Format: "xml"}, {Format: server.LintConsul}, {Format: server.LintEtcd, Etcd: "etcd://a b"}} {
		if _, err := server.Lint("f", []byte("x: y"), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestALiveEtcdIsCheckedAsItIs(t *testing.T) {
	etcd := startEtcd(t)
	if problems, err := server.LintStore(t.Context(), etcd.url); err != nil || len(problems) > 0 {
		t.Errorf("an empty store: %v %v", problems, err)
	}
	etcd.put("/lb/services/web/a", "10.0.0.1:80")
	etcd.put("/lb/services/web/b", "nowhere")
	etcd.put("/lb/policies/web", `{"algorithm": "fastest"}`)
	problems, err := server.LintStore(t.Context(), etcd.url)
	if err != nil || len(problems) != 2 || problems[0].Key != "/lb/policies/web" || problems[1].Key != "/lb/services/web/b" {
		t.Errorf("%+v %v", problems, err)
	}
	etcd.net.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := server.LintStore(ctx, etcd.url); err == nil || !strings.Contains(err.Error(), "etcd at") {
		t.Errorf("a store that is away: %v", err)
	}
}

func TestALiveConsulIsCheckedAsItIs(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	if err := agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Tags: []string{"lb.host=a b"}}); err != nil {
		t.Fatal(err)
	}
	problems, err := server.LintStore(t.Context(), agent.URL())
	if err != nil || len(problems) < 2 {
		t.Errorf("%+v %v, want a bad host and no port", problems, err)
	}
}
