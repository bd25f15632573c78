package consul

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/internal/backoff"
)

// minSession is the least time to live of a session that Consul takes.
const minSession = 10 * time.Second

// valueSlot is a key that a session holds; it goes with the session.
type valueSlot struct {
	*Registry
	key     string
	ttl     time.Duration
	session string // empty for none
}

// Value is the place of a text in the key/value store, held by a session of at least 10 s, which Consul may let live
// for twice as long as asked. The slot leaves the registry open.
func (r *Registry) Value(key string, ttl time.Duration) announce.Slot[[]byte] {
	return &valueSlot{Registry: r, key: key, ttl: max(ttl, minSession)}
}

func (v *valueSlot) write(ctx context.Context) *api.WriteOptions {
	w := &api.WriteOptions{Namespace: v.client.o.Namespace, Partition: v.client.o.Partition, Datacenter: v.client.o.Datacenter}
	return w.WithContext(ctx)
}

// Put implements [announce.Slot].
func (v *valueSlot) Put(ctx context.Context, value []byte) error {
	if v.session == "" {
		err := v.do(ctx, "a session", func(ctx context.Context) (err error) {
			v.session, _, err = v.client.api.Session().CreateNoChecks(&api.SessionEntry{
				Name: "loadbalancer", TTL: v.ttl.String(), Behavior: api.SessionBehaviorDelete,
				LockDelay: time.Millisecond, // a process that comes back does not wait for its former session
			}, v.write(ctx))
			return err
		})
		if err != nil {
			return err
		}
	}
	var held bool
	err := v.do(ctx, "the key "+v.key, func(ctx context.Context) (err error) {
		held, _, err = v.client.api.KV().Acquire(&api.KVPair{Key: v.key, Value: value, Session: v.session}, v.write(ctx))
		return err
	})
	var status api.StatusError
	switch {
	case errors.As(err, &status) && strings.Contains(strings.ToLower(status.Body), "invalid session"):
		v.session = ""
		return errors.Join(announce.ErrLost, err)
	case err != nil:
		return err
	case !held:
		return announce.ErrTaken
	}
	return nil
}

// Refresh implements [announce.Slot].
func (v *valueSlot) Refresh(ctx context.Context) error {
	if v.session == "" {
		return announce.ErrLost
	}
	var entry *api.SessionEntry
	err := v.do(ctx, "the session", func(ctx context.Context) (err error) {
		entry, _, err = v.client.api.Session().Renew(v.session, v.write(ctx))
		return err
	})
	if err != nil {
		return err
	}
	if entry == nil {
		v.session = ""
		return announce.ErrLost
	}
	var pair *api.KVPair
	err = v.do(ctx, "the key "+v.key, func(ctx context.Context) (err error) {
		pair, _, err = v.client.api.KV().Get(v.key, v.query(ctx))
		return err
	})
	if err == nil && (pair == nil || pair.Session != v.session) {
		return announce.ErrLost // Put finds out whether somebody else holds it
	}
	return err
}

// Remove implements [announce.Slot].
func (v *valueSlot) Remove(ctx context.Context) error {
	if v.session == "" {
		return nil
	}
	return v.do(ctx, "ending the session", func(ctx context.Context) error {
		_, err := v.client.api.Session().Destroy(v.session, v.write(ctx))
		v.session = ""
		return err
	})
}

func (v *valueSlot) Close() error { return nil }

// Values reads all keys that begin with a text.
func (r *Registry) Values(ctx context.Context, under string) (values map[string][]byte, err error) {
	err = r.do(ctx, "the keys under "+under, func(ctx context.Context) error {
		values, _, err = r.values(ctx, under, 0)
		return err
	})
	return values, err
}

func (r *Registry) values(ctx context.Context, under string, index uint64) (map[string][]byte, uint64, error) {
	q := r.query(ctx)
	q.Datacenter, q.WaitIndex, q.WaitTime = r.client.o.Datacenter, index, r.client.o.Wait
	pairs, m, err := r.client.api.KV().List(under, q)
	if err != nil {
		return nil, 0, err
	}
	values := make(map[string][]byte, len(pairs))
	for _, p := range pairs {
		values[p.Key] = p.Value
	}
	return values, m.LastIndex, nil
}

// Follow tells all keys that begin with a text, at first and whenever one changed, until the context ends. An outage is
// told once; the next call of changed ends it.
func (r *Registry) Follow(ctx context.Context, under string, changed func(map[string][]byte), failed func(error)) {
	pause := backoff.Backoff{Max: 5 * time.Second}
	breath := backoff.Backoff{Min: 100 * time.Millisecond, Max: 100 * time.Millisecond}
	index, down := uint64(0), false
	for {
		var values map[string][]byte
		var next uint64
		bounded, cancel := context.WithTimeout(ctx, r.client.o.Liveness)
		values, next, err := r.values(bounded, under, index)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !down {
				failed(r.client.explain("the keys under "+under, err))
			}
			if down, index = true, 0; !pause.Wait(ctx) {
				return
			}
			continue
		case next != index || down:
			changed(values)
		}
		pause.Reset()
		if down = false; next < index {
			next = 0 // another history
		}
		if index = next; !breath.Wait(ctx) {
			return
		}
	}
}
