package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

type state = discoverytest.State

// serves is the condition that the source is in step and web has just these addresses.
func serves(urls ...string) func(state) bool {
	return func(s state) bool { return s.InStep && slices.Equal(s.URLs("web"), urls) }
}

func failed(s state) bool { return s.Err != nil }

func TestACompactionWhileTheWatchIsCutLosesNothing(t *testing.T) {
	s := newStore(t, embedded.Options{})
	s.put(t, key("web", "a"), "10.0.0.1:80")
	s.put(t, key("web", "b"), "10.0.0.2:80")
	rec := s.follow(t, Options{})
	s.net.Cut()
	rec.Await(s.ctx, failed)
	s.del(t, key("web", "a"))
	s.put(t, key("web", "c"), "10.0.0.3:80")
	s.compact(t)
	s.put(t, key("web", "d"), "10.0.0.4:80")
	heal(t, s.net)
	rec.Await(s.ctx, serves("http://10.0.0.2:80", "http://10.0.0.3:80", "http://10.0.0.4:80"))
}

func TestACutOfAnInstantIsNoOutageOnceInStepForLong(t *testing.T) {
	t.Parallel()
	s := newStore(t, embedded.Options{})
	rec := s.follow(t, Options{Liveness: time.Millisecond * 300})
	time.Sleep(400 * time.Millisecond) // the length of being in step is what the test is about
	s.net.Reset()
	got := rec.Await(s.ctx, func(s state) bool { return len(s.Resyncs) == 2 && s.InStep })
	if len(got.Failures) != 0 || got.Resyncs[1] != "reconnect" {
		t.Errorf("failures %v, resyncs %v; want none, and a reconnect", got.Failures, got.Resyncs)
	}
}

func TestASilentNetworkIsGivenUpAndComesBack(t *testing.T) {
	s := newStore(t, embedded.Options{})
	s.put(t, key("web", "a"), "10.0.0.1:80")
	rec := s.follow(t, Options{})
	s.net.Freeze()
	s.put(t, key("web", "b"), "10.0.0.2:80")
	got := rec.Await(s.ctx, failed)
	if !strings.Contains(got.Err.Error(), "silent") || len(got.URLs("web")) != 1 {
		t.Errorf("the outage is %v, and web has %v; want silence, and a", got.Err, got.URLs("web"))
	}
	heal(t, s.net)
	rec.Await(s.ctx, serves("http://10.0.0.1:80", "http://10.0.0.2:80"))
}

func TestAnIdleStoreIsNotTakenForASilentOne(t *testing.T) {
	t.Parallel()
	s := newStore(t, embedded.Options{})
	rec := s.follow(t, Options{Liveness: 300 * time.Millisecond})
	before := rec.State()
	time.Sleep(1500 * time.Millisecond) // nothing is to happen in five times the bound
	got := strings.ReplaceAll(lastCalls(before, rec.State()), "Synced", "")
	if strings.Trim(got, ", ") != "" {
		t.Errorf("calls are %s, want signs of life alone", got)
	}
}

func TestMembersOfDifferentClustersAreToldApart(t *testing.T) {
	a, b := newStore(t, embedded.Options{}), newStore(t, embedded.Options{})
	r := &run{Source: a.source(t, Options{})}
	// The watch is of the one, the listing of the other.
	w, err := r.openWatch(a.ctx, b.ActiveConnection())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	_, err = r.begin(a.ctx, w, a.Client)
	if !errors.Is(err, errForeign) {
		t.Errorf("the error is %v, want %v", err, errForeign)
	}
}

func TestAStoreThatCameBackEmptyIsAnIndexReset(t *testing.T) {
	s := newStore(t, embedded.Options{})
	for i := range 20 {
		s.put(t, key("web", fmt.Sprint("b", i)), "10.0.0.1:80")
	}
	rec := s.follow(t, Options{})
	s.restart(t)
	s.put(t, key("web", "new"), "10.0.0.9:80")
	got := rec.Await(s.ctx, serves("http://10.0.0.9:80"))
	if !slices.Contains(got.Resyncs, "index-reset") {
		t.Errorf("resyncs are %v, want an index-reset", got.Resyncs)
	}
	s.put(t, key("web", "next"), "10.0.0.8:80")
	rec.Await(s.ctx, serves("http://10.0.0.9:80", "http://10.0.0.8:80"))
}

func TestAnOutageIsToldOnceHoweverOftenItIsTried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tries := make(chan struct{}, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			tries <- struct{}{}
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	src, err := New(Options{Endpoints: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	for range 5 {
		<-tries
	}
	// The connection ends with a reset at times, and at times without.
	got := rec.State()
	natures := map[string]bool{}
	for _, err := range got.Failures {
		nature, _ := classify(errors.Unwrap(err), err.Error())
		natures[nature] = true
	}
	if len(got.Failures) == 0 || len(got.Failures) != len(natures) {
		t.Errorf("told %d times of %v, want once of each: %v", len(got.Failures), natures, got.Failures)
	}
}

func TestAMemberThatIsDownDoesNotMatterWhileAnotherIsUp(t *testing.T) {
	s := newStore(t, embedded.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := l.Addr().String()
	l.Close()
	src := s.source(t, Options{})
	src.opts.Endpoints = []string{down, s.net.Addr()}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	s.put(t, key("web", "a"), "10.0.0.1:80")
	rec.Await(s.ctx, serves("http://10.0.0.1:80"))
}

func TestAPrefixEndsAtASlash(t *testing.T) {
	s := newStore(t, embedded.Options{})
	for _, prefix := range []string{"/lb", "/lb-staging", "/lb0", "/l", ""} {
		s.put(t, prefix+"/services/web/of"+strings.Trim(prefix, "/"), "10.0.0.1:80")
	}
	s.put(t, "/lb", "x")
	for prefix, want := range map[string]string{"": "oflb", "/lb": "oflb", "/lb/": "oflb", "/lb-staging": "oflb-staging", "/l": "ofl"} {
		rec := s.follow(t, Options{Prefix: prefix})
		if got := rec.State(); len(got.Backends("web")) != 1 || got.Backends("web")[0].ID != want || len(got.Problems) != 0 {
			t.Errorf("below %q there must be %s alone:\n%v", prefix, want, got)
		}
	}
}

func TestABackendGoesWithItsLease(t *testing.T) {
	s := newStore(t, embedded.Options{})
	rec := s.follow(t, Options{})
	lease, err := s.Grant(s.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, key("web", "a"), "10.0.0.1:80", clientv3.WithLease(lease.ID))
	s.put(t, key("web", "b"), "10.0.0.2:80")
	rec.Await(s.ctx, serves("http://10.0.0.1:80", "http://10.0.0.2:80"))
	rec.Await(s.ctx, serves("http://10.0.0.2:80"))
}

func TestATransactionIsOneChange(t *testing.T) {
	s := newStore(t, embedded.Options{})
	rec := s.follow(t, Options{})
	before := rec.State()
	if _, err := s.Txn(s.ctx).Then(clientv3.OpPut(key("web", "a"), "10.0.0.1:80"), clientv3.OpPut(key("web", "b"), "10.0.0.2:80"),
		clientv3.OpPut("/lb/policies/web", "p")).Commit(); err != nil {
		t.Fatal(err)
	}
	got := rec.Await(s.ctx, serves("http://10.0.0.1:80", "http://10.0.0.2:80"))
	if calls := lastCalls(before, got); calls != "Service web" {
		t.Errorf("calls are %s, want one", calls)
	}
}

func TestAListingLongerThanAPageIsComplete(t *testing.T) {
	s := newStore(t, embedded.Options{})
	want := []string{}
	for i := range 10 {
		s.put(t, key("web", fmt.Sprintf("b%02d", i)), fmt.Sprintf("10.0.0.%d:80", i))
		want = append(want, fmt.Sprintf("http://10.0.0.%d:80", i))
	}
	for _, size := range []int64{1, 3, 5, 10, 11} {
		src := s.source(t, Options{})
		src.pageSize = size
		rec := discoverytest.NewRecorder(t)
		discoverytest.Start(t, src, rec)
		if got := rec.AwaitInStep(s.ctx).URLs("web"); !slices.Equal(got, want) {
			t.Errorf("with pages of %d: %v, want %v", size, got, want)
		}
	}
}

// meddler changes the store between the pages of a listing.
type meddler struct {
	clientv3.KV
	meddle func(page int)
	page   int
}

func (m *meddler) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	r, err := m.KV.Get(ctx, key, opts...)
	m.page++
	m.meddle(m.page)
	return r, err
}

// listed lists with pages of 2 through a meddler and returns the keys.
func listed(t *testing.T, s *store, meddle func(page int)) ([]string, error) {
	src := s.source(t, Options{})
	src.pageSize = 2
	l, err := (&run{Source: src}).list(s.ctx, &meddler{KV: s.Client, meddle: meddle})
	if err != nil {
		return nil, err
	}
	keys := []string{}
	for _, kv := range l.kvs {
		keys = append(keys, kv.key+"="+string(kv.value))
	}
	return keys, nil
}

func threeKeys(t *testing.T) *store {
	s := newStore(t, embedded.Options{})
	for _, k := range []string{"a", "b", "c"} {
		s.put(t, "/lb/"+k, "old")
	}
	return s
}

func TestAListingIsOfOneRevision(t *testing.T) {
	s := threeKeys(t)
	got, err := listed(t, s, func(page int) {
		if page == 1 {
			s.put(t, "/lb/a", "new")
			s.put(t, "/lb/c", "new")
			s.put(t, "/lb/d", "new")
		}
	})
	if want := []string{"/lb/a=old", "/lb/b=old", "/lb/c=old"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("listed %v (%v), want %v", got, err, want)
	}
}

func TestAListingOvertakenByACompactionStartsOver(t *testing.T) {
	s := threeKeys(t)
	got, err := listed(t, s, func(page int) {
		if page == 1 {
			s.put(t, "/lb/c", "new")
			s.compact(t)
		}
	})
	if want := []string{"/lb/a=old", "/lb/b=old", "/lb/c=new"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("listed %v (%v), want %v", got, err, want)
	}
}

func TestAListingThatIsOvertakenForEverFails(t *testing.T) {
	s := threeKeys(t)
	_, err := listed(t, s, func(int) {
		s.put(t, "/lb/c", "new")
		s.compact(t)
	})
	if err == nil || !strings.Contains(err.Error(), "compaction") {
		t.Errorf("the error is %v, want one about compaction", err)
	}
}

func TestAPageThatIsTooLargeIsReadInSmallerOnes(t *testing.T) {
	s := newStore(t, embedded.Options{})
	for i := range 20 {
		s.put(t, key("web", fmt.Sprintf("b%02d", i)), `{"url":"10.0.0.1:80","zone":"`+strings.Repeat("z", 10<<10)+`"}`)
	}
	src := s.source(t, Options{})
	src.maxMessage = 32 << 10
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	if got := len(rec.AwaitInStep(s.ctx).Backends("web")); got != 20 {
		t.Errorf("web has %d backends, want 20", got)
	}
}

func TestGarbageDisturbsNothingElse(t *testing.T) {
	s := newStore(t, embedded.Options{})
	garbage := map[string]string{
		"/lb/services/web/no-port":   "10.0.0.1",
		"/lb/services/web/bad-url":   "http://a b:80",
		"/lb/services/web/weight":    `{"url":"10.0.0.1:80","weight":-1}`,
		"/lb/services/web/cut":       `{"url":"10.0.0`,
		"/lb/services/web/noise":     strings.Repeat("\x00\xff\xaa", 1<<20/3),
		"/lb/services/web/empty":     "",
		"/lb/services/../x":          "10.0.0.1:80",
		"/lb/services/web/a\x00\xff": "10.0.0.1:80",
		"/lb/services/web":           "10.0.0.1:80",
		"/lb/policies/web":           "bad",
		"/lb/routes/r":               "{",
		"/lb/junk":                   "x",
		"/lb/":                       "x",
	}
	for k, v := range garbage {
		s.put(t, k, v)
	}
	s.put(t, key("web", "good"), "10.0.0.5:80")
	rec := s.follow(t, Options{})
	got := rec.Await(s.ctx, serves("http://10.0.0.5:80"))
	if len(got.Problems) != len(garbage) {
		t.Errorf("%d problems, want %d:\n%v", len(got.Problems), len(garbage), got)
	}
	for k := range garbage {
		s.del(t, k)
	}
	rec.Await(s.ctx, func(s state) bool { return len(s.Problems) == 0 })
	for k, v := range garbage {
		s.put(t, k, v)
	}
	s.put(t, key("web", "later"), "10.0.0.6:80")
	got = rec.Await(s.ctx, serves("http://10.0.0.5:80", "http://10.0.0.6:80"))
	if len(got.Problems) != len(garbage) {
		t.Errorf("%d problems, want %d:\n%v", len(got.Problems), len(garbage), got)
	}
}

// BenchmarkFromPutToSink is the time from a put by etcd's client to the call of the sink.
func BenchmarkFromPutToSink(b *testing.B) {
	s := newStore(b, embedded.Options{})
	rec := s.follow(b, Options{Liveness: 10 * time.Second})
	for i := 0; b.Loop(); i++ {
		url := fmt.Sprintf("http://10.0.%d.%d:80", i/250%250, i%250)
		s.put(b, key("web", "a"), url)
		rec.Await(context.Background(), func(s state) bool { return slices.Equal(s.URLs("web"), []string{url}) })
	}
}
