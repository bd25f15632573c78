package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery/announce"
)

// lease is a lease in the store and a key that hangs on it. It is not safe for concurrent use.
type lease struct {
	store *Store
	key   string // whole
	ttl   int64  // seconds
	// id is chosen here, so that a lease whose grant was not heard of can be revoked; 0 before it is asked for.
	id      clientv3.LeaseID
	granted bool
	// stands says that the key was put under the lease, put that it was once put at all.
	stands, put bool
}

func newLease(s *Store, key string, ttl time.Duration) *lease {
	return &lease{store: s, key: s.opts.Prefix + key, ttl: max(1, int64(math.Ceil(ttl.Seconds())))}
}

// hold grants the lease unless there is one.
func (l *lease) hold(ctx context.Context) error {
	if l.granted {
		return nil
	}
	if l.id == clientv3.NoLease {
		l.id = clientv3.LeaseID(rand.Int64N(math.MaxInt64) + 1)
	}
	return l.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		_, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: l.ttl, ID: int64(l.id)})
		if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrLeaseExist) {
			err = nil // an earlier try was heard after all
		}
		l.granted = err == nil
		return err
	})
}

// forget is called when the store does not know the lease.
func (l *lease) forget(err error) error {
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.id, l.granted, l.stands = clientv3.NoLease, false, false
		return errors.Join(announce.ErrLost, err)
	}
	return err
}

// write puts the key under the lease. The first time it takes over what stands there, as a process does that comes
// after one that was killed; later it gives way to whoever has done so since.
func (l *lease) write(ctx context.Context, value string) error {
	if err := l.hold(ctx); err != nil {
		return err
	}
	taken := false
	err := l.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		put := clientv3.OpPut(l.key, value, clientv3.WithLease(l.id))
		if !l.put {
			_, err := c.Do(ctx, put)
			return err
		}
		r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(l.key), "=", l.id)).Then(put).
			Else(clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(l.key), "=", 0)}, []clientv3.Op{put}, nil)).
			Commit()
		taken = err == nil && !r.Succeeded && !r.Responses[0].GetResponseTxn().Succeeded
		return err
	})
	if err != nil {
		return l.forget(err)
	}
	if taken {
		l.stands = true // Refresh looks whether they have left
		return announce.ErrTaken
	}
	l.stands, l.put = true, true
	return nil
}

// refresh prolongs the lease and looks whether the key still hangs on it.
func (l *lease) refresh(ctx context.Context) error {
	if !l.granted {
		return announce.ErrLost
	}
	err := l.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		return keepAlive(ctx, c, l.id)
	})
	if err != nil || !l.stands {
		return l.forget(err)
	}
	var owner clientv3.LeaseID = clientv3.NoLease
	there := false
	err = l.store.do(ctx, rightRead, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Get(ctx, l.key, clientv3.WithSerializable())
		if err == nil && len(r.Kvs) > 0 {
			owner, there = clientv3.LeaseID(r.Kvs[0].Lease), true
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !there:
		return announce.ErrLost
	case owner != l.id:
		return announce.ErrTaken
	}
	return nil
}

// keepAlive prolongs a lease once. The client library's own tries again without a pause while the store is away.
func keepAlive(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	// An error of Send only says that the stream has ended; Recv tells why.
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)})
	r, err := stream.Recv()
	if err == nil && r.TTL <= 0 {
		return rpctypes.ErrLeaseNotFound
	}
	return rpctypes.Error(err)
}

// withdraw removes the key if it is ours; the lease stays.
func (l *lease) withdraw(ctx context.Context) error {
	if !l.stands {
		return nil
	}
	err := l.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(l.key), "=", l.id)).Then(clientv3.OpDelete(l.key)).Commit()
		return err
	})
	if err == nil {
		l.stands = false
	}
	return err
}

// revoke ends the lease, and with it the key if that still hangs on it.
func (l *lease) revoke(ctx context.Context) error {
	if l.id == clientv3.NoLease {
		return nil
	}
	id := l.id
	l.id, l.granted, l.stands = clientv3.NoLease, false, false
	err := l.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Revoke(ctx, id)
		return err
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// backendSlot is a backend's key.
type backendSlot struct{ *lease }

// Backend is the place of a backend that registers itself: services/<service>/<id> with a lease. The slot closes the
// store.
func (s *Store) Backend(service, id string, ttl time.Duration) announce.Slot[announce.Record] {
	return backendSlot{newLease(s, "services/"+service+"/"+id, ttl)}
}

// Put implements [announce.Slot].
func (b backendSlot) Put(ctx context.Context, r announce.Record) error {
	if r.Down != "" {
		if err := b.hold(ctx); err != nil {
			return err
		}
		return b.withdraw(ctx)
	}
	value, err := encodeBackend(r)
	if err != nil {
		return err
	}
	return b.write(ctx, value)
}

func (b backendSlot) Refresh(ctx context.Context) error { return b.refresh(ctx) }
func (b backendSlot) Remove(ctx context.Context) error  { return b.revoke(ctx) }
func (b backendSlot) Close() error                      { return b.store.Close() }

// encodeBackend is the JSON that [decodeBackend] reads.
func encodeBackend(r announce.Record) (string, error) {
	value := struct {
		URL    string            `json:"url"`
		Weight int               `json:"weight"`
		Zone   string            `json:"zone,omitempty"`
		State  string            `json:"state,omitempty"`
		Meta   map[string]string `json:"meta,omitempty"`
	}{r.URL, r.Weight, r.Zone, "", r.Meta}
	if r.Draining {
		value.State = "drain"
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// valueSlot is a key with a text.
type valueSlot struct{ *lease }

// Value is the place of a text under a key with a lease. The slot leaves the store open.
func (s *Store) Value(key string, ttl time.Duration) announce.Slot[[]byte] {
	return valueSlot{newLease(s, key, ttl)}
}

func (v valueSlot) Put(ctx context.Context, value []byte) error { return v.write(ctx, string(value)) }
func (v valueSlot) Refresh(ctx context.Context) error           { return v.refresh(ctx) }
func (v valueSlot) Remove(ctx context.Context) error            { return v.revoke(ctx) }
func (v valueSlot) Close() error                                { return nil }
