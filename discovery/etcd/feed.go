package etcd

import (
	"context"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// Feed is told of keys below a prefix as they change, without keeping them. Its functions are called from one goroutine
// at a time, and none is nil.
type Feed struct {
	// Listed takes all keys that there are, at first and after history was lost.
	Listed func([]KeyValue)
	// Put takes a key that was written; created says that it was not there before.
	Put     func(kv KeyValue, created bool)
	Removed func(key string)
	// Failed says that what was told is out of step and why, until Synced is called.
	Failed func(error)
	Synced func()
}

// Feed tells of what stands below a part of the store's prefix, as [Store.Follow] does.
func (s *Store) Feed(ctx context.Context, under string, f Feed) error {
	o := s.opts
	o.Prefix += under
	src, err := New(o)
	if err != nil {
		return err
	}
	return src.follow(ctx, mirrorSink{m: Mirror{Failed: f.Failed, Synced: f.Synced}}, &feed{f: f, base: s.opts.Prefix})
}

// feed is the [content] of a [Feed].
type feed struct {
	f    Feed
	base string
}

func (f *feed) keyValue(kv keyValue) KeyValue {
	return KeyValue{strings.TrimPrefix(kv.key, f.base), kv.value, kv.modRev}
}

func (f *feed) put(kv keyValue)   { f.f.Put(f.keyValue(kv), kv.createRev == kv.modRev) }
func (f *feed) remove(key string) { f.f.Removed(strings.TrimPrefix(key, f.base)) }

func (f *feed) replace(kvs []keyValue) {
	all := make([]KeyValue, len(kvs))
	for i, kv := range kvs {
		all[i] = f.keyValue(kv)
	}
	f.f.Listed(all)
}

func (f *feed) announce(discovery.Sink, time.Time) {}
func (f *feed) flush(discovery.Sink, time.Time)    {}
