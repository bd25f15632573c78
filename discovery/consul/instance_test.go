package consul

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
)

type agentService = api.AgentService

// instanceOf is a healthy instance of web on node n1, changed as the functions do.
func instanceOf(id string, change ...func(*agentService)) *api.ServiceEntry {
	s := &agentService{ID: id, Service: "web", Address: "10.0.0.1", Port: 80, Weights: api.AgentWeights{Passing: 1, Warning: 1}}
	for _, c := range change {
		c(s)
	}
	return &api.ServiceEntry{Node: &api.Node{Node: "n1", Address: "10.0.0.9"}, Service: s}
}

func entriesOf(list ...*api.ServiceEntry) []*api.ServiceEntry { return list }

func on(node string, e *api.ServiceEntry) *api.ServiceEntry {
	e.Node.Node = node
	return e
}

// with gives an instance checks by status; "maint" and "nodemaint" are the checks of maintenance.
func with(e *api.ServiceEntry, statuses ...string) *api.ServiceEntry {
	for i, status := range statuses {
		c := &api.HealthCheck{CheckID: fmt.Sprint("c", i), Status: status}
		switch status {
		case "maint":
			c.CheckID, c.Status = api.ServiceMaintPrefix+e.Service.ID, api.HealthCritical
		case "nodemaint":
			c.CheckID, c.Status = api.NodeMaint, api.HealthCritical
		}
		e.Checks = append(e.Checks, c)
	}
	return e
}

// reached is the instance a with another address, or on a node with one when the tag is empty.
func reached(tag, address string, port int, change ...func(*agentService)) *api.ServiceEntry {
	e := instanceOf("a")
	if tag == "" {
		e.Service.Address = ""
		e.Node.TaggedAddresses = map[string]string{"wan": address}
	} else {
		e.Service.TaggedAddresses = map[string]api.ServiceAddress{tag: {Address: address, Port: port}}
	}
	for _, c := range change {
		c(e.Service)
	}
	return e
}

func tagged(tags ...string) func(*agentService) { return func(s *agentService) { s.Tags = tags } }

func checkDecoded(t *testing.T, s discovery.Service, problems []discovery.Problem) {
	t.Helper()
	s.Seen = time.Now()
	if err := discoverytest.CheckService(s); err != nil {
		t.Errorf("%+v: %v", s, err)
	}
	names := map[string]bool{}
	for _, r := range s.Routes {
		if names[r.Name] {
			t.Errorf("two routes have the name %q", r.Name)
		}
		names[r.Name] = true
	}
	keys := map[string]bool{}
	for _, p := range problems {
		if p.Key == "" || p.Detail == "" || p.Code == "" || keys[p.Key] {
			t.Errorf("the problem %+v has no key of its own, detail or code", p)
		}
		keys[p.Key] = true
	}
}

// summary is a service in one line: its backends with weight, zone and drain.
func summary(s discovery.Service) string {
	var texts []string
	for _, b := range s.Backends {
		text := fmt.Sprintf("%s=%s*%d", b.ID, b.URL, b.Weight)
		if b.Zone != "" {
			text += " in " + b.Zone
		}
		if b.Draining {
			text += " drains"
		}
		if b.Failing {
			text += " fails"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func TestWhatBecomesOfAnInstance(t *testing.T) {
	weighted := func(e *api.ServiceEntry, passing, warning int) *api.ServiceEntry {
		e.Service.Weights = api.AgentWeights{Passing: passing, Warning: warning}
		return e
	}
	for _, c := range []struct {
		name    string
		entries []*api.ServiceEntry
		want    string
		code    string // of the only problem
		tag     string
		address string
	}{
		{name: "no check is passing", entries: entriesOf(instanceOf("a")), want: "a=http://10.0.0.1:80*1"},
		{name: "the node's address", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Address = "" })), want: "a=http://10.0.0.9:80*1"},
		{name: "an IPv6 address", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Address = "fd00::1" })), want: "a=http://[fd00::1]:80*1"},
		{name: "a default port among several", want: "a=http://10.0.0.1:81*1", entries: entriesOf(instanceOf("a", func(s *agentService) {
			s.Port, s.Ports = 0, api.ServicePorts{{Name: "x", Port: 80}, {Name: "y", Port: 81, Default: true}}
		}))},
		{name: "passing weight", entries: entriesOf(with(weighted(instanceOf("a"), 5, 2), "passing")), want: "a=http://10.0.0.1:80*5"},
		{name: "warning weight", entries: entriesOf(with(weighted(instanceOf("a"), 5, 2), "passing", "warning")), want: "a=http://10.0.0.1:80*2"},
		{name: "warning weight 0", entries: entriesOf(with(weighted(instanceOf("a"), 5, 0), "warning")), want: "a=http://10.0.0.1:80*0"},
		{name: "no weights", entries: entriesOf(weighted(instanceOf("a"), 0, 0)), want: "a=http://10.0.0.1:80*1"},
		{name: "a weight too great is taken as the greatest", entries: entriesOf(weighted(instanceOf("a"), 65535, 1)), want: "a=http://10.0.0.1:80*1000", code: discovery.CodeBadWeight},
		{name: "a negative weight", entries: entriesOf(weighted(instanceOf("a"), -1, 1)), code: discovery.CodeBadWeight},
		{name: "critical", entries: entriesOf(with(instanceOf("a"), "passing", "critical"), with(instanceOf("b"), "passing")), want: "a=http://10.0.0.1:80*1 fails, b=http://10.0.0.1:80*1"},
		{name: "warning and critical, in any order", entries: entriesOf(with(instanceOf("a"), "critical", "warning")), want: "a=http://10.0.0.1:80*1 fails"},
		{name: "a status that is none", entries: entriesOf(with(instanceOf("a"), "weird")), want: "a=http://10.0.0.1:80*1 fails"},
		{name: "maintenance", entries: entriesOf(with(instanceOf("a"), "passing", "maint")), want: "a=http://10.0.0.1:80*1 drains"},
		{name: "the node's maintenance", entries: entriesOf(with(instanceOf("a"), "nodemaint")), want: "a=http://10.0.0.1:80*1 drains"},
		{name: "maintenance and critical", entries: entriesOf(with(instanceOf("a"), "maint", "critical")), want: "a=http://10.0.0.1:80*1 drains fails"},
		{name: "a zone in meta", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Meta = map[string]string{"zone": "z1"} })), want: "a=http://10.0.0.1:80*1 in z1"},
		{name: "a locality", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Locality = &api.Locality{Zone: "z2"} })), want: "a=http://10.0.0.1:80*1 in z2"},
		{name: "sidecars are passed over", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Kind = api.ServiceKindConnectProxy }))},
		{name: "another name in other case", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Service = "WEB" }))},
		{name: "the tag", tag: "prod", entries: entriesOf(instanceOf("a", tagged("x", "prod")), instanceOf("b", tagged("x"))), want: "a=http://10.0.0.1:80*1"},
		{name: "https", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Meta = map[string]string{"lb-scheme": "https"} })), want: "a=https://10.0.0.1:80*1"},
		{name: "a drain in meta", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Meta = map[string]string{"loadbalancer-drain": "true"} })),
			want: "a=http://10.0.0.1:80*1 drains"},
		{name: "a drain in a tag", entries: entriesOf(instanceOf("a", tagged("loadbalancer.drain=true")), instanceOf("b", tagged("lb.drain=true")), instanceOf("c", tagged("lb.drain=false"))),
			want: "a=http://10.0.0.1:80*1 drains, b=http://10.0.0.1:80*1 drains, c=http://10.0.0.1:80*1"},
		{name: "a drain that is none", entries: entriesOf(instanceOf("a", tagged("lb.drain=soon"))), want: "a=http://10.0.0.1:80*1", code: discovery.CodeBadOption},
		{name: "the wan address", address: "wan", entries: entriesOf(reached("wan", "192.0.2.5", 8443)), want: "a=http://192.0.2.5:8443*1"},
		{name: "a wan address without a port", address: "wan", entries: entriesOf(reached("wan", "192.0.2.5", 0)), want: "a=http://192.0.2.5:80*1"},
		{name: "another address than that asked for", address: "lan", entries: entriesOf(reached("wan", "192.0.2.5", 8443)), want: "a=http://10.0.0.1:80*1"},
		{name: "the node's wan address", address: "wan", entries: entriesOf(reached("", "192.0.2.7", 0)), want: "a=http://192.0.2.7:80*1"},
		{name: "the node's wan address is not that of an instance elsewhere", address: "wan",
			entries: entriesOf(reached("", "192.0.2.7", 0, func(s *agentService) { s.Address = "10.0.0.1" })), want: "a=http://10.0.0.1:80*1"},
		{name: "no port", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Port = 0 }), instanceOf("b")), want: "b=http://10.0.0.1:80*1", code: discovery.CodeBadURL},
		{name: "a port too great", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Port = 70000 })), code: discovery.CodeBadURL},
		{name: "an address with a path", entries: entriesOf(instanceOf("a", func(s *agentService) { s.Address = "10.0.0.1/x" })), code: discovery.CodeBadURL},
		{name: "a socket", entries: entriesOf(instanceOf("a", func(s *agentService) { s.SocketPath = "/x" })), code: discovery.CodeBadURL},
		{name: "an id with a slash", entries: entriesOf(instanceOf("a/b")), code: discovery.CodeBadName},
		{name: "the same id on two nodes", entries: entriesOf(on("n2", instanceOf("a")), on("n1", instanceOf("a")), instanceOf("b")),
			want: "a@n1=http://10.0.0.1:80*1, a@n2=http://10.0.0.1:80*1, b=http://10.0.0.1:80*1"},
		{name: "an id that looks like another's", entries: entriesOf(on("n2", instanceOf("a")), on("n1", instanceOf("a")), instanceOf("a@n2")),
			want: "a@n1=http://10.0.0.1:80*1, a@n2=http://10.0.0.1:80*1", code: discovery.CodeDuplicate},
		{name: "an entry without parts", entries: entriesOf(nil, &api.ServiceEntry{}, instanceOf("a")), want: "a=http://10.0.0.1:80*1", code: discovery.CodeBadValue},
		{name: "a fabio share", want: "a=http://10.0.0.1:80*200, b=http://10.0.0.1:80*400, c=http://10.0.0.1:80*400",
			entries: entriesOf(instanceOf("a", tagged("urlprefix-/ weight=0.2")), instanceOf("b"), instanceOf("c"))},
		{name: "fabio shares alone", want: "a=http://10.0.0.1:80*250, b=http://10.0.0.1:80*750",
			entries: entriesOf(instanceOf("a", tagged("urlprefix-/ weight=0.1")), instanceOf("b", tagged("urlprefix-/ weight=0.3")))},
		{name: "fabio shares of the whole", want: "a=http://10.0.0.1:80*1000, b=http://10.0.0.1:80*0",
			entries: entriesOf(instanceOf("a", tagged("urlprefix-/ weight=1")), instanceOf("b"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, problems := decoder{tag: c.tag, address: c.address}.service("web", c.entries)
			checkDecoded(t, s, problems)
			if got := summary(s); got != c.want {
				t.Errorf("backends are %s, want %s", got, c.want)
			}
			if c.code == "" && len(problems) > 0 || c.code != "" && (len(problems) != 1 || problems[0].Code != c.code) {
				t.Errorf("problems are %+v, want the code %q", problems, c.code)
			}
		})
	}
}

func TestTheOrderOfTheReplyDoesNotMatter(t *testing.T) {
	at := func(i uint64, e *api.ServiceEntry) *api.ServiceEntry {
		e.Service.ModifyIndex = i
		return e
	}
	entries := entriesOf(
		at(1, instanceOf("a", tagged("lb.algorithm=p2c", "urlprefix-/x"))), at(3, on("n2", instanceOf("a", tagged("lb.algorithm=random", "urlprefix-/x strip=/x")))),
		at(3, instanceOf("b", tagged("lb.algorithm=ewma", "urlprefix-/y"))), at(2, instanceOf("c", tagged("lb.host=h"))), instanceOf("d/"), instanceOf("e", tagged("lb.x")),
	)
	want, problems := decoder{}.service("web", entries)
	for range 50 {
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		got, other := decoder{}.service("web", entries)
		if !got.Equal(want) || fmt.Sprint(other) != fmt.Sprint(problems) {
			t.Fatalf("got %+v, %+v\nwant %+v, %+v", got, other, want, problems)
		}
	}
}

func TestTheNewestInstanceSaysWhereTheyDisagree(t *testing.T) {
	older := instanceOf("old", tagged("lb.algorithm=random", "lb.retry.max_retries=3", "urlprefix-/x strip=/x", "urlprefix-/old"))
	newer := instanceOf("new", tagged("lb.algorithm=p2c", "urlprefix-/x", "urlprefix-/new"))
	older.Service.ModifyIndex, newer.Service.ModifyIndex = 10, 20
	s, problems := decoder{}.service("web", entriesOf(older, newer))
	if want := `{"algorithm":"p2c","retry":{"max_retries":"3"}}`; string(s.Policy) != want {
		t.Errorf("the policy is %s, want %s", s.Policy, want)
	}
	var routes []string
	for _, r := range s.Routes {
		routes = append(routes, r.Name+r.StripPrefix)
	}
	if got, want := strings.Join(routes, " "), "web._new web._old web._x"; got != want {
		t.Errorf("routes are %s, want %s", got, want)
	}
	if len(problems) != 2 {
		t.Fatalf("problems are %+v, want one for the algorithm and one for /x", problems)
	}
	for _, p := range problems {
		if p.Code != discovery.CodeDisagree || !strings.HasPrefix(p.Key, "web/old@n1 ") || !strings.Contains(p.Detail, "web/new@n1") {
			t.Errorf("the problem %+v must be a disagreement and name both instances", p)
		}
	}
}

func TestAServiceWithoutAHealthyInstanceKeepsItsRoutes(t *testing.T) {
	s, _ := decoder{}.service("web", entriesOf(with(instanceOf("a", tagged("lb.host=h")), "critical")))
	if len(s.Backends) != 1 || !s.Backends[0].Failing || len(s.Routes) != 1 || s.Routes[0].Host != "h" {
		t.Errorf("got %+v, want one backend that fails and the route of h", s)
	}
}

// grammar accepts algorithm and retry, and retry.backoff only beside retry.max.
func grammar(text []byte) error {
	var p struct {
		Algorithm *string
		Retry     *struct{ Max, Backoff *string }
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	switch err := d.Decode(&p); {
	case err != nil:
		return err
	case p.Algorithm != nil && *p.Algorithm != "p2c":
		return errors.New("unknown algorithm")
	case p.Retry != nil && p.Retry.Backoff != nil && p.Retry.Max == nil:
		return errors.New("backoff needs max")
	}
	return nil
}

func TestAnOptionThatTheGrammarRefusesCostsItselfAlone(t *testing.T) {
	for _, c := range []struct {
		name     string
		tags     []string
		want     string
		problems []string // keys behind the instance's, with their codes
	}{
		{"all good", []string{"lb.algorithm=p2c", "lb.retry.max=1"}, `{"algorithm":"p2c","retry":{"max":"1"}}`, nil},
		{"an unknown key", []string{"lb.algorithm=p2c", "lb.colour=red"}, `{"algorithm":"p2c"}`, []string{"lb.colour=red bad-policy"}},
		{"a bad value", []string{"lb.algorithm=best", "lb.retry.max=1"}, `{"retry":{"max":"1"}}`, []string{"lb.algorithm=best bad-policy"}},
		{"nothing good", []string{"lb.algorithm=best"}, ``, []string{"lb.algorithm=best bad-policy"}},
		{"one that needs a later one", []string{"lb.retry.backoff=1s", "lb.retry.max=1", "lb.colour=red"}, `{"retry":{"backoff":"1s","max":"1"}}`,
			[]string{"lb.colour=red bad-policy"}},
		{"one that needs what is missing", []string{"lb.retry.backoff=1s", "lb.algorithm=p2c"}, `{"algorithm":"p2c"}`, []string{"lb.retry.backoff=1s bad-policy"}},
		{"a value where others have an object", []string{"lb.retry=1", "lb.retry.max=1"}, ``, []string{"lb.retry.max=1 bad-option", "lb.retry=1 bad-policy"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, problems := decoder{checkPolicy: grammar}.service("web", entriesOf(instanceOf("a", tagged(c.tags...))))
			if string(s.Policy) != c.want {
				t.Errorf("the policy is %s, want %s", s.Policy, c.want)
			}
			var got []string
			for _, p := range problems {
				got = append(got, strings.TrimPrefix(p.Key, "web/a@n1 ")+" "+p.Code)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.problems) {
				t.Errorf("problems are %q, want %q", got, c.problems)
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	good, err := json.Marshal(entriesOf(with(instanceOf("a", tagged("lb.host=h", "lb.algorithm=p2c")), "passing", "maint"), instanceOf("b")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[null,{"Node":{},"Service":{"Service":"web","ID":"..","Port":-1,"Weights":{"Passing":-9}},"Checks":[null]}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var entries []*api.ServiceEntry
		if json.Unmarshal(text, &entries) != nil {
			return
		}
		s, problems := decoder{checkPolicy: grammar}.service("web", entries)
		checkDecoded(t, s, problems)
	})
}
