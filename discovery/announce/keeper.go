package announce

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/internal/backoff"
)

// Slot is one place in a store. Each call makes at most a few requests, each of them bounded, so that none blocks for
// long. A Slot is used from one goroutine at a time.
type Slot[T any] interface {
	// Put writes a value in place of what stands there, with the slot's time to live.
	Put(ctx context.Context, value T) error
	// Refresh prolongs what Put wrote. ErrLost says that it is not there any more and has to be put again.
	Refresh(ctx context.Context) error
	// Remove takes back what Put wrote, but not what somebody else has written there since.
	Remove(ctx context.Context) error
	// Close ends the connections.
	Close() error
}

// Kinds of errors of a [Slot].
var (
	// ErrLost says that what was put is gone: its time ran out, or the store came back without it.
	ErrLost = errors.New("the store has lost the announcement")
	// ErrTaken says that somebody else has written there since; it is theirs until they leave.
	ErrTaken = errors.New("somebody else announces under the same id")
)

// Options configure a [Keeper].
type Options struct {
	// TTL is the slot's time to live, [DefaultTTL] if zero.
	TTL time.Duration
	// Told is called when the announcement comes to stand in the store (nil) and when it cannot be written or refreshed
	// (why), once for each change, from the goroutine of Run. Nil tells nobody.
	Told func(error)
}

// Keeper keeps a value in a [Slot]. All methods but Run may be called concurrently.
type Keeper[T any] struct {
	slot Slot[T]
	o    Options
	wake chan struct{} // holds a token while there is something new

	mu      sync.Mutex
	value   T
	version uint64        // of value; 0 means that there is none yet
	written uint64        // the version that the store has; guarded by mu
	changed chan struct{} // closed and made anew when written changes
}

// NewKeeper returns a keeper that writes nothing before the first [Keeper.Set].
func NewKeeper[T any](slot Slot[T], o Options) *Keeper[T] {
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Told == nil {
		o.Told = func(error) {}
	}
	return &Keeper[T]{slot: slot, o: o, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Set has the value written, in place of what was before.
func (k *Keeper[T]) Set(value T) {
	k.mu.Lock()
	k.value = value
	k.version++
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Written waits until what was last set is in the store, and reports whether it is; false if the context ends first.
func (k *Keeper[T]) Written(ctx context.Context) bool {
	k.mu.Lock()
	want := k.version
	for k.written < want {
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
		k.mu.Lock()
	}
	k.mu.Unlock()
	return true
}

// Run writes and refreshes until the context ends, then takes the announcement back, within two seconds, and
// closes the slot. It is called once. Its error says why nothing could be taken back; the store will forget by itself.
func (k *Keeper[T]) Run(ctx context.Context) error {
	told, first := error(nil), true
	retry := backoff.Backoff{Max: max(k.o.TTL/3, 200*time.Millisecond)}
	lost := false
	for ctx.Err() == nil {
		err := k.step(ctx, lost)
		if ctx.Err() != nil {
			break
		}
		if lost = errors.Is(err, ErrLost); lost {
			if !retry.Wait(ctx) { // a store that loses at once must not make a busy loop
				break
			}
			continue
		}
		if k.some() && (first || (err == nil) != (told == nil) || err != nil && told.Error() != err.Error()) {
			told, first = err, false
			k.o.Told(err)
		}
		wait := k.o.TTL / 3
		if err != nil && !errors.Is(err, ErrTaken) {
			wait = retry.Next()
		} else {
			retry.Reset()
		}
		k.sleep(ctx, wait)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(k.o.TTL, 2*time.Second))
	defer cancel()
	return errors.Join(k.slot.Remove(ctx), k.slot.Close())
}

// some reports whether there is anything to announce.
func (k *Keeper[T]) some() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version > 0
}

// step writes what is new, or lost, or prolongs what stands.
func (k *Keeper[T]) step(ctx context.Context, lost bool) error {
	k.mu.Lock()
	value, version, written := k.value, k.version, k.written
	k.mu.Unlock()
	switch {
	case version == 0:
		return nil
	case version == written && !lost:
		return k.slot.Refresh(ctx)
	}
	if err := k.slot.Put(ctx, value); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.written = version
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

// sleep waits for a time, for something new, or for the end of the context.
func (k *Keeper[T]) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-t.C:
	}
}
