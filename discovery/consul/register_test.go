package consul

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/internal/consultest"
)

var web1 = announce.Record{
	Service: "web", Tags: []string{"lb.path=/x"},
	Backend: discovery.Backend{ID: "web-1", URL: "https://10.0.0.1:8443", Weight: 2, Zone: "z", Meta: map[string]string{"version": "1"}},
}

func newRegistry(t *testing.T, a *consultest.Agent) *Registry {
	t.Helper()
	o, err := ParseURL(a.URL(), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// seen is what a source makes of the service web now, without what fails its checks.
func seen(t *testing.T, c *api.Client) []discovery.Backend {
	t.Helper()
	entries, _, err := c.Health().Service("web", "", false, &api.QueryOptions{RequireConsistent: true})
	if err != nil {
		t.Fatal(err)
	}
	s, problems := newDecoder(Options{}).service("web", entries)
	if len(problems) > 0 {
		t.Errorf("a source has problems: %v", problems)
	}
	return slices.DeleteFunc(s.Backends, func(b discovery.Backend) bool { return b.Failing })
}

// awaitSeen waits until what a source sees is as it should be.
func awaitSeen(t *testing.T, c *api.Client, what string, holds func([]discovery.Backend) bool) {
	t.Helper()
	index := uint64(0)
	for deadline := time.Now().Add(30 * time.Second); !holds(seen(t, c)); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: a source still sees %+v", what, seen(t, c))
		}
		_, m, err := c.Health().Service("web", "", false, &api.QueryOptions{WaitIndex: index, WaitTime: 200 * time.Millisecond})
		if err == nil {
			index = m.LastIndex
		}
	}
}

func one(b []discovery.Backend) bool  { return len(b) == 1 && !b[0].Draining }
func none(b []discovery.Backend) bool { return len(b) == 0 }

func TestARegistrationServesDrainsAndLeaves(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Options{})
	c, slot := a.Client(), newRegistry(t, a).Backend("web", "web-1", 10*time.Second)
	put := func(change func(*announce.Record)) []discovery.Backend {
		t.Helper()
		r := web1
		change(&r)
		if err := slot.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return seen(t, c)
	}
	got := put(func(*announce.Record) {})
	if !one(got) || got[0].URL != web1.URL || got[0].Weight != 2 || got[0].Zone != "z" || got[0].Meta["version"] != "1" {
		t.Fatalf("a source sees %+v", got)
	}
	if got = put(func(r *announce.Record) { r.Draining = true }); len(got) != 1 || !got[0].Draining {
		t.Errorf("draining is seen as %+v", got)
	}
	if got = put(func(*announce.Record) {}); !one(got) {
		t.Errorf("the end of the drain is seen as %+v", got)
	}
	if got = put(func(r *announce.Record) { r.Down = "the check fails" }); !none(got) {
		t.Errorf("an unhealthy backend is seen as %+v", got)
	}
	if got = put(func(r *announce.Record) { r.Weight = 0 }); len(got) != 1 || !got[0].Draining {
		t.Errorf("weight 0 is seen as %+v", got)
	}
	if err := slot.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	services, _ := c.Agent().Services()
	checks, _ := c.Agent().Checks()
	if len(services) != 0 || len(checks) != 0 {
		t.Errorf("left behind: %v %v", services, checks)
	}
}

func TestARestartedAgentIsRegisteredWithAnew(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Options{})
	k := announce.NewKeeper(newRegistry(t, a).Backend("web", "web-1", time.Second), announce.Options{TTL: time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	k.Set(web1)
	c := a.Client()
	awaitSeen(t, c, "registered", one)
	a.Restart()
	awaitSeen(t, c, "after the restart", one)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	awaitSeen(t, c, "at the end", none)
}

func TestWithoutItsProcessARegistrationTurnsCritical(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Options{})
	slot := newRegistry(t, a).Backend("web", "web-1", time.Second)
	if err := slot.Put(t.Context(), web1); err != nil {
		t.Fatal(err)
	}
	c := a.Client()
	awaitSeen(t, c, "registered", one)
	awaitSeen(t, c, "after the time to live", none)
}

func TestTheNewerOfTwoRegistrationsIsLeftAlone(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Options{})
	old, newer := newRegistry(t, a).Backend("web", "web-1", time.Minute), newRegistry(t, a).Backend("web", "web-1", time.Minute)
	theirs := web1
	theirs.URL = "https://10.0.0.2:8443"
	if err := errors.Join(old.Put(t.Context(), web1), newer.Put(t.Context(), theirs)); err != nil {
		t.Fatal(err)
	}
	if err := old.Refresh(t.Context()); !errors.Is(err, announce.ErrTaken) {
		t.Errorf("refreshing what another has taken says %v", err)
	}
	if err := old.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if got := seen(t, a.Client()); !one(got) || got[0].URL != theirs.URL {
		t.Errorf("a source sees %+v", got)
	}
}

func TestAMissingRightIsToldWithWhatToGrant(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Options{ACL: true})
	r, err := NewRegistry(Options{Address: a.HTTPAddr})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Backend("web", "web-1", time.Minute).Put(t.Context(), web1)
	if err == nil || !strings.Contains(err.Error(), "service:write") {
		t.Errorf("the error is %v", err)
	}
}

func TestAKeyLivesWithItsSessionAndIsFollowed(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Options{})
	r := newRegistry(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan map[string][]byte, 16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Follow(ctx, "lb/fleet/", func(v map[string][]byte) { heard <- v }, func(err error) { t.Error(err) })
	}()
	expect := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-heard:
				if string(got["lb/fleet/a"]) == want {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%q was not heard", want)
			}
		}
	}
	expect("")
	slot := r.Value("lb/fleet/a", time.Second)
	if err := slot.Put(ctx, []byte("1")); err != nil {
		t.Fatal(err)
	}
	expect("1")
	if err := errors.Join(slot.Refresh(ctx), slot.Put(ctx, []byte("2"))); err != nil {
		t.Fatal(err)
	}
	expect("2")
	other := newRegistry(t, a).Value("lb/fleet/a", time.Second)
	if err := other.Put(ctx, []byte("3")); !errors.Is(err, announce.ErrTaken) {
		t.Errorf("another session takes the key: %v", err)
	}
	_ = other.Remove(ctx)
	sessions, _, _ := a.Client().Session().List(nil)
	for _, s := range sessions {
		_, _ = a.Client().Session().Destroy(s.ID, nil)
	}
	expect("")
	if err := slot.Put(ctx, []byte("4")); !errors.Is(err, announce.ErrLost) {
		t.Errorf("writing under a session that ended says %v", err)
	}
	if err := slot.Refresh(ctx); !errors.Is(err, announce.ErrLost) {
		t.Errorf("refreshing a session that ended says %v", err)
	}
	if err := slot.Put(ctx, []byte("4")); err != nil {
		t.Fatal(err)
	}
	expect("4")
	if err := slot.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	expect("")
	cancel()
	<-ended
}
