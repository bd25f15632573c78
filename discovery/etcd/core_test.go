package etcd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
)

// bench is a core with its sink and a store's counter.
type bench struct {
	*core
	rec *discoverytest.Recorder
	rev int64
}

func newBench(t *testing.T, dec discovery.Decoder) *bench {
	b := &bench{rec: discoverytest.NewRecorder(t), rev: 1}
	b.core = newCore("/lb/", ours(), dec)
	b.list()
	return b
}

// list resyncs with these keys.
func (b *bench) list(kvs ...keyValue) discoverytest.State {
	b.replace(kvs)
	b.rec.Resync("reconnect")
	b.announce(b.rec, time.Now())
	b.rec.Synced()
	return b.rec.State()
}

// kv is a key below the prefix at the next revision, created at createRev; 0 means now.
func (b *bench) kv(key, value string, createRev int64) keyValue {
	b.rev++
	if createRev == 0 {
		createRev = b.rev
	}
	return keyValue{"/lb/" + key, []byte(value), createRev, b.rev}
}

// puts takes these as the events of one response.
func (b *bench) puts(kvs ...keyValue) discoverytest.State {
	for _, kv := range kvs {
		b.put(kv)
	}
	b.flush(b.rec, time.Now())
	return b.rec.State()
}

func (b *bench) removes(key string) discoverytest.State {
	b.rev++
	b.remove("/lb/" + key)
	b.flush(b.rec, time.Now())
	return b.rec.State()
}

// lastCalls are the calls since the state before.
func lastCalls(before, now discoverytest.State) string {
	return strings.Join(now.Calls[len(before.Calls):], ", ")
}

func TestTheEventsOfOneResponseMakeOneChangePerService(t *testing.T) {
	b := newBench(t, decoder{})
	before := b.rec.State()
	now := b.puts(b.kv("services/web/b", "10.0.0.2:80", 0), b.kv("services/web/a", "10.0.0.1:80", 0),
		b.kv("policies/web", "p", 0), b.kv("services/api/a", "10.0.0.1:80", 0))
	if got := lastCalls(before, now); got != "Service api, Service web" {
		t.Errorf("calls are %s, want one for each service", got)
	}
	if got := fmt.Sprint(now.URLs("web")); got != "[http://10.0.0.1:80 http://10.0.0.2:80]" {
		t.Errorf("web has %s", got)
	}
}

func TestAChangeThatChangesNothingIsNotAnnounced(t *testing.T) {
	b := newBench(t, decoder{})
	before := b.puts(b.kv("services/web/a", "10.0.0.1:80", 5), b.kv("routes/r", `{"Service":"web"}`, 6))
	b.remove("/lb/services/web/a")
	now := b.puts(b.kv("services/web/a", `{"url":"http://10.0.0.1:80","weight":1}`, 0),
		b.kv("routes/r", `{"Service": "web"}`, 6), b.kv("sessions/x", "y", 0), b.kv("fleet/x", "y", 0))
	if got := lastCalls(before, now); got != "" {
		t.Errorf("calls are %s, want none", got)
	}
}

func TestTheLastGoodValueStaysWhileABadOneStands(t *testing.T) {
	b := newBench(t, decoder{})
	b.puts(b.kv("services/web/a", "10.0.0.1:80", 5), b.kv("policies/web", "p", 6), b.kv("routes/r", `{"Service":"web"}`, 7))
	now := b.puts(b.kv("services/web/a", "noise", 5), b.kv("policies/web", "bad", 6), b.kv("routes/r", "{", 7))
	if len(now.URLs("web")) != 1 || string(now.Services["web"].Policy) != "p" || len(now.Routes) != 1 || len(now.Problems) != 3 {
		t.Errorf("all three must stay, with three problems:\n%v", now)
	}
	if d := now.Problems["/lb/services/web/a"].Detail; !strings.Contains(d, "last good value stays") {
		t.Errorf("the detail is %q; it must say that the last good value stays", d)
	}
}

func TestTheLastGoodValueStaysAcrossAResync(t *testing.T) {
	b := newBench(t, decoder{})
	b.puts(b.kv("services/web/a", "10.0.0.1:80", 5))
	if now := b.list(b.kv("services/web/a", "noise", 5)); len(now.URLs("web")) != 1 || len(now.Problems) != 1 {
		t.Errorf("the backend must stay, with a problem:\n%v", now)
	}
}

func TestAKeyCreatedAnewHasNoLastGoodValue(t *testing.T) {
	b := newBench(t, decoder{})
	b.puts(b.kv("services/web/a", "10.0.0.1:80", 5))
	now := b.list(b.kv("services/web/a", "noise", 9))
	if len(now.Services) != 0 || len(now.Problems) != 1 {
		t.Errorf("the backend was withdrawn before the noise came:\n%v", now)
	}
	if d := now.Problems["/lb/services/web/a"].Detail; strings.Contains(d, "stays") {
		t.Errorf("the detail is %q, but nothing stays", d)
	}
}

func TestWhatAResyncPrunedIsAnnouncedWhenItComesBack(t *testing.T) {
	b := newBench(t, decoder{})
	back, route, bad := b.kv("services/web/a", "10.0.0.1:80", 0), b.kv("routes/r", `{"Service":"web"}`, 0), b.kv("junk", "x", 0)
	b.puts(back, route, bad)
	if now := b.list(); len(now.Services)+len(now.Routes)+len(now.Problems) != 0 {
		t.Fatalf("nothing may be left:\n%v", now)
	}
	if now := b.puts(back, route, bad); len(now.Services) != 1 || len(now.Routes) != 1 || len(now.Problems) != 1 {
		t.Errorf("all three must be back:\n%v", now)
	}
}

func TestRejectionsEndWithTheirCause(t *testing.T) {
	b := newBench(t, decoder{})
	b.puts(b.kv("services/web/a", "noise", 5), b.kv("services/web/b", "noise", 6), b.kv("junk", "x", 7))
	b.puts(b.kv("services/web/a", "10.0.0.1:80", 5))
	b.removes("services/web/b")
	if now := b.removes("junk"); len(now.Problems) != 0 {
		t.Errorf("no problem may be left:\n%v", now)
	}
}

func TestAValueBeyondTheLimitIsRejected(t *testing.T) {
	b := newBench(t, decoder{})
	pad := func(n int) string { return "10.0.0.1:80" + strings.Repeat(" ", n-len("10.0.0.1:80")) }
	now := b.puts(b.kv("services/web/a", pad(maxValue), 0), b.kv("services/web/b", pad(maxValue+1), 0))
	if len(now.URLs("web")) != 1 || now.Problems["/lb/services/web/b"].Code != discovery.CodeTooLarge {
		t.Errorf("only the larger one must be rejected, as too large:\n%v", now)
	}
}

func TestWithoutADecoderRoutesAndPoliciesAreRejected(t *testing.T) {
	b := newBench(t, nil)
	now := b.puts(b.kv("policies/web", "p", 0), b.kv("routes/r", `{"Service":"web"}`, 0), b.kv("services/web/a", "10.0.0.1:80", 0))
	if now.Problems["/lb/policies/web"].Code != discovery.CodeBadPolicy || now.Problems["/lb/routes/r"].Code != discovery.CodeBadRoute {
		t.Errorf("both must be rejected:\n%v", now)
	}
	if len(now.URLs("web")) != 1 {
		t.Errorf("the backend must be taken:\n%v", now)
	}
}

func TestAnEmptyPolicyAndARouteToNowhereAreRejected(t *testing.T) {
	b := newBench(t, decoder{})
	now := b.puts(b.kv("policies/web", " \n", 0), b.kv("routes/r", `{"Service":"../x"}`, 0))
	if len(now.Problems) != 2 || len(now.Services)+len(now.Routes) != 0 {
		t.Errorf("both must be rejected:\n%v", now)
	}
}

func TestAServiceMayHaveAPolicyAlone(t *testing.T) {
	b := newBench(t, decoder{})
	if now := b.puts(b.kv("policies/web", "p", 0)); string(now.Services["web"].Policy) != "p" {
		t.Errorf("web must have its policy:\n%v", now)
	}
	if now := b.removes("policies/web"); len(now.Services) != 0 {
		t.Errorf("web must be gone:\n%v", now)
	}
}

// modelKey is what the dumb model knows of a key: what the store holds, and the last good value that was seen since the
// key was created.
type modelKey struct {
	kv   keyValue
	good string
	from int64 // the creation that good belongs to
}

// see is what a source learns when it meets the key's present value.
func (k *modelKey) see() {
	if k.from != k.kv.createRev {
		k.good, k.from = "", k.kv.createRev
	}
	if !strings.Contains(string(k.kv.value), "bad") {
		k.good = string(k.kv.value)
	}
}

// modelState is what the keys should amount to, as text.
func modelState(keys map[string]*modelKey) string {
	var lines []string
	for name, k := range keys {
		below := strings.TrimPrefix(name, "/lb/")
		switch {
		case strings.HasPrefix(below, "sessions/"):
			continue
		case k.good != "" && !strings.Contains(below, ".."):
			lines = append(lines, below+" = "+k.good)
		}
		if strings.Contains(below, "..") || strings.Contains(string(k.kv.value), "bad") {
			lines = append(lines, "problem "+name)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// sinkState is what was announced, in the same words.
func sinkState(s discoverytest.State) string {
	var lines []string
	for name, svc := range s.Services {
		for _, b := range svc.Backends {
			lines = append(lines, fmt.Sprintf("services/%s/%s = %s", name, b.ID, b.URL))
		}
		if svc.Policy != nil {
			lines = append(lines, fmt.Sprintf("policies/%s = %s", name, svc.Policy))
		}
	}
	for name, r := range s.Routes {
		lines = append(lines, fmt.Sprintf(`routes/%s = {"Service":%q}`, name, r.Service))
	}
	for key := range s.Problems {
		lines = append(lines, "problem "+key)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestTheCoreAgreesWithADumbModel(t *testing.T) {
	values := map[string][]string{
		"/lb/services/web/a": {"http://10.0.0.1:80", "http://10.0.0.2:80", "bad"},
		"/lb/services/web/b": {"http://10.0.0.1:80", "http://10.0.0.2:80", "bad"},
		"/lb/services/api/a": {"http://10.0.0.3:80", "bad"},
		"/lb/policies/web":   {"p1", "p2", "bad"},
		"/lb/policies/none":  {"p1", "bad"},
		"/lb/routes/r":       {`{"Service":"web"}`, `{"Service":"api"}`, "bad"},
		"/lb/services/../x":  {"http://10.0.0.1:80"},
		"/lb/sessions/x":     {"whatever"},
	}
	names := []string{}
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)

	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, decoder{})
		store := map[string]*modelKey{}
		edit := func(seen bool) {
			name := rapid.SampledFrom(names).Draw(rt, "key")
			b.rev++
			if rapid.IntRange(0, 3).Draw(rt, "op") == 0 {
				delete(store, name)
				if seen {
					b.remove(name)
				}
				return
			}
			k := store[name]
			if k == nil {
				// What a source that has not seen the deletion knows of the key is void: the creation is another.
				k = &modelKey{kv: keyValue{key: name, createRev: b.rev}}
				store[name] = k
			}
			k.kv.value, k.kv.modRev = []byte(rapid.SampledFrom(values[name]).Draw(rt, "value")), b.rev
			if seen {
				k.see()
				b.put(k.kv)
			}
		}
		for range rapid.IntRange(1, 30).Draw(rt, "rounds") {
			before := b.rec.State()
			if rapid.IntRange(0, 4).Draw(rt, "how") == 0 {
				for range rapid.IntRange(0, 6).Draw(rt, "missed") {
					edit(false)
				}
				var kvs []keyValue
				for _, name := range names {
					if k := store[name]; k != nil {
						k.see()
						kvs = append(kvs, k.kv)
					}
				}
				b.list(kvs...)
			} else {
				for range rapid.IntRange(1, 4).Draw(rt, "events") {
					edit(true)
				}
				b.flush(b.rec, time.Now())
				checkNoneInVain(rt, before, b.rec.State())
			}
			if got, want := sinkState(b.rec.State()), modelState(store); got != want {
				rt.Fatalf("announced\n%s\n\nwant\n%s", got, want)
			}
		}
	})
}

// checkNoneInVain fails when a service or route was named that is what it was.
func checkNoneInVain(t *rapid.T, before, now discoverytest.State) {
	for _, call := range now.Calls[len(before.Calls):] {
		if name, ok := strings.CutPrefix(call, "Service "); ok && now.Services[name].Equal(before.Services[name]) {
			t.Fatalf("service %s was announced though nothing changed:\n%v", name, now)
		}
		if name, ok := strings.CutPrefix(call, "Route "); ok && now.Routes[name].Equal(before.Routes[name]) {
			t.Fatalf("route %s was announced though nothing changed:\n%v", name, now)
		}
	}
}

// BenchmarkAChangeAmongManyServices is the cost of one event in a store of 10,000 services of 10 backends.
func BenchmarkAChangeAmongManyServices(b *testing.B) {
	c := newCore("/lb/", ours(), nil)
	var kvs []keyValue
	for s := range 10_000 {
		for i := range 10 {
			kvs = append(kvs, keyValue{fmt.Sprintf("/lb/services/s%d/b%d", s, i), []byte("10.0.0.1:80"), 1, 1})
		}
	}
	c.replace(kvs)
	sink := nowhere{}
	c.announce(sink, time.Now())
	values := [][]byte{[]byte("10.0.0.1:80"), []byte("10.0.0.2:80")}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.put(keyValue{"/lb/services/s77/b7", values[i%2], 1, int64(i + 2)})
		c.flush(sink, time.Now())
	}
}

// nowhere is a sink that takes everything.
type nowhere struct{}

func (nowhere) Resync(string)             {}
func (nowhere) Incomplete(string, string) {}
func (nowhere) Service(discovery.Service) {}
func (nowhere) Route(discovery.Route)     {}
func (nowhere) RemoveRoute(string)        {}
func (nowhere) Reject(discovery.Problem)  {}
func (nowhere) Accept(string)             {}
func (nowhere) Synced()                   {}
func (nowhere) Failed(error)              {}

// kept is a sink that keeps what was said last of each service and route.
type kept struct {
	nowhere
	services map[string]discovery.Service
	routes   map[string]discovery.Route
}

func (k *kept) Service(s discovery.Service) { k.services[s.Name] = s }
func (k *kept) Route(r discovery.Route)     { k.routes[r.Name] = r }

func TestWhatCannotBeReadIsStaleForItAloneAndInForce(t *testing.T) {
	b := newBench(t, decoder{})
	b.puts(b.kv("services/web/a", "10.0.0.1:80", 5), b.kv("services/web/b", "10.0.0.2:80", 5), b.kv("policies/web", "p", 6), b.kv("routes/r", `{"Service":"web"}`, 7))
	now := b.puts(b.kv("services/web/a", "noise", 5), b.kv("policies/web", "bad", 6), b.kv("routes/r", "{", 7))
	web := now.Services["web"]
	if len(web.Backends) != 2 || len(web.Stale) != 2 || web.Stale[0].ID != "a" || web.Stale[0].Reason != discovery.CodeBadURL ||
		web.Stale[1].Part != discovery.StalePolicy || now.Routes["r"].Stale.Reason != discovery.CodeBadRoute || now.Routes["r"].Service != "web" {
		t.Errorf("a, the policy and the route must be in force and marked:\n%+v\n%+v", web, now.Routes["r"])
	}
	before := now
	if now = b.puts(b.kv("services/web/a", "noise", 5)); lastCalls(before, now) != "" {
		t.Errorf("the same noise again makes %s, want no call", lastCalls(before, now))
	}
	now = b.puts(b.kv("services/web/a", "10.0.0.1:80", 5), b.kv("policies/web", "p", 6), b.kv("routes/r", `{"Service":"web"}`, 7))
	if len(now.Services["web"].Stale) != 0 || now.Routes["r"].Stale != (discovery.Stale{}) || len(now.Problems) != 0 {
		t.Errorf("the marks must end with their cause:\n%+v", now)
	}
}

func TestWhatTheFirstListingFindsBadIsLeftToWhatIsKnownFromBefore(t *testing.T) {
	c := newCore("/lb/", ours(), decoder{})
	c.replace([]keyValue{
		{"/lb/services/web/a", []byte("noise"), 1, 1}, {"/lb/services/web/b", []byte("10.0.0.2:80"), 2, 2},
		{"/lb/policies/web", []byte("bad"), 3, 3}, {"/lb/routes/r", []byte("{"), 4, 4},
	})
	sink := &kept{services: map[string]discovery.Service{}, routes: map[string]discovery.Route{}}
	c.announce(sink, time.Now())
	old := discoverytest.Service("web", discoverytest.Backend("a", "10.0.0.1:80"))
	old.Policy = []byte("p")
	web := sink.services["web"].Keep(old)
	route := sink.routes["r"].Keep(discovery.Route{Name: "r", Service: "web"})
	if len(web.Backends) != 2 || string(web.Policy) != "p" || len(web.Stale) != 2 || route.Service != "web" || route.Stale.Reason == "" {
		t.Errorf("the catalog would have %+v and %+v", web, route)
	}
	c.put(keyValue{"/lb/services/web/c", []byte("noise"), 5, 5}) // new, so that nothing can be known of it
	c.put(keyValue{"/lb/services/web/a", []byte("noise"), 6, 6}) // created anew
	c.flush(sink, time.Now())
	if web := sink.services["web"]; len(web.Stale) != 1 || web.Stale[0].Part != discovery.StalePolicy {
		t.Errorf("the marks are %+v, want that of the policy alone", web.Stale)
	}
	c.remove("/lb/routes/r")
	c.remove("/lb/policies/web")
	c.flush(sink, time.Now())
	if web := sink.services["web"]; len(web.Stale) != 0 || len(c.toldRoutes) != 0 {
		t.Errorf("the marks are %+v and the routes %v, want none", web.Stale, c.toldRoutes)
	}
}

func TestBackendsShareWhatTheySayAlike(t *testing.T) {
	b := newBench(t, decoder{})
	value := `{"url":"10.0.0.1:80","zone":"a","meta":{"v":"1","w":"2"}}`
	now := b.puts(b.kv("services/web/a", value, 0), b.kv("services/web/b", value, 0))
	got := now.Backends("web")
	got[0].Meta["x"] = "seen in both" // against the contract, to see whether it is one map
	defer delete(got[0].Meta, "x")
	if got[1].Meta["x"] == "" {
		t.Error("two backends of equal meta have a map each")
	}
	if contentOf(map[string]string{"a": "bc"}) == contentOf(map[string]string{"ab": "c"}) {
		t.Error("different metas have the same content")
	}
}
