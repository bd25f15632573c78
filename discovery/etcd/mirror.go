package etcd

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// Mirror is told what stands below a prefix. It is called from one goroutine at a time.
type Mirror struct {
	// Changed takes all keys that there are, and the names of those that were written or removed since the last call;
	// at first, and after whatever history was lost, these are all. The revision is the store's at which they stand so: a
	// key that was written later, and is missing, was not removed. It does not change the map, which is valid until it
	// returns.
	Changed func(all map[string]KeyValue, changed []string, rev int64)
	// Anew says, before Changed, that the store is another one or has lost what it had, so that its revisions do not compare
	// with those before. Nil tells nobody.
	Anew func()
	// Failed says that the mirror is out of step and why, until Changed or Synced is called; nil tells nobody.
	Failed func(error)
	// Synced says that the mirror is in step: after Changed, and as a sign of life. Nil tells nobody.
	Synced func()
}

// Follow tells what stands below a part of the store's prefix, which ends with a slash, until the context ends. Keys are
// named without the store's prefix. It has the source's care for watches that fall silent and stores that lose history.
func (s *Store) Follow(ctx context.Context, under string, m Mirror) error {
	o := s.opts
	o.Prefix += under
	src, err := New(o)
	if err != nil {
		return err
	}
	return src.follow(ctx, mirrorSink{m: m}, &mirror{m: m, base: s.opts.Prefix, keys: map[string]KeyValue{}, changed: map[string]bool{}})
}

// mirror is the [content] of a [Mirror].
type mirror struct {
	m       Mirror
	base    string
	keys    map[string]KeyValue
	changed map[string]bool
	rev     int64 // the store's, of what is there now
}

func (m *mirror) revise(rev int64) { m.rev = rev }

func (m *mirror) put(kv keyValue) {
	key := strings.TrimPrefix(kv.key, m.base)
	m.keys[key] = KeyValue{key, kv.value, kv.modRev}
	m.changed[key] = true
}

func (m *mirror) remove(key string) {
	key = strings.TrimPrefix(key, m.base)
	delete(m.keys, key)
	m.changed[key] = true
}

func (m *mirror) replace(kvs []keyValue) {
	for key := range m.keys {
		m.changed[key] = true
	}
	clear(m.keys)
	for _, kv := range kvs {
		m.put(kv)
	}
}

func (m *mirror) announce(discovery.Sink, time.Time) { m.tell() }

func (m *mirror) flush(discovery.Sink, time.Time) {
	if len(m.changed) > 0 {
		m.tell()
	}
}

func (m *mirror) tell() {
	changed := slices.Sorted(maps.Keys(m.changed))
	clear(m.changed)
	m.m.Changed(m.keys, changed, m.rev)
}

// mirrorSink hands on what a run says beside the keys.
type mirrorSink struct {
	discovery.Sink // nil: nothing else is called
	m              Mirror
}

func (s mirrorSink) Resync(reason string) {
	if reason == reasonReset && s.m.Anew != nil {
		s.m.Anew()
	}
}

func (s mirrorSink) Synced() {
	if s.m.Synced != nil {
		s.m.Synced()
	}
}

func (s mirrorSink) Failed(err error) {
	if s.m.Failed != nil {
		s.m.Failed(err)
	}
}
