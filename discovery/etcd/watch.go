package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

var (
	errCompacted = errors.New("the history of the watch was compacted")
	errSilent    = errors.New("the watch has fallen silent")
	errForeign   = errors.New("the endpoints belong to different clusters")
)

// watch is one stream of events. The client library's own watch is not used: it resumes broken streams by itself at a
// revision that a store which came back empty reaches only much later, and is silent meanwhile.
type watch struct {
	stream  pb.Watch_WatchClient
	cancel  context.CancelFunc
	cluster uint64 // of the member at the other end

	// responses is closed by read when the stream has ended.
	responses chan response
	err       error // why; written by read before it closes responses
}

// response is what the store sent, and when it came.
type response struct {
	*pb.WatchResponse
	at time.Time
}

// openWatch begins to watch the prefix from now on and returns when the store has confirmed it.
func (r *run) openWatch(ctx context.Context, conn grpc.ClientConnInterface) (*watch, error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	key, end := r.opts.keys()
	// The stream's context outlives this function, so its opening is bounded by a timer.
	late := time.AfterFunc(r.opts.DialTimeout, cancel)
	stream, err := pb.NewWatchClient(conn).Watch(ctx, grpc.MaxCallRecvMsgSize(r.maxMessage))
	if err == nil {
		err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key:            []byte(key),
			RangeEnd:       []byte(end),
			ProgressNotify: true,
			Fragment:       true,
		}}})
	}
	// An error of Send only says that the stream has ended; Recv tells why.
	var first *pb.WatchResponse
	if stream != nil {
		first, err = stream.Recv()
	}
	if err == nil && first.Canceled {
		err = canceled(first)
	}
	if !late.Stop() && err != nil && ctx.Err() != nil {
		err = fmt.Errorf("the watch was not confirmed: %w", context.DeadlineExceeded)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	w := &watch{stream: stream, cancel: cancel, cluster: first.Header.GetClusterId(), responses: make(chan response, 16)}
	go w.read(ctx)
	return w, nil
}

// read hands responses on until the stream ends.
func (w *watch) read(ctx context.Context) {
	defer close(w.responses)
	for {
		r, err := w.stream.Recv()
		if err != nil {
			w.err = err
			return
		}
		select {
		case w.responses <- response{r, time.Now()}:
		case <-ctx.Done():
			w.err = ctx.Err()
			return
		}
	}
}

// close ends the stream and waits for its goroutine.
func (w *watch) close() {
	w.cancel()
	for range w.responses {
	}
}

// canceled is the error of a watch that the store ended.
func canceled(r *pb.WatchResponse) error {
	if r.CompactRevision != 0 {
		return errCompacted
	}
	return fmt.Errorf("the store ended the watch: %s", r.CancelReason)
}

// follow applies the watch's events to what was listed until something breaks. It asks for a sign of life three times
// within Options.Liveness.
func (r *run) follow(ctx context.Context, w *watch, l *listing) error {
	ask := time.NewTicker(r.opts.Liveness / 3)
	defer ask.Stop()
	deaf := time.NewTimer(r.opts.Liveness)
	defer deaf.Stop()
	var events []*mvccpb.Event // of a response whose other fragments are still to come
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case res, ok := <-w.responses:
			if !ok {
				return w.err
			}
			if res.Canceled {
				return canceled(res.WatchResponse)
			}
			// A member that lags behind the listing, or a store that came back with less, is not heard.
			if res.Header.GetRevision() >= l.rev {
				deaf.Reset(r.opts.Liveness)
				if len(res.Events) == 0 {
					r.sink.Synced()
				}
			}
			events = append(events, res.Events...)
			if !res.Fragment {
				r.apply(events, l.rev, res.at)
				events = nil
			}
		case <-ask.C:
			w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		case <-deaf.C:
			if len(w.responses) == 0 {
				return errSilent
			}
			deaf.Reset(r.opts.Liveness) // it was us who did not listen
		}
	}
}

// apply announces what the events of one response change; those that the listing knew already are passed over.
func (r *run) apply(events []*mvccpb.Event, listed int64, at time.Time) {
	for _, e := range events {
		switch kv := e.Kv; {
		case kv.ModRevision <= listed:
		case e.Type == mvccpb.Event_DELETE:
			r.core.remove(string(kv.Key))
		default:
			r.core.put(keyValue{string(kv.Key), kv.Value, kv.CreateRevision, kv.ModRevision})
		}
	}
	if n := len(events); n > 0 { // in order of revision
		r.revise(max(listed, events[n-1].Kv.ModRevision))
	}
	r.core.flush(r.sink, at)
}
