package etcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery/announce"
)

// notesSlot is any number of keys under one lease.
type notesSlot struct {
	*lease
	written map[string]string // by key, without the prefix
}

// Notes is the place of any number of texts by key, all under one lease. What is put replaces all that was; keys are
// written and removed only where they differ. The slot closes the store.
func (s *Store) Notes(ttl time.Duration) announce.Slot[map[string]string] {
	return &notesSlot{lease: newLease(s, "", ttl), written: map[string]string{}}
}

// Put implements [announce.Slot].
func (n *notesSlot) Put(ctx context.Context, notes map[string]string) error {
	if len(notes) == 0 && len(n.written) == 0 {
		return nil
	}
	if err := n.hold(ctx); err != nil {
		return err
	}
	var changed []string
	for _, key := range slices.Sorted(maps.Keys(n.written)) {
		if _, stays := notes[key]; !stays {
			changed = append(changed, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(notes)) {
		if text, is := n.written[key]; !is || text != notes[key] {
			changed = append(changed, key)
		}
	}
	for keys := range slices.Chunk(changed, maxSwaps) {
		if err := n.write(ctx, keys, notes); err != nil {
			return n.lose(err)
		}
	}
	return nil
}

// write writes keys in one transaction, or removes those that have no note, unless somebody else has written them since.
func (n *notesSlot) write(ctx context.Context, keys []string, notes map[string]string) error {
	ops := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		full := n.store.opts.Prefix + key
		if text, is := notes[key]; is {
			ops[i] = clientv3.OpPut(full, text, clientv3.WithLease(n.id))
		} else {
			ours := clientv3.Compare(clientv3.LeaseValue(full), "=", n.id)
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(full)}, nil)
		}
	}
	err := n.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Txn(ctx).Then(ops...).Commit()
		return err
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if text, is := notes[key]; is {
			n.written[key] = text
		} else {
			delete(n.written, key)
		}
	}
	return nil
}

// lose forgets what went with a lease that the store does not know.
func (n *notesSlot) lose(err error) error {
	if err = n.forget(err); errors.Is(err, announce.ErrLost) {
		clear(n.written)
	}
	return err
}

// Refresh implements [announce.Slot].
func (n *notesSlot) Refresh(ctx context.Context) error {
	if !n.granted {
		if len(n.written) == 0 {
			return nil // nothing was ever to be written
		}
		return announce.ErrLost
	}
	err := n.store.do(ctx, rightWrite, func(ctx context.Context, c *clientv3.Client) error {
		return keepAlive(ctx, c, n.id)
	})
	return n.lose(err)
}

// Remove implements [announce.Slot].
func (n *notesSlot) Remove(ctx context.Context) error { return n.revoke(ctx) }

// Close implements [announce.Slot].
func (n *notesSlot) Close() error { return n.store.Close() }
