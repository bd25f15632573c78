package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/internal/backoff"
)

const (
	// keyringFolder and keyringKey are where the keys of sessions lie.
	keyringFolder = "sessions/key/"
	keyringKey    = keyringFolder + "current"
	// maxKeys bounds the keys that are kept: that which seals, the one before, and one more on its way.
	maxKeys = 3
)

// keyringText is the keys as they are written; the first seals, all open. They are never logged.
type keyringText struct {
	Keys [][]byte `json:"keys"` // base64
}

func decodeKeyring(text []byte) ([][]byte, error) {
	var k keyringText
	// The error is not repeated: it might hold a part of a key.
	if err := json.Unmarshal(text, &k); err != nil || len(k.Keys) == 0 {
		return nil, errors.New("the value is no list of keys")
	}
	for _, key := range k.Keys {
		if len(key) < affinity.MinSecret {
			return nil, fmt.Errorf("a key has %d bytes, at least %d are needed", len(key), affinity.MinSecret)
		}
	}
	return k.Keys, nil
}

func encodeKeyring(keys [][]byte) []byte {
	text, err := json.Marshal(keyringText{keys})
	if err != nil {
		panic(err) // bytes
	}
	return text
}

func newSessionKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
}

// keyring shares the keys of sessions through etcd: the first replica writes one, all take what stands there. Until the
// store is heard, sessions are sealed under a key of this process, which goes on opening them.
type keyring struct {
	store    *etcd.Store
	sessions *affinity.Manager
	own      []byte
	log      *slog.Logger
	absent   chan struct{} // holds a token while the store may lack the keys

	mu         sync.Mutex
	configured bool // the configuration has keys, so that the shared ones are not taken
	heard      bool // the store has been heard of
	shared     [][]byte
	said       string // what was last wrong with the shared ones
}

func newKeyring(store *etcd.Store, sessions *affinity.Manager, log *slog.Logger) *keyring {
	return &keyring{store: store, sessions: sessions, own: newSessionKey(), log: log, absent: make(chan struct{}, 1)}
}

// configure has the configured secrets used from now on, or the shared ones if there are none.
func (k *keyring) configure(secrets [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.configured = len(secrets) > 0; k.configured {
		return k.sessions.SetSecrets(secrets...)
	}
	if k.heard && len(k.shared) == 0 { // while there were configured ones nobody has written any
		k.miss()
	}
	return k.sessions.SetSecrets(k.ring()...)
}

// ring is the shared keys and our own.
func (k *keyring) ring() [][]byte { return append(append([][]byte(nil), k.shared...), k.own) }

// run takes the shared keys, and makes them if there are none, until the context ends.
func (k *keyring) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		retry := backoff.Backoff{Max: 5 * time.Second}
		for {
			select {
			case <-ctx.Done():
				return
			case <-k.absent:
			}
			for k.create(ctx) != nil {
				if !retry.Wait(ctx) {
					return
				}
			}
			retry.Reset()
		}
	})
	wg.Go(func() {
		_ = k.store.Follow(ctx, keyringFolder, etcd.Mirror{
			Changed: func(all map[string]etcd.KeyValue, _ []string, _ int64) {
				k.mu.Lock()
				k.heard = true
				k.mu.Unlock()
				if kv, ok := all[keyringKey]; ok {
					k.take(kv.Value)
				} else {
					k.miss()
				}
			},
			Failed: func(err error) {
				k.log.Warn("the key of sessions is not shared for now: others do not know the sessions that begin here", "err", err)
			},
		})
	})
	wg.Wait()
}

// miss has the keys written.
func (k *keyring) miss() {
	select {
	case k.absent <- struct{}{}:
	default:
	}
}

// create writes the first key, or what the store has lost, unless somebody else has, or the configuration has keys of its own.
func (k *keyring) create(ctx context.Context) error {
	k.mu.Lock()
	configured, keys := k.configured, k.shared
	k.mu.Unlock()
	if configured {
		return nil
	}
	if len(keys) == 0 { // else the store has lost what it had
		keys = [][]byte{newSessionKey()}
	}
	now, _, err := k.store.Replace(ctx, keyringKey, 0, encodeKeyring(keys))
	if err != nil {
		k.complain(fmt.Sprintf("the key of sessions cannot be shared, so that others do not know the sessions that begin here: %v", err))
		return err
	}
	k.take(now.Value)
	return nil
}

// take uses the keys that stand in the store.
func (k *keyring) take(text []byte) {
	keys, err := decodeKeyring(text)
	if err != nil {
		k.complain(fmt.Sprintf("the shared key of sessions under %s cannot be read (%v); the one in force stays", keyringKey, err))
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.shared, k.said = keys, ""
	if k.configured {
		return
	}
	if err := k.sessions.SetSecrets(k.ring()...); err != nil {
		k.log.Error("the shared key of sessions is not used", "err", err)
	}
}

// complain logs what is new.
func (k *keyring) complain(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.said != text {
		k.said = text
		k.log.Warn(text)
	}
}

// RotateSessionKey makes a new shared key for sessions in the etcd of a URL. It is first added to those that open, and
// seals only when the given time has passed, in which all replicas have heard of it. The one that sealed until then
// goes on opening; that before it does not.
func RotateSessionKey(ctx context.Context, url string, settle time.Duration) error {
	store, err := openEtcd(url)
	if err != nil {
		return err
	}
	defer store.Close()
	next := newSessionKey()
	err = changeKeyring(ctx, store, func(keys [][]byte) [][]byte {
		keys = append(keys[:min(len(keys), maxKeys-1)], next)
		return keys
	})
	if err != nil {
		return err
	}
	t := time.NewTimer(settle)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("the new key opens sessions, but does not seal them yet; rotate again: %w", ctx.Err())
	case <-t.C:
	}
	err = changeKeyring(ctx, store, func(keys [][]byte) [][]byte {
		out := [][]byte{next}
		for _, key := range keys {
			if string(key) != string(next) && len(out) < 2 {
				out = append(out, key)
			}
		}
		return out
	})
	return err
}

// changeKeyring changes the keys in one step, again if somebody else changes them meanwhile.
func changeKeyring(ctx context.Context, store *etcd.Store, change func([][]byte) [][]byte) error {
	for {
		kv, found, err := store.Get(ctx, keyringKey)
		if err != nil {
			return err
		}
		var keys [][]byte
		if found {
			if keys, err = decodeKeyring(kv.Value); err != nil {
				return fmt.Errorf("%s: %w; delete it to begin anew", keyringKey, err)
			}
		}
		_, written, err := store.Replace(ctx, keyringKey, kv.Rev, encodeKeyring(change(keys)))
		if err != nil || written {
			return err
		}
	}
}
