package etcd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/vietddude/load-balancer/discovery/discoverytest"
)

// asked is the sending half of a stream; it counts what is asked for.
type asked struct {
	pb.Watch_WatchClient
	n int
}

func (a *asked) Send(*pb.WatchRequest) error { a.n++; return nil }

// script is a run that follows a stream which the test writes. Its listing is of cluster 1 at revision 10.
type script struct {
	*watch
	rec    *discoverytest.Recorder
	stream *asked
	ended  chan error
}

func newScript(t *testing.T) *script {
	src, err := New(Options{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil)
	s := &script{rec: b.rec, stream: &asked{}, ended: make(chan error, 1)}
	s.watch = &watch{stream: s.stream, responses: make(chan response, 16)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r := &run{Source: src, sink: b.rec, core: b.core}
	go func() { s.ended <- r.follow(ctx, s.watch, &listing{rev: 10, cluster: 1}) }()
	return s
}

// send delivers a response with a header of that revision.
func (s *script) send(rev int64, r *pb.WatchResponse) {
	if r.Header == nil {
		r.Header = &pb.ResponseHeader{ClusterId: 1, Revision: rev}
	}
	s.responses <- response{r, time.Now()}
	synctest.Wait()
}

// end is how the following ended, nil if it goes on.
func (s *script) end() error {
	synctest.Wait()
	select {
	case err := <-s.ended:
		return err
	default:
		return nil
	}
}

func put(key, value string, rev int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("/lb/" + key), Value: []byte(value), CreateRevision: rev, ModRevision: rev}}
}

func TestSilenceEndsAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		time.Sleep(DefaultLiveness - time.Nanosecond)
		if err := s.end(); err != nil {
			t.Fatalf("ended early: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := s.end(); !errors.Is(err, errSilent) {
			t.Errorf("ended with %v, want %v", err, errSilent)
		}
		if s.stream.n < 2 {
			t.Errorf("a sign of life was asked for %d times, want at least 2", s.stream.n)
		}
	})
}

func TestSignsOfLifeKeepAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		for range 20 {
			time.Sleep(DefaultLiveness - time.Nanosecond)
			s.send(10, &pb.WatchResponse{WatchId: -1})
		}
		if err := s.end(); err != nil {
			t.Errorf("ended with %v", err)
		}
		if calls := s.rec.State().Calls; len(calls) < 20 || calls[len(calls)-1] != "Synced" {
			t.Errorf("calls are %v, want a Synced for each sign of life", calls)
		}
	})
}

func TestAStoreBehindTheListingIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		before := s.rec.State()
		for range 3 {
			time.Sleep(DefaultLiveness / 4)
			s.send(9, &pb.WatchResponse{WatchId: -1})
		}
		time.Sleep(DefaultLiveness / 4)
		synctest.Wait()
		if got := lastCalls(before, s.rec.State()); got != "" {
			t.Errorf("calls are %s, want none", got)
		}
		if err := s.end(); !errors.Is(err, errSilent) {
			t.Errorf("ended with %v, want %v", err, errSilent)
		}
	})
}

func TestWhatTheListingKnewIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.send(10, &pb.WatchResponse{Events: []*mvccpb.Event{put("services/web/old", "10.0.0.1:80", 10)}})
		s.send(11, &pb.WatchResponse{Events: []*mvccpb.Event{put("services/web/new", "10.0.0.2:80", 11)}})
		if got := s.rec.State().URLs("web"); len(got) != 1 || got[0] != "http://10.0.0.2:80" {
			t.Errorf("web has %v, want only the newer one", got)
		}
	})
}

func TestFragmentsMakeOneChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		before := s.rec.State()
		s.send(11, &pb.WatchResponse{Fragment: true, Events: []*mvccpb.Event{put("services/web/a", "10.0.0.1:80", 11)}})
		if got := lastCalls(before, s.rec.State()); got != "" {
			t.Errorf("calls are %s before the last fragment, want none", got)
		}
		s.send(11, &pb.WatchResponse{Events: []*mvccpb.Event{put("services/web/b", "10.0.0.2:80", 11)}})
		if got := lastCalls(before, s.rec.State()); got != "Service web" {
			t.Errorf("calls are %s, want one", got)
		}
	})
}

func TestAChangeIsSeenWhenItsResponseCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		came := time.Now()
		time.Sleep(time.Second)
		s.responses <- response{&pb.WatchResponse{Header: &pb.ResponseHeader{ClusterId: 1, Revision: 11},
			Events: []*mvccpb.Event{put("services/web/a", "10.0.0.1:80", 11)}}, came}
		synctest.Wait()
		if got := s.rec.State().Services["web"].Seen; !got.Equal(came) {
			t.Errorf("seen at %v, want %v", got, came)
		}
	})
}

func TestTheReasonOfAResyncIsWhatTheListingShows(t *testing.T) {
	src, err := New(Options{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	rec := discoverytest.NewRecorder(t)
	r := &run{Source: src, sink: rec, core: newBench(t, nil).core, reason: "start"}
	for _, c := range []struct {
		rev     int64
		cluster uint64
		broke   error // before the listing
		want    string
	}{
		{10, 1, nil, "start"},
		{10, 1, errors.New("cut"), "reconnect"},
		{12, 1, errCompacted, "compaction"},
		{11, 1, errors.New("cut"), "index-reset"},
		{12, 1, errors.New("cut"), "reconnect"},
		{13, 2, errCompacted, "index-reset"},
	} {
		if c.broke != nil {
			r.ended(c.broke)
		}
		r.resync(&listing{rev: c.rev, cluster: c.cluster})
		if got := rec.State().Resyncs; got[len(got)-1] != c.want {
			t.Errorf("revision %d of cluster %d after %v: the reason is %s, want %s", c.rev, c.cluster, c.broke, got[len(got)-1], c.want)
		}
	}
}

func TestTheStoreMayEndAWatch(t *testing.T) {
	for name, c := range map[string]struct {
		response *pb.WatchResponse
		want     error
	}{
		"compacted": {&pb.WatchResponse{Canceled: true, CompactRevision: 12}, errCompacted},
		"other":     {&pb.WatchResponse{Canceled: true, CancelReason: "etcdserver: no leader"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t)
				s.send(11, c.response)
				if err := s.end(); err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("ended with %v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestTheEndOfTheStreamIsTheEndOfFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.err = errors.New("cut")
		close(s.responses)
		if err := s.end(); err != s.err {
			t.Errorf("ended with %v, want %v", err, s.err)
		}
	})
}
