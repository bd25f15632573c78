package server

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/probe"
)

// healthKeys is where balancers tell what their probes say: health/<id>, one key for each with all that it says, under a
// lease of its own. What is written is in proportion to changes of verdicts, never to probes; a balancer that is killed
// takes its word with it when the lease ends.
const healthKeys = "health/"

// healthBoard is a [probe.Board] in etcd.
type healthBoard struct {
	store  *etcd.Store
	id     string
	log    *slog.Logger
	ttl    time.Duration
	keeper *announce.Keeper[[]byte]
	wake   chan struct{} // holds a token when there is something to hear

	mu      sync.Mutex
	entries map[string]probe.Entry // by replica
	written bool                   // our own entry stands in the store
	until   time.Time              // when our lease ends if it is not prolonged any more
	synced  bool                   // entries are what the store has
	left    int                    // verdicts that there was no room for
}

var _ probe.Board = (*healthBoard)(nil)

func newHealthBoard(store *etcd.Store, id string, ttl time.Duration, log *slog.Logger) *healthBoard {
	b := &healthBoard{store: store, id: id, ttl: ttl, log: log, wake: make(chan struct{}, 1), entries: map[string]probe.Entry{}}
	b.keeper = announce.NewKeeper[[]byte](leaseWatch{store.Value(healthKeys+id, ttl), b}, announce.Options{TTL: ttl, Told: b.told})
	return b
}

// Tell implements [probe.Board].
func (b *healthBoard) Tell(e probe.Entry) {
	text, left := e.Encode()
	b.mu.Lock()
	more := left > b.left
	b.left = left
	b.mu.Unlock()
	if more {
		b.log.Warn("not all verdicts of probes can be shared: every balancer probes the backends of the others itself", "left", left, "bytes", probe.MaxEntry)
	}
	b.keeper.Set(text)
}

// Run implements [probe.Board].
func (b *healthBoard) Run(ctx context.Context, heard func(map[string]probe.Entry)) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.keeper.Run(ctx) }) // what cannot be withdrawn ends with its lease
	wg.Go(func() {
		_ = b.store.Follow(ctx, healthKeys, etcd.Mirror{
			Changed: b.changed,
			Synced:  func() { b.setSynced(true) },
			Failed: func(err error) {
				if b.setSynced(false) {
					b.log.Warn("verdicts of other balancers are not heard: this one probes all backends itself", "err", err)
				}
			},
		})
	})
	wg.Go(func() { b.deliver(ctx, heard) })
	wg.Wait()
}

// leaseWatch is the place of our own entry; it notes how long the lease lasts at least. A request that hangs can take
// longer than that.
type leaseWatch struct {
	announce.Slot[[]byte]
	b *healthBoard
}

func (w leaseWatch) Put(ctx context.Context, value []byte) error {
	began := time.Now()
	err := w.Slot.Put(ctx, value)
	w.b.prolonged(began, err)
	return err
}

func (w leaseWatch) Refresh(ctx context.Context) error {
	began := time.Now()
	err := w.Slot.Refresh(ctx)
	w.b.prolonged(began, err)
	return err
}

// prolonged notes how a request went that prolongs the lease.
func (b *healthBoard) prolonged(began time.Time, err error) {
	if err != nil {
		return
	}
	b.mu.Lock()
	lapsed := !b.until.After(time.Now())
	b.until = began.Add(b.ttl)
	b.mu.Unlock()
	if lapsed {
		b.awake()
	}
}

// deliver hands over what is known whenever it has changed, the changes of a moment together, and nil when the lease has
// not been prolonged for its time to live.
func (b *healthBoard) deliver(ctx context.Context, heard func(map[string]probe.Entry)) {
	pause, lapse := time.NewTimer(0), time.NewTimer(0)
	defer pause.Stop()
	defer lapse.Stop()
	knew := false
	for {
		lapsed := false
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-lapse.C:
			lapsed = true
		}
		told, left := b.known()
		if told != nil {
			lapse.Reset(left)
		}
		if lapsed && (told != nil) == knew {
			continue // it has been prolonged meanwhile, or nothing was known anyway
		}
		knew = told != nil
		heard(told)
		pause.Reset(shareEvery)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// known is what all have told, nil if that is not known, and how long it may be relied on without further news. It is known only while our own entry stands: a balancer whose
// lease cannot be kept is in nobody's list, and cannot tell how old what it hears is.
func (b *healthBoard) known() (told map[string]probe.Entry, left time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left = time.Until(b.until); !b.written || !b.synced || left <= 0 {
		return nil, 0
	}
	return maps.Clone(b.entries), left
}

func (b *healthBoard) awake() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// told is told by the keeper how our own entry stands.
func (b *healthBoard) told(err error) {
	b.mu.Lock()
	b.written = err == nil
	b.mu.Unlock()
	b.awake()
	if err != nil {
		b.log.Warn("this balancer's verdicts are not shared: it probes all backends itself", "key", healthKeys+b.id, "err", err)
	} else {
		b.log.Info("this balancer shares its probes", "store", b.store.String(), "id", b.id)
	}
}

// setSynced reports whether that changed anything.
func (b *healthBoard) setSynced(synced bool) bool {
	b.mu.Lock()
	changed := b.synced != synced
	b.synced = synced
	b.mu.Unlock()
	if changed {
		b.awake()
	}
	return changed
}

// changed takes what was written. An entry that cannot be read is as good as none.
func (b *healthBoard) changed(all map[string]etcd.KeyValue, changed []string, _ int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.synced = true
	for _, key := range changed {
		id := strings.TrimPrefix(key, healthKeys)
		kv, there := all[key]
		if !there {
			delete(b.entries, id)
			continue
		}
		e, err := probe.DecodeEntry(kv.Value)
		if err != nil {
			b.log.Warn("the verdicts of another balancer are passed over", "key", key, "err", err)
			delete(b.entries, id)
			continue
		}
		b.entries[id] = e
	}
	b.awake()
}
