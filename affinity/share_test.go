package affinity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// fakeStore is a shared store that can be away, be emptied, and lose what followers have not heard yet.
type fakeStore struct {
	mu       sync.Mutex
	away     bool
	rev      int64
	sessions map[string]Session
	feeds    []*fakeFeed
}

// fakeFeed is what a follower has still to hear.
type fakeFeed struct {
	lost   bool // it is told everything anew
	events []fakeEvent
}

type fakeEvent struct {
	Session
	created bool
}

var errAway = errors.New("the store is away")

func newFakeStore() *fakeStore { return &fakeStore{sessions: map[string]Session{}} }

func (f *fakeStore) follow() *fakeFeed {
	f.mu.Lock()
	defer f.mu.Unlock()
	feed := &fakeFeed{lost: true}
	f.feeds = append(f.feeds, feed)
	return feed
}

func (f *fakeStore) name(service string, k key) string { return fmt.Sprintf("%s/%x", service, k) }

func (f *fakeStore) tell(e fakeEvent) {
	for _, feed := range f.feeds {
		feed.events = append(feed.events, e)
	}
}

// Write implements Shared.
func (f *fakeStore) Write(_ context.Context, changes []Change) ([]Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, errAway
	}
	seen := map[string]bool{}
	results := make([]Result, len(changes))
	for i, c := range changes {
		name := f.name(c.Service, c.Key)
		if seen[name] {
			return nil, errors.New("two changes of one session")
		}
		seen[name] = true
		stands, there := f.sessions[name]
		if stands.Rev != c.Rev {
			results[i] = Result{Session: stands}
			continue
		}
		f.rev++
		s := Session(c)
		s.Rev = f.rev
		if c.Backend == "" {
			delete(f.sessions, name)
			s.Rev = 0
		} else {
			f.sessions[name] = s
		}
		results[i] = Result{Written: true, Session: s}
		f.tell(fakeEvent{s, !there})
	}
	return results, nil
}

// empty is a store that came back with nothing, and begins to count anew.
func (f *fakeStore) empty() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev = 0
	clear(f.sessions)
	for _, feed := range f.feeds {
		feed.lost, feed.events = true, nil
	}
}

// deliver has a replica hear what there is.
func (f *fakeStore) deliver(feed *fakeFeed, to *Manager) {
	f.mu.Lock()
	if f.away {
		f.mu.Unlock()
		return
	}
	events, lost := feed.events, feed.lost
	feed.events, feed.lost = nil, false
	var all []Session
	if lost {
		events = nil
		for _, s := range f.sessions {
			all = append(all, s)
		}
	}
	f.mu.Unlock()
	if lost {
		to.heardAll(all, time.Now())
	}
	for _, e := range events {
		to.heard(&e.Session, e.created, time.Now())
	}
}

// Follow implements Shared.
func (f *fakeStore) Follow(ctx context.Context, to Feed) {
	feed := f.follow()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		f.mu.Lock()
		events, lost, away := feed.events, feed.lost, f.away
		var all []Session
		if !away {
			feed.events, feed.lost = nil, false
			for _, s := range f.sessions {
				all = append(all, s)
			}
		}
		f.mu.Unlock()
		switch {
		case away:
			to.OutOfStep(errAway)
		case lost:
			to.Listed(all)
			to.InStep()
		default:
			for _, e := range events {
				to.Changed(e.Session, e.created)
			}
			to.InStep()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// node is a replica whose writing and hearing the test decides on.
type node struct {
	m    *Manager
	s    *Sessions
	b    *backlog
	feed *fakeFeed
}

func startNode(t testing.TB, store *fakeStore, o Options) *node {
	m := manager(t, secret)
	m.share.sharing.Store(true)
	n := &node{m: m, s: m.Sessions("web"), b: m.newBacklog(), feed: store.follow()}
	n.s.Configure(o)
	store.deliver(n.feed, m)
	return n
}

// visit has the client answered by where it belongs, or by that backend if it belongs nowhere or must move.
func (n *node) visit(client, to string, move bool) string {
	var f Finding
	c := &Client{Header: client}
	now := time.Now()
	n.s.Find(c, now, &f)
	backend := strings.Clone(f.Backend)
	if backend == "" || move {
		backend = to
	}
	n.s.Keep(c, &f, backend, now)
	return backend
}

// with is the backend that a client is bound to; empty for none.
func (n *node) with(client string) string {
	var f Finding
	n.s.Find(&Client{Header: client}, time.Now(), &f)
	return strings.Clone(f.Backend)
}

// settle has all nodes write and hear until there is nothing left.
func settle(t interface{ Fatal(...any) }, store *fakeStore, nodes ...*node) {
	for range 100 {
		busy := false
		for _, n := range nodes {
			store.deliver(n.feed, n.m)
			more, err := n.b.write(context.Background(), store)
			if err != nil {
				t.Fatal(err)
			}
			busy = busy || more || len(n.feed.events) > 0 || n.feed.lost
		}
		if !busy {
			return
		}
	}
	t.Fatal("it never settles")
}

func TestReplicasAgreeWhateverIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{Type: Header, Store: StoreEtcd, Timeout: time.Hour, Return: rapid.Bool().Draw(rt, "return")}
		store := newFakeStore()
		nodes := []*node{startNode(t, store, o), startNode(t, store, o)}
		clients := []string{"ann", "bob", "cyn", "dan"}
		which := rapid.IntRange(0, 1)
		visit := func(rt *rapid.T, move bool) {
			n := nodes[which.Draw(rt, "replica")]
			n.visit(rapid.SampledFrom(clients).Draw(rt, "client"), rapid.SampledFrom([]string{"b1", "b2", "b3"}).Draw(rt, "backend"), move)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"visit": func(rt *rapid.T) { visit(rt, false) },
			"move":  func(rt *rapid.T) { visit(rt, true) },
			"write": func(rt *rapid.T) {
				if _, err := nodes[which.Draw(rt, "replica")].b.write(context.Background(), store); err != nil && !store.away {
					rt.Fatal(err)
				}
			},
			"hear": func(rt *rapid.T) {
				n := nodes[which.Draw(rt, "replica")]
				store.deliver(n.feed, n.m)
			},
			"lose history": func(rt *rapid.T) { nodes[which.Draw(rt, "replica")].feed.lost = true },
			"away":         func(*rapid.T) { store.away = true },
			"back":         func(*rapid.T) { store.away = false },
			"empty":        func(*rapid.T) { store.empty() },
			"restart": func(rt *rapid.T) {
				i := which.Draw(rt, "replica")
				nodes[i] = startNode(t, store, o)
			},
		})
		store.away = false
		settle(rt, store, nodes...)
		for _, client := range clients {
			one, two := nodes[0].with(client), nodes[1].with(client)
			stands := store.sessions[store.name("web", hashKey("header", "web", client))].Backend
			if one != two || one != stands {
				rt.Fatalf("%s is with %q here, %q there and %q in the store", client, one, two, stands)
			}
		}
		if one, two := nodes[0].m.Sharing().Pending, nodes[1].m.Sharing().Pending; one != 0 || two != 0 {
			rt.Fatalf("%d and %d are still pending", one, two)
		}
	})
}

func TestWhoeverWritesFirstIsRight(t *testing.T) {
	store := newFakeStore()
	o := Options{Type: Header, Store: StoreEtcd}
	one, two := startNode(t, store, o), startNode(t, store, o)
	one.visit("ann", "b1", false)
	two.visit("ann", "b2", false)
	for _, n := range []*node{two, one} { // neither has heard of the other
		if _, err := n.b.write(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, store, one, two)
	if one.with("ann") != "b2" || two.with("ann") != "b2" {
		t.Errorf("with %s and %s, want b2", one.with("ann"), two.with("ann"))
	}
	if n := one.m.Sharing().Overtaken; n != 1 {
		t.Errorf("%d changes were overtaken, want 1", n)
	}
}

func TestTheStoreIsBoundedAsMemoryIs(t *testing.T) {
	store := newFakeStore()
	o := Options{Type: Header, Store: StoreEtcd, MaxSessions: 100}
	one, two := startNode(t, store, o), startNode(t, store, o)
	for i := range 2000 {
		[]*node{one, two}[i%2].visit(fmt.Sprint(i), "b1", false)
		if i%50 == 0 {
			settle(t, store, one, two)
		}
	}
	settle(t, store, one, two)
	if n := len(store.sessions); n > 200 {
		t.Errorf("%d sessions stand in the store, want at most 200", n)
	}
	if n := one.s.Active(); n != 100 {
		t.Errorf("%d are remembered, want 100", n)
	}
	if one.m.Sharing().Pending != 0 {
		t.Errorf("%d are pending", one.m.Sharing().Pending)
	}
}

func TestTheQueueIsBoundedWhileTheStoreIsAway(t *testing.T) {
	store := newFakeStore()
	one := startNode(t, store, Options{Type: Header, Store: StoreEtcd, MaxSessions: 100})
	store.away = true
	for i := range 1000 {
		one.visit(fmt.Sprint(i), "b1", false)
		if _, err := one.b.write(context.Background(), store); err == nil && i > 0 {
			t.Fatal("written to a store that is away")
		}
	}
	if h := one.m.Sharing(); h.Pending > 100 || h.Dropped == 0 || len(one.b.dirty) > 1000 {
		t.Errorf("%+v, %d in the backlog", h, len(one.b.dirty))
	}
	store.away = false
	settle(t, store, one)
	if n := len(store.sessions); n != 100 {
		t.Errorf("%d sessions stand in the store, want the 100 that are left", n)
	}
}

func TestASessionInUseIsWrittenNowAndThenAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		o := Options{Type: Header, Store: StoreEtcd, Timeout: time.Hour}
		one, two := startNode(t, store, o), startNode(t, store, o)
		for range 180 { // three hours
			one.visit("ann", "b1", false)
			settle(t, store, one, two)
			time.Sleep(time.Minute)
		}
		if n := one.m.Sharing().Written; n < 5 || n > 7 {
			t.Errorf("written %d times in three hours, want once in half an hour", n)
		}
		time.Sleep(58 * time.Minute)
		if two.with("ann") != "b1" {
			t.Error("the other replica has let go of a session before its time")
		}
		time.Sleep(40 * time.Minute)
		if one.with("ann") != "" || two.with("ann") != "" {
			t.Error("the session has not ended")
		}
	})
}

func TestSharingRetriesUntilTheStoreIsBackAndWritesWhatIsLeftAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.away = true
		m := manager(t, secret)
		s := m.Sessions("web")
		s.Configure(Options{Type: Header, Store: StoreEtcd})
		n := &node{m: m, s: s}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		failures := 0
		var mu sync.Mutex
		go func() {
			defer close(ended)
			m.Share(ctx, store, func(error) { mu.Lock(); failures++; mu.Unlock() })
		}()
		synctest.Wait()
		n.visit("ann", "b1", false)
		time.Sleep(time.Minute)
		if h := m.Sharing(); h.InStep || h.Pending != 1 || !h.On {
			t.Errorf("while the store is away: %+v", h)
		}
		store.mu.Lock()
		store.away = false
		store.mu.Unlock()
		time.Sleep(mostWait)
		synctest.Wait()
		if h := m.Sharing(); !h.InStep || h.Pending != 0 || h.Written != 1 {
			t.Errorf("after it came back: %+v", h)
		}
		n.visit("bob", "b2", false)
		cancel()
		<-ended
		if len(store.sessions) != 2 {
			t.Errorf("%d sessions stand in the store, want 2", len(store.sessions))
		}
		mu.Lock()
		defer mu.Unlock()
		if failures == 0 {
			t.Error("nobody was told")
		}
	})
}

func TestSharedSessionsOutliveTheirServicesAbsence(t *testing.T) {
	store := newFakeStore()
	one := startNode(t, store, Options{Type: Header, Store: StoreEtcd})
	one.visit("ann", "b1", false)
	settle(t, store, one)
	one.m.Forget("web")
	if s := one.m.Sessions("web"); s != one.s || one.with("ann") != "b1" {
		t.Error("the session is forgotten")
	}
	other := one.m.Sessions("other")
	other.Configure(Options{Type: Header, Store: StoreMemory})
	one.m.Forget("other")
	if one.m.Sessions("other") == other {
		t.Error("a service without shared sessions is not forgotten")
	}
}
