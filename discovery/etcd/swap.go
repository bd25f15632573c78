package etcd

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Swap is a change of one key.
type Swap struct {
	Key string
	// Value is what is to stand there; nil removes the key.
	Value []byte
	// Rev is the revision of what stands there, 0 for nothing; if something else does, nothing is changed.
	Rev int64
	// Lease is what the key hangs on; 0 for none.
	Lease int64
}

// Swapped is what became of a swap: what stands there now, with revision 0 if nothing does, and whether that is what was asked for.
type Swapped struct {
	KeyValue
	Done bool
}

// maxSwaps is how many swaps fit into a transaction: the store takes 128 operations in all branches from the root to a leaf.
const maxSwaps = 127

// SwapAll makes swaps, each by itself, of which no two are of one key, and returns what became of them in the same
// order. With an error some of them may have been made.
func (s *Store) SwapAll(ctx context.Context, swaps []Swap) ([]Swapped, error) {
	out := make([]Swapped, len(swaps))
	var wg sync.WaitGroup
	errs := make([]error, (len(swaps)+maxSwaps-1)/maxSwaps)
	for i := range errs {
		from, to := i*maxSwaps, min((i+1)*maxSwaps, len(swaps))
		wg.Go(func() { errs[i] = s.swap(ctx, swaps[from:to], out[from:to]) })
	}
	wg.Wait()
	for _, err := range errs { // mostly the same in all
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// swap makes swaps in one transaction.
func (s *Store) swap(ctx context.Context, swaps []Swap, out []Swapped) error {
	ops := make([]clientv3.Op, len(swaps))
	for i, w := range swaps {
		key := s.opts.Prefix + w.Key
		change := clientv3.OpDelete(key)
		if w.Value != nil {
			change = clientv3.OpPut(key, string(w.Value), clientv3.WithLease(clientv3.LeaseID(w.Lease)))
		}
		ops[i] = clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", w.Rev)},
			[]clientv3.Op{change}, []clientv3.Op{clientv3.OpGet(key)})
	}
	return s.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		for i, one := range r.Responses {
			t, w := one.GetResponseTxn(), &swaps[i]
			out[i] = Swapped{KeyValue: KeyValue{Key: w.Key}, Done: t.Succeeded}
			switch {
			case t.Succeeded && w.Value != nil:
				out[i].Value, out[i].Rev = w.Value, r.Header.Revision
			case !t.Succeeded:
				if kvs := t.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
					out[i].Value, out[i].Rev = kvs[0].Value, kvs[0].ModRevision
				}
			}
		}
		return nil
	})
}

const (
	// maxPerLease bounds the keys of one lease, which the store removes all at once.
	maxPerLease = 2000
	// Keys that end within a sixteenth of their time to live, but at least a second and at most ten minutes, share a lease.
	leaseSlices           = 16
	leastSlice, mostSlice = time.Second, 10 * time.Minute
)

// Leases grants leases that many keys share, and that nobody prolongs: each ends soon after the last of its keys is to.
// It is for one goroutine.
type Leases struct {
	store *Store
	// byEnd are the leases with room, by the end of the time that they are for.
	byEnd map[int64]*sharedLease
}

type sharedLease struct {
	id   int64
	keys int
}

// Leases returns the store's shared leases, none at first. What was granted stays when the store is closed.
func (s *Store) Leases() *Leases { return &Leases{store: s, byEnd: map[int64]*sharedLease{}} }

// For returns the lease of one more key, which is to last until then.
func (l *Leases) For(ctx context.Context, until, now time.Time) (int64, error) {
	ttl := until.Sub(now)
	// From here on both by the wall clock as it stands now, which may have been set since until was made.
	now = now.Round(0)
	until = now.Add(ttl)
	slice := min(max((ttl/leaseSlices).Truncate(time.Second), leastSlice), mostSlice)
	end := until.Truncate(slice).Add(slice)
	if g := l.byEnd[end.Unix()]; g != nil && g.keys < maxPerLease {
		g.keys++
		return g.id, nil
	}
	for e := range l.byEnd {
		if e < now.Unix() {
			delete(l.byEnd, e)
		}
	}
	seconds := int64(math.Ceil(end.Sub(now).Seconds()))
	var id int64
	err := l.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Grant(ctx, max(seconds, 1))
		if err == nil {
			id = int64(r.ID)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	l.byEnd[end.Unix()] = &sharedLease{id, 1}
	return id, nil
}

// Lost reports whether an error says that a lease is there no more, as in a store that came back empty, and forgets all then.
func (l *Leases) Lost(err error) bool {
	if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return false
	}
	clear(l.byEnd)
	return true
}
