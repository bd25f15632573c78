package demo

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/discovery/embedded"
)

const key = "/lb/services/web/a"

// store starts an etcd server with a client, and a watch on the key.
func store(t *testing.T) (context.Context, *clientv3.Client, clientv3.WatchChan) {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx, c, c.Watch(ctx, key)
}

// register registers in the background; the function that it returns ends that and waits for it.
func register(t *testing.T, c *clientv3.Client, ttl time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Register(ctx, c, "/lb", "web", "a", "http://10.0.0.1:80", ttl) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// next waits for the next event of the key.
func next(t *testing.T, watch clientv3.WatchChan) *clientv3.Event {
	t.Helper()
	r, ok := <-watch
	if !ok || r.Err() != nil || len(r.Events) == 0 {
		t.Fatalf("the watch ended: %v", r.Err())
	}
	return r.Events[0]
}

func TestARegistrationHasALeaseAndIsTakenBackAtTheEnd(t *testing.T) {
	ctx, c, watch := store(t)
	end := register(t, c, time.Hour)
	e := next(t, watch)
	if !e.IsCreate() || string(e.Kv.Value) != "http://10.0.0.1:80" || e.Kv.Lease == 0 {
		t.Errorf("registered %+v, want the URL with a lease", e)
	}
	end()
	if e := next(t, watch); e.Type != clientv3.EventTypeDelete {
		t.Errorf("%v, want the key's removal", e)
	}
	if r, err := c.Leases(ctx); err != nil || len(r.Leases) > 0 {
		t.Errorf("%d leases are left (%v)", len(r.Leases), err)
	}
}

func TestALostLeaseIsReplaced(t *testing.T) {
	ctx, c, watch := store(t)
	end := register(t, c, 3*time.Second) // the loss is noticed after a third of it
	defer end()
	first := next(t, watch)
	if _, err := c.Revoke(ctx, clientv3.LeaseID(first.Kv.Lease)); err != nil {
		t.Fatal(err)
	}
	if e := next(t, watch); e.Type != clientv3.EventTypeDelete {
		t.Fatalf("%v, want the key's removal", e)
	}
	if e := next(t, watch); !e.IsCreate() || e.Kv.Lease == first.Kv.Lease {
		t.Errorf("%v, want a registration with another lease", e)
	}
}

func TestTheLeaseIsExtendedAgainAndAgain(t *testing.T) {
	ctx, c, watch := store(t)
	end := register(t, c, 6*time.Second)
	defer end()
	lease := clientv3.LeaseID(next(t, watch).Kv.Lease)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last := int64(1 << 30); ; <-tick.C {
		r, err := c.TimeToLive(ctx, lease)
		if err != nil || r.TTL < 0 {
			t.Fatalf("the lease has ended (%v)", err)
		}
		if r.TTL > last {
			return
		}
		last = r.TTL
	}
}

func TestRegisterEndsWithItsContextThoughNothingAnswers(t *testing.T) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	register(t, c, time.Second)()
}

func TestARegistrationWithoutANameIsAnError(t *testing.T) {
	for _, args := range [][3]string{{"", "a", "http://b:1"}, {"web", "", "http://b:1"}, {"web", "a", ""}} {
		if err := Register(t.Context(), nil, "/lb", args[0], args[1], args[2], time.Second); err == nil {
			t.Errorf("%q was registered", args)
		}
	}
}
