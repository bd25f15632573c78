package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Store reads and writes single keys below a prefix: what balancers share, and what registers itself. It connects when
// it is first used. Each request is bounded by [Options].DialTimeout. Its methods may be called concurrently.
type Store struct {
	opts Options
	run  run // for its words about errors

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	dials  sync.WaitGroup

	mu     sync.Mutex
	client *clientv3.Client // nil before the first use
	dial   *dial            // the try under way; nil without one
	closed bool
}

// dial is a try to connect, whose outcome is for all who wait for it.
type dial struct {
	done   chan struct{} // closed when what follows is there
	client *clientv3.Client
	err    error
}

// KeyValue is a key below the store's prefix, without it, and its value.
type KeyValue struct {
	Key   string
	Value []byte
	// Rev is the revision of the value, for [Store.Replace].
	Rev int64
}

// NewStore returns a store. Its error names the option that cannot be.
func NewStore(o Options) (*Store, error) {
	src, err := New(o)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: src.opts, run: run{Source: src}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Options are the options with their defaults filled in.
func (s *Store) Options() Options { return s.opts }

// String names the store for people.
func (s *Store) String() string {
	return "etcd at " + strings.Join(s.opts.Endpoints, ",") + " under " + strings.TrimSuffix(s.opts.Prefix, "/")
}

// Close ends the connection, and a try to make one. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	client := s.client
	s.closed, s.client = true, nil
	s.mu.Unlock()
	s.cancel()
	s.dials.Wait()
	if client == nil {
		return nil
	}
	err := client.Close()
	if errors.Is(err, context.Canceled) {
		return nil // what closing a connection in use says
	}
	return err
}

// errClosed is what a store answers after Close.
var errClosed = errors.New("the connection to the store has been closed")

// conn is the connection. A store that asks for a login and cannot be reached has none, and is asked again next time; who
// comes while it is asked waits for the same answer, no longer than the context lasts.
func (s *Store) conn(ctx context.Context) (*clientv3.Client, error) {
	s.mu.Lock()
	if s.closed || s.client != nil {
		defer s.mu.Unlock()
		if s.closed {
			return nil, errClosed
		}
		return s.client, nil
	}
	d := s.dial
	if d == nil {
		d = &dial{done: make(chan struct{})}
		s.dial = d
		s.dials.Go(func() { s.connect(d) })
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.client, d.err
	case <-ctx.Done():
		return nil, s.explain(ctx.Err(), rightWrite)
	}
}

// connect makes the connection.
func (s *Store) connect(d *dial) {
	client, err := clientv3.New(clientv3.Config{
		Context:         s.ctx,
		Endpoints:       s.opts.Endpoints,
		Username:        s.opts.Username,
		Password:        s.opts.Password,
		TLS:             s.opts.TLS,
		DialTimeout:     s.opts.DialTimeout,
		MaxUnaryRetries: 3,
		Logger:          zap.NewNop(),
		// The library waits up to two minutes between tries; announcements would be missed for as long after an outage.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: s.opts.DialTimeout,
		})},
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		if err == nil {
			client.Close()
		}
		d.err = errClosed
	case err != nil:
		d.err = s.explain(err, "read and write")
	default:
		s.client, d.client = client, client
	}
	s.dial = nil
	close(d.done)
}

// do makes one request within the bound. The right is what the user needs for it.
func (s *Store) do(ctx context.Context, right string, request func(context.Context, *clientv3.Client) error) error {
	client, err := s.conn(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.DialTimeout)
	defer cancel()
	if err := request(clientv3.WithRequireLeader(ctx), client); err != nil {
		return s.explain(err, right)
	}
	return nil
}

// explain is what the source says of errors, with the right that is missing.
func (s *Store) explain(err error, right string) error {
	nature, full := s.run.explain(err)
	if nature == "permission" {
		full = &outage{fmt.Sprintf("etcd at %s: %s: grant the user %q %s on the prefix %s",
			strings.Join(s.opts.Endpoints, ","), message(err), s.opts.Username, right, s.opts.Prefix), err}
	}
	return full
}

const (
	rightRead  = "read"
	rightWrite = "readwrite"
)

// Get reads a key; without it found is false.
func (s *Store) Get(ctx context.Context, key string) (kv KeyValue, found bool, err error) {
	err = s.do(ctx, rightRead, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Get(ctx, s.opts.Prefix+key)
		if err == nil && len(r.Kvs) > 0 {
			kv, found = KeyValue{key, r.Kvs[0].Value, r.Kvs[0].ModRevision}, true
		}
		return err
	})
	return kv, found, err
}

// List reads all keys that begin with a text, in order.
func (s *Store) List(ctx context.Context, under string) (kvs []KeyValue, err error) {
	err = s.do(ctx, rightRead, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Get(ctx, s.opts.Prefix+under, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			kvs = append(kvs, KeyValue{strings.TrimPrefix(string(kv.Key), s.opts.Prefix), kv.Value, kv.ModRevision})
		}
		return nil
	})
	return kvs, err
}

// Put writes a key that stays, and returns its revision.
func (s *Store) Put(ctx context.Context, key string, value []byte) (rev int64, err error) {
	return rev, s.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Put(ctx, s.opts.Prefix+key, string(value))
		if err == nil {
			rev = r.Header.Revision
		}
		return err
	})
}

// Delete removes a key, and returns the revision of that; a key that is not there is no error.
func (s *Store) Delete(ctx context.Context, key string) (rev int64, err error) {
	return rev, s.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Delete(ctx, s.opts.Prefix+key)
		if err == nil {
			rev = r.Header.Revision
		}
		return err
	})
}

// Replace writes a key if its revision is still rev, 0 for a key that is not there. It returns what stands there now,
// and reports whether that is what was written.
func (s *Store) Replace(ctx context.Context, key string, rev int64, value []byte) (now KeyValue, written bool, err error) {
	full := s.opts.Prefix + key
	err = s.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(full), "=", rev)).
			Then(clientv3.OpPut(full, string(value))).
			Else(clientv3.OpGet(full)).
			Commit()
		if err != nil {
			return err
		}
		now, written = KeyValue{Key: key, Value: value, Rev: r.Header.Revision}, r.Succeeded
		if !written {
			now = KeyValue{Key: key}
			if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
				now.Value, now.Rev = kvs[0].Value, kvs[0].ModRevision
			}
		}
		return nil
	})
	return now, written, err
}
