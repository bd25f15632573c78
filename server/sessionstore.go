package server

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/metrics"
)

// sessionFolder holds shared sessions, as <service>/<hash of what the client is told by>.
const sessionFolder = "sessions/of/"

// sessionStore shares sessions through etcd. Nothing is followed or written before a policy wants it.
type sessionStore struct {
	store    *etcd.Store
	sessions *affinity.Manager
	leases   *etcd.Leases // the writer's
	log      *slog.Logger
	wanted   chan struct{}
	want     func()

	mu   sync.Mutex
	said string // what was last wrong
}

var _ affinity.Shared = (*sessionStore)(nil)

func newSessionStore(store *etcd.Store, sessions *affinity.Manager, log *slog.Logger) *sessionStore {
	wanted := make(chan struct{})
	return &sessionStore{
		store: store, sessions: sessions, leases: store.Leases(), log: log,
		wanted: wanted, want: sync.OnceFunc(func() { close(wanted) }),
	}
}

// run shares sessions, once a policy wants it, until the context ends.
func (s *sessionStore) run(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.wanted:
		s.sessions.Share(ctx, s, s.failed)
	}
}

// failed logs what is new.
func (s *sessionStore) failed(err error) {
	text := err.Error()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said != text {
		s.said = text
		s.log.Warn("sessions go on in this balancer, and are shared when the store is back", "store", s.store.String(), "err", err)
	}
}

func (s *sessionStore) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said != "" {
		s.said = ""
		s.log.Info("sessions are shared again", "store", s.store.String())
	}
}

// observeSessions are the numbers of a scrape.
func (s *Server) observeSessions() (remembered int64, shared metrics.Sharing) {
	for _, a := range s.sessions.Active() {
		remembered += a.Sessions
	}
	h := s.sessions.Sharing()
	return remembered, metrics.Sharing{
		On: h.On, InStep: h.InStep, Pending: h.Pending, Written: h.Written, Overtaken: h.Overtaken, Dropped: h.Dropped,
	}
}

// Write implements affinity.Shared.
func (s *sessionStore) Write(ctx context.Context, changes []affinity.Change) ([]affinity.Result, error) {
	now := time.Now()
	swaps := make([]etcd.Swap, len(changes))
	for i := range changes {
		c := (*affinity.Session)(&changes[i])
		swaps[i] = etcd.Swap{Key: sessionKey(c), Rev: c.Rev}
		if c.Backend == "" {
			continue
		}
		lease, err := s.leases.For(ctx, c.Until, now)
		if err != nil {
			return nil, err
		}
		swaps[i].Value, swaps[i].Lease = encodeSession(c), lease
	}
	swapped, err := s.store.SwapAll(ctx, swaps)
	if s.leases.Lost(err) {
		return nil, errors.New("the store has lost the leases of sessions; they are written anew")
	}
	if err != nil {
		return nil, err
	}
	results := make([]affinity.Result, len(swapped))
	for i, w := range swapped {
		r := &results[i]
		r.Written = w.Done
		r.Session = affinity.Session(changes[i])
		if !w.Done && w.Rev != 0 && !decodeSession(w.KeyValue, &r.Session) {
			// Nobody can read it, so it is overwritten.
			r.Session = affinity.Session{Service: changes[i].Service, Key: changes[i].Key, Backend: changes[i].Backend, Home: changes[i].Home}
		}
		r.Rev = w.Rev
	}
	return results, nil
}

// Follow implements affinity.Shared.
func (s *sessionStore) Follow(ctx context.Context, to affinity.Feed) {
	_ = s.store.Feed(ctx, sessionFolder, etcd.Feed{
		Listed: func(all []etcd.KeyValue) {
			sessions := make([]affinity.Session, 0, len(all))
			for _, kv := range all {
				var one affinity.Session
				if decodeSession(kv, &one) {
					sessions = append(sessions, one)
				}
			}
			to.Listed(sessions)
		},
		Put: func(kv etcd.KeyValue, created bool) {
			var one affinity.Session
			if decodeSession(kv, &one) {
				to.Changed(one, created)
			}
		},
		Removed: func(key string) {
			var one affinity.Session
			if decodeSessionKey(key, &one) {
				to.Changed(one, false)
			}
		},
		Failed: to.OutOfStep,
		Synced: func() {
			s.worked()
			to.InStep()
		},
	})
}

func sessionKey(c *affinity.Session) string {
	return sessionFolder + c.Service + "/" + base64.RawURLEncoding.EncodeToString(c.Key[:])
}

func decodeSessionKey(key string, to *affinity.Session) bool {
	service, hash, ok := strings.Cut(strings.TrimPrefix(key, sessionFolder), "/")
	if !ok || service == "" || len(hash) != base64.RawURLEncoding.EncodedLen(len(to.Key)) {
		return false
	}
	n, err := base64.RawURLEncoding.Decode(to.Key[:], []byte(hash))
	to.Service = service
	return err == nil && n == len(to.Key)
}

// encodeSession is a session as it is written: when it ends in Unix milliseconds, its backend, and the one to return to if
// there is one, with blanks between, which no ID has.
func encodeSession(c *affinity.Session) []byte {
	b := strconv.AppendInt(nil, c.Until.UnixMilli(), 10)
	b = append(append(b, ' '), c.Backend...)
	if c.Home != "" {
		b = append(append(b, ' '), c.Home...)
	}
	return b
}

// decodeSession reads a key and its value, and reports whether they are those of a session.
func decodeSession(kv etcd.KeyValue, to *affinity.Session) bool {
	if !decodeSessionKey(kv.Key, to) {
		return false
	}
	until, backends, _ := strings.Cut(string(kv.Value), " ")
	ms, err := strconv.ParseInt(until, 10, 64)
	to.Backend, to.Home, _ = strings.Cut(backends, " ")
	to.Until, to.Rev = time.UnixMilli(ms), kv.Rev
	return err == nil && to.Backend != ""
}
