package etcd

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery/embedded"
)

func TestSwapsAreMadeEachByItself(t *testing.T) {
	s, client := startStore(t)
	var swaps []Swap
	for i := range 3*maxSwaps + 5 {
		swaps = append(swaps, Swap{Key: fmt.Sprintf("s/%d", i), Value: []byte("new")})
	}
	if _, err := client.Put(t.Context(), "/lb/s/7", "old"); err != nil {
		t.Fatal(err)
	}
	out, err := s.SwapAll(t.Context(), swaps)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range out {
		want := "new"
		if i == 7 {
			want = "old"
		}
		if w.Done != (i != 7) || string(w.Value) != want || w.Rev == 0 || w.Key != swaps[i].Key {
			t.Fatalf("swap %d: %+v", i, w)
		}
	}
	out, err = s.SwapAll(t.Context(), []Swap{
		{Key: "s/1", Rev: out[1].Rev}, {Key: "s/2", Rev: out[1].Rev + 1000}, {Key: "s/7", Value: []byte("newer"), Rev: out[7].Rev}, {Key: "nobody", Rev: 5},
	})
	if err != nil || !out[0].Done || out[0].Rev != 0 || out[1].Done || string(out[1].Value) != "new" || !out[2].Done || out[3].Done || out[3].Rev != 0 {
		t.Errorf("%+v (%v)", out, err)
	}
}

func TestKeysShareLeasesThatEndAfterThem(t *testing.T) {
	s, client := startStore(t)
	leases := s.Leases()
	now := time.Now()
	ids := map[int64]int{}
	for i := range maxPerLease + 100 {
		id, err := leases.For(t.Context(), now.Add(time.Hour+time.Duration(i)*time.Millisecond), now)
		if err != nil {
			t.Fatal(err)
		}
		ids[id]++
	}
	if len(ids) < 2 || len(ids) > 3 {
		t.Errorf("%d keys have %d leases, want 2 or 3", maxPerLease+100, len(ids))
	}
	for id := range ids {
		r, err := client.TimeToLive(t.Context(), clientv3.LeaseID(id))
		if err != nil || r.TTL < 3590 || r.TTL > 3600+600 {
			t.Errorf("a lease lasts %+v (%v), want an hour and up to ten minutes", r, err)
		}
		if _, err := client.Revoke(t.Context(), clientv3.LeaseID(id)); err != nil {
			t.Fatal(err)
		}
	}
	id, _ := leases.For(t.Context(), now.Add(time.Hour+2*time.Second), now)
	_, err := s.SwapAll(t.Context(), []Swap{{Key: "x", Value: []byte("1"), Lease: id}})
	if ids[id] == 0 {
		t.Fatal("another lease was granted, where one with room is known")
	}
	if !leases.Lost(err) {
		t.Fatalf("the error is %v", err)
	}
	if id, err = leases.For(t.Context(), now.Add(time.Hour), now); err != nil || ids[id] != 0 {
		t.Errorf("the lease that was lost is given again (%v)", err)
	}
}

func TestFeedTellsWhatIsThereAndWhatChanges(t *testing.T) {
	s, client := startStore(t)
	if _, err := client.Put(t.Context(), "/lb/f/a", "1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan string, 16), make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Feed(ctx, "f/", Feed{
			Listed: func(all []KeyValue) {
				for _, kv := range all {
					told <- "listed " + kv.Key
				}
			},
			Put:     func(kv KeyValue, created bool) { told <- fmt.Sprintf("put %s %s %v", kv.Key, kv.Value, created) },
			Removed: func(key string) { told <- "removed " + key },
			Failed:  func(err error) { told <- err.Error() },
			Synced:  func() {},
		})
	}()
	defer func() { cancel(); <-ended }()
	want := func(text string) {
		t.Helper()
		select {
		case got := <-told:
			if got != text {
				t.Fatalf("told %q, want %q", got, text)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("not told %q", text)
		}
	}
	want("listed f/a")
	for _, value := range []string{"1", "2"} {
		if _, err := client.Put(t.Context(), "/lb/f/b", value); err != nil {
			t.Fatal(err)
		}
	}
	want("put f/b 1 true")
	want("put f/b 2 false")
	if _, err := client.Delete(t.Context(), "/lb/f/a"); err != nil {
		t.Fatal(err)
	}
	want("removed f/a")
}

// startStore is a store of a real etcd, and a client of it.
func startStore(t *testing.T) (*Store, *clientv3.Client) {
	s := newStore(t, embedded.Options{})
	return s.open(t), s.Client
}
