package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

// open is a Store behind the network.
func (s *store) open(t testing.TB) *Store {
	t.Helper()
	st, err := NewStore(Options{Endpoints: []string{s.net.Addr()}, DialTimeout: time.Second, Liveness: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// value is what stands under a key, empty for nothing.
func (s *store) value(t testing.TB, key string) string {
	t.Helper()
	r, err := s.Get(s.ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// awaitValue waits until a key has a value of which the condition holds.
func (s *store) awaitValue(t testing.TB, key string, holds func(string) bool) {
	t.Helper()
	watch := s.Watch(s.ctx, key)
	for !holds(s.value(t, key)) {
		select {
		case <-watch:
		case <-s.ctx.Done():
			t.Fatalf("%s is %q after a minute", key, s.value(t, key))
		}
	}
}

// leases is the number of leases that the store holds.
func (s *store) leases(t testing.TB) int {
	t.Helper()
	r, err := s.Leases(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return len(r.Leases)
}

var web1 = announce.Record{Service: "web", Backend: discovery.Backend{
	ID: "a", URL: "http://10.0.0.1:80", Weight: 2, Zone: "z", Meta: map[string]string{"version": "1"},
}}

// keep runs a keeper of web1 until the test ends, or stop is called, which returns what Run does.
func (s *store) keep(t testing.TB, st *Store, ttl time.Duration) (k *announce.Keeper[announce.Record], stop func() error) {
	t.Helper()
	k = announce.NewKeeper(st.Backend("web", "a", ttl), announce.Options{TTL: ttl})
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = k.Run(ctx)
	}()
	stop = func() error {
		cancel()
		<-ended
		return err
	}
	t.Cleanup(func() { _ = stop() })
	k.Set(web1)
	return k, stop
}

func is(want string) func(string) bool { return func(got string) bool { return got == want } }

const web1Value = `{"url":"http://10.0.0.1:80","weight":2,"zone":"z","meta":{"version":"1"}}`

func TestARegistrationIsWhatTheSourceReads(t *testing.T) {
	s := newStore(t, embedded.Options{})
	k, _ := s.keep(t, s.open(t), 10*time.Second)
	if !k.Written(s.ctx) {
		t.Fatal("the registration was not written")
	}
	b, f := decodeBackend("a", []byte(s.value(t, key("web", "a"))))
	if f != nil || !b.Equal(web1.Backend) {
		t.Errorf("the source reads %+v (%v), want %+v", b, f, web1.Backend)
	}
	draining := web1
	draining.Draining = true
	k.Set(draining)
	if k.Written(s.ctx); !strings.Contains(s.value(t, key("web", "a")), `"state":"drain"`) {
		t.Errorf("draining is written as %s", s.value(t, key("web", "a")))
	}
}

func TestARegistrationIsTakenBackWithItsLease(t *testing.T) {
	s := newStore(t, embedded.Options{})
	k, stop := s.keep(t, s.open(t), 10*time.Second)
	k.Written(s.ctx)
	if n := s.leases(t); n != 1 {
		t.Errorf("%d leases are held, want 1", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := s.value(t, key("web", "a")); got != "" || s.leases(t) != 0 {
		t.Errorf("the key is %q and %d leases are left, want nothing", got, s.leases(t))
	}
}

func TestALostLeaseIsRegisteredAnew(t *testing.T) {
	s := newStore(t, embedded.Options{})
	k, _ := s.keep(t, s.open(t), time.Second)
	k.Written(s.ctx)
	r, _ := s.Leases(s.ctx)
	if _, err := s.Revoke(s.ctx, r.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	s.awaitValue(t, key("web", "a"), is(web1Value))
}

func TestAStoreThatCameBackEmptyIsRegisteredInAnew(t *testing.T) {
	s := newStore(t, embedded.Options{})
	k, _ := s.keep(t, s.open(t), time.Second)
	k.Written(s.ctx)
	s.server.Close()
	var err error
	if s.server, err = embedded.Start(s.ctx, embedded.Options{}); err != nil {
		t.Fatal(err)
	}
	s.net.SetTarget(s.addr())
	s.net.Reset()
	s.Client = s.connect(t, clientv3.Config{})
	s.awaitValue(t, key("web", "a"), is(web1Value))
}

func TestARegistrationWithoutItsProcessEndsWithTheLease(t *testing.T) {
	s := newStore(t, embedded.Options{})
	k, _ := s.keep(t, s.open(t), time.Second)
	k.Written(s.ctx)
	s.net.Cut() // nothing that the process says arrives any more
	s.awaitValue(t, key("web", "a"), is(""))
	heal(t, s.net)
	s.awaitValue(t, key("web", "a"), is(web1Value))
}

func TestAnUnhealthyBackendIsWithdrawnAndComesBack(t *testing.T) {
	s := newStore(t, embedded.Options{})
	k, _ := s.keep(t, s.open(t), 10*time.Second)
	k.Written(s.ctx)
	down := web1
	down.Down = "the check fails"
	k.Set(down)
	if k.Written(s.ctx); s.value(t, key("web", "a")) != "" {
		t.Error("an unhealthy backend is announced")
	}
	k.Set(web1)
	if k.Written(s.ctx); s.value(t, key("web", "a")) != web1Value {
		t.Error("a backend that is healthy again is not announced")
	}
	if n := s.leases(t); n != 1 {
		t.Errorf("%d leases are held, want one and the same", n)
	}
}

func TestTheNewerOfTwoRegistrationsHasTheKeyAndTheOlderWaits(t *testing.T) {
	s := newStore(t, embedded.Options{})
	old := s.open(t).Backend("web", "a", 10*time.Second)
	if err := old.Put(s.ctx, web1); err != nil {
		t.Fatal(err)
	}
	newer := s.open(t).Backend("web", "a", 10*time.Second)
	theirs := web1
	theirs.URL = "http://10.0.0.2:80"
	if err := newer.Put(s.ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if err := old.Refresh(s.ctx); !errors.Is(err, announce.ErrTaken) {
		t.Errorf("refreshing what another has taken says %v", err)
	}
	if err := old.Put(s.ctx, web1); !errors.Is(err, announce.ErrTaken) || !strings.Contains(s.value(t, key("web", "a")), "10.0.0.2") {
		t.Errorf("the older takes the key back (%v): %s", err, s.value(t, key("web", "a")))
	}
	if err := newer.Remove(s.ctx); err != nil {
		t.Fatal(err)
	}
	if err := old.Refresh(s.ctx); !errors.Is(err, announce.ErrLost) {
		t.Errorf("after the newer has left the older hears %v, want that it is its turn", err)
	}
	if err := old.Put(s.ctx, web1); err != nil || s.value(t, key("web", "a")) != web1Value {
		t.Errorf("%v, %s", err, s.value(t, key("web", "a")))
	}
	_ = old.Remove(s.ctx)
}

func TestReplaceWritesOnlyOverWhatWasRead(t *testing.T) {
	s := newStore(t, embedded.Options{})
	st := s.open(t)
	first, ok, err := st.Replace(s.ctx, "sessions/key", 0, []byte("one"))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	now, ok, err := st.Replace(s.ctx, "sessions/key", 0, []byte("two"))
	if err != nil || ok || string(now.Value) != "one" || now.Rev != first.Rev {
		t.Errorf("a second creation: %+v %v %v", now, ok, err)
	}
	if _, ok, err = st.Replace(s.ctx, "sessions/key", now.Rev, []byte("three")); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestAFollowerHearsAllAndThenWhatChanged(t *testing.T) {
	s := newStore(t, embedded.Options{})
	s.put(t, "/lb/fleet/a", "1")
	s.put(t, "/lb/fleetless", "no")
	type news struct {
		all     map[string]string
		changed string
	}
	heard := make(chan news, 16)
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error)
	go func() {
		ended <- s.open(t).Follow(ctx, "fleet/", Mirror{Changed: func(all map[string]KeyValue, changed []string, rev int64) {
			n := news{map[string]string{}, strings.Join(changed, " ")}
			for k, kv := range all {
				n.all[k] = string(kv.Value)
				if kv.Rev > rev {
					t.Errorf("%s is of revision %d, and all of %d", k, kv.Rev, rev)
				}
			}
			heard <- n
		}})
	}()
	expect := func(changed string, all map[string]string) {
		t.Helper()
		select {
		case got := <-heard:
			if got.changed != changed || len(got.all) != len(all) {
				t.Errorf("heard %+v, want %q of %v", got, changed, all)
			}
			for k, v := range all {
				if got.all[k] != v {
					t.Errorf("%s is %q, want %q", k, got.all[k], v)
				}
			}
		case <-s.ctx.Done():
			t.Fatal("nothing was heard")
		}
	}
	expect("fleet/a", map[string]string{"fleet/a": "1"})
	s.put(t, "/lb/fleet/b", "2")
	expect("fleet/b", map[string]string{"fleet/a": "1", "fleet/b": "2"})
	s.net.Cut()
	s.del(t, "/lb/fleet/a")
	heal(t, s.net)
	expect("fleet/a fleet/b", map[string]string{"fleet/b": "2"})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNotesAreAsManyAsTheyAre(t *testing.T) {
	t.Parallel()
	s := newStore(t, embedded.Options{})
	st := s.open(t)
	slot := st.Notes(time.Minute)
	notes := map[string]string{}
	for i := range 2*maxSwaps + 1 {
		notes[fmt.Sprintf("status/services/web/%d", i)] = "bad"
	}
	have := func() int {
		t.Helper()
		if err := slot.Put(s.ctx, notes); err != nil {
			t.Fatal(err)
		}
		kvs, err := st.List(s.ctx, "status/")
		if err != nil {
			t.Fatal(err)
		}
		return len(kvs)
	}
	if n := have(); n != len(notes) {
		t.Errorf("of %d there are %d", len(notes), n)
	}
	// Somebody else has one of the keys by now, and keeps it.
	if _, err := st.Put(s.ctx, "status/services/web/1", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	clear(notes)
	notes["status/services/web/0"] = "worse"
	if n := have(); n != 2 || s.value(t, "/lb/status/services/web/0") != "worse" || s.value(t, "/lb/status/services/web/1") != "theirs" {
		t.Errorf("of the one there are %d", n-1)
	}
	if err := slot.Remove(s.ctx); err != nil || s.value(t, "/lb/status/services/web/0") != "" || s.leases(t) != 0 {
		t.Errorf("something is left: %v", err)
	}
}
