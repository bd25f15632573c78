package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/internal/backoff"
	"github.com/vietddude/load-balancer/routing"
)

const (
	overrideKeys = "overrides/"
	// steerWithin bounds how long an operator waits for a change to be kept; it is in force before.
	steerWithin = 2 * time.Second
	// flushWithin bounds the writing of what is left at the end.
	flushWithin = time.Second
)

// steering keeps an operator's changes in etcd, under overrides/<service>/<id>, and follows what other replicas keep
// there. A change is in force here at once; what cannot be written is written when the store is back. Of two changes of
// one backend the one that is written last stands, everywhere.
type steering struct {
	store   *etcd.Store
	catalog *routing.Catalog
	log     *slog.Logger
	wake    chan struct{} // holds a token while there is something to write
	turn    chan struct{} // holds a token while something is written: two writes of one backend must not overtake

	// mu guards what follows, and is held while a change is made, here or by others, so that none is lost.
	mu      sync.Mutex
	pending map[steered]uint64 // changed here and not written yet; the number of the change
	changes uint64
	written map[steered]int64 // revisions of what was written here; what was written before is passed over
	refused map[string]string // entries that cannot be read, and why
	listed  bool              // the store has been heard of
}

// steered is a backend.
type steered struct{ service, id string }

func (b steered) key() string { return overrideKeys + b.service + "/" + b.id }

func newSteering(store *etcd.Store, catalog *routing.Catalog, log *slog.Logger) *steering {
	return &steering{
		store: store, catalog: catalog, log: log, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		pending: map[steered]uint64{}, written: map[steered]int64{}, refused: map[string]string{},
	}
}

// Place implements admin.Steering.
func (s *steering) Place() string { return s.store.String() }

// Pending implements admin.Steering.
func (s *steering) Pending(service, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.pending[steered{service, id}]
	return is
}

// unwritten is how many backends' changes are pending.
func (s *steering) unwritten() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// Change implements admin.Steering.
func (s *steering) Change(ctx context.Context, service, id string, change func() error) (note string, err error) {
	b := steered{service, id}
	s.mu.Lock()
	if err := change(); err != nil {
		s.mu.Unlock()
		return "", err
	}
	s.changes++
	s.pending[b] = s.changes
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), steerWithin)
	defer cancel()
	if err := s.write(ctx, b); err != nil {
		s.log.Warn("an operator's change is in force here, and written when the store is back", "service", service, "backend", id, "err", err)
		select {
		case s.wake <- struct{}{}:
		default:
		}
		return fmt.Sprintf("in force in this balancer alone: %v; it is written when that is mended, and goes before what "+
			"others wrote meanwhile", err), nil
	}
	return "", nil
}

// write writes what is steered of a backend now.
func (s *steering) write(ctx context.Context, b steered) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%s is not answering: %w", s.store, ctx.Err())
	}
	s.mu.Lock()
	number, is := s.pending[b]
	o := s.catalog.Override(b.service, b.id)
	s.mu.Unlock()
	if !is {
		return nil
	}
	var rev int64
	var err error
	if o.IsZero() {
		rev, err = s.store.Delete(ctx, b.key())
	} else {
		rev, err = s.store.Put(ctx, b.key(), encodeOverride(o))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[b] = max(s.written[b], rev)
	if s.pending[b] == number {
		delete(s.pending, b)
	}
	return nil
}

// run follows the store, and writes what could not be written, until the context ends.
func (s *steering) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.store.Follow(ctx, overrideKeys, etcd.Mirror{
			Changed: s.heard,
			Anew:    s.anew,
			Failed:  func(err error) { s.log.Warn("overrides of other replicas are not followed", "err", err) },
		})
	})
	wg.Go(func() { s.flush(ctx) })
	wg.Wait()
	s.flushLast(context.WithoutCancel(ctx))
}

// flushLast gives what is still to be written a last chance, and tells what is lost with the process.
func (s *steering) flushLast(ctx context.Context) {
	if s.unwritten() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushWithin)
	defer cancel()
	s.flushOnce(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.pending {
		s.log.Error("an operator's change was never written, and ends with this balancer; make it anew",
			"service", b.service, "backend", b.id, "store", s.store.String(), "override", string(encodeOverride(s.catalog.Override(b.service, b.id))))
	}
}

// flush writes what is pending, with waits while that fails.
func (s *steering) flush(ctx context.Context) {
	retry := backoff.Backoff{Max: 5 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		retry.Reset()
		for s.flushOnce(ctx) > 0 {
			if !retry.Wait(ctx) {
				return
			}
		}
	}
}

// flushOnce returns how many changes are still pending.
func (s *steering) flushOnce(ctx context.Context) int {
	s.mu.Lock()
	var all []steered
	for b := range s.pending {
		all = append(all, b)
	}
	s.mu.Unlock()
	left := 0
	for _, b := range all {
		if err := s.write(ctx, b); err != nil {
			left++
			continue
		}
		s.log.Info("an operator's change is written", "service", b.service, "backend", b.id)
	}
	return left
}

// heard takes what changed in the store, up to a revision. What was written here since is still to be heard of.
func (s *steering) heard(all map[string]etcd.KeyValue, changed []string, rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.listed {
		s.listed = true
		s.forgetLocked(all)
	}
	for _, key := range changed {
		kv, there := all[key]
		service, id, _ := strings.Cut(strings.TrimPrefix(key, overrideKeys), "/")
		b := steered{service, id}
		if _, ours := s.pending[b]; ours || rev < s.written[b] {
			continue
		}
		var o routing.Override
		var err error
		if there {
			o, err = decodeOverride(id, kv.Value)
		}
		if err == nil {
			err = s.catalog.SetOverride(service, id, o)
		}
		switch text := fmt.Sprint(err); {
		case err == nil || !there:
			delete(s.refused, key)
		case s.refused[key] != text:
			s.refused[key] = text
			s.log.Warn("an override cannot be taken; what was in force stays", "key", s.store.Options().Prefix+key, "err", err)
		}
	}
}

// anew forgets revisions that say nothing any more.
func (s *steering) anew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.written)
}

// forgetLocked takes back what the snapshot held of overrides that the store has no more.
func (s *steering) forgetLocked(all map[string]etcd.KeyValue) {
	for _, o := range s.catalog.Overrides() {
		b := steered{o.Service, o.ID}
		_, pending := s.pending[b]
		_, written := s.written[b]
		if _, there := all[b.key()]; !there && !pending && !written {
			_ = s.catalog.SetOverride(o.Service, o.ID, routing.Override{}) // the names are those of an override
		}
	}
}

// overrideText is an override as it is written.
type overrideText struct {
	Weight   *int       `json:"weight,omitempty"`
	Draining bool       `json:"draining,omitempty"`
	Disabled bool       `json:"disabled,omitempty"`
	Removed  bool       `json:"removed,omitempty"`
	Added    *addedText `json:"added,omitempty"`
}

type addedText struct {
	URL    string `json:"url"`
	Weight int    `json:"weight"`
	Zone   string `json:"zone,omitempty"`
}

func encodeOverride(o routing.Override) []byte {
	t := overrideText{Weight: o.Weight, Draining: o.Draining, Disabled: o.Disabled, Removed: o.Removed}
	if b := o.Added; b != nil {
		t.Added = &addedText{b.URL, b.Weight, b.Zone}
	}
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // numbers and strings
	}
	return text
}

func decodeOverride(id string, text []byte) (o routing.Override, err error) {
	var t overrideText
	if err := json.Unmarshal(text, &t); err != nil {
		return o, fmt.Errorf("the value cannot be read: %w", err)
	}
	o = routing.Override{Weight: t.Weight, Draining: t.Draining, Disabled: t.Disabled, Removed: t.Removed}
	if t.Added != nil {
		o.Added = &discovery.Backend{ID: id, URL: t.Added.URL, Weight: t.Added.Weight, Zone: t.Added.Zone}
	}
	return o, nil
}
