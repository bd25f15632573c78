package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

// eavesdropper tells when a replica hears of sessions.
type eavesdropper struct {
	affinity.Shared
	mu    sync.Mutex
	heard map[[16]byte]time.Time
}

func (e *eavesdropper) Follow(ctx context.Context, to affinity.Feed) {
	changed := to.Changed
	to.Changed = func(s affinity.Session, created bool) {
		changed(s, created)
		e.mu.Lock()
		e.heard[s.Key] = time.Now()
		e.mu.Unlock()
	}
	e.Shared.Follow(ctx, to)
}

// BenchmarkSharedSessions begins 10,000 sessions a second for two seconds on two replicas with a real etcd. It tells how
// long an exchange is held up by the keeping of its session, when the other replica knew of it after that, and how many
// clients either replica would send elsewhere than the other then.
func BenchmarkSharedSessions(b *testing.B) {
	for b.Loop() {
		shareSessions(b, 10_000, 2*time.Second)
	}
}

func shareSessions(b *testing.B, perSecond int, lasting time.Duration) {
	srv, err := embedded.Start(b.Context(), embedded.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type replica struct {
		sessions *affinity.Sessions
		manager  *affinity.Manager
		ears     *eavesdropper
		kept     map[int]time.Time
		holds    []time.Duration
	}
	n := perSecond * int(lasting/time.Second)
	replicas := make([]*replica, 2)
	for i := range replicas {
		store, err := openEtcd("etcd://" + strings.TrimPrefix(srv.Endpoint(), "http://"))
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		m, err := affinity.NewManager(nil)
		if err != nil {
			b.Fatal(err)
		}
		defer m.Close()
		r := &replica{manager: m, sessions: m.Sessions("web"), kept: map[int]time.Time{}}
		r.sessions.Configure(affinity.Options{Type: affinity.Header, Store: affinity.StoreEtcd})
		r.ears = &eavesdropper{Shared: newSessionStore(store, m, slog.New(slog.DiscardHandler)), heard: map[[16]byte]time.Time{}}
		replicas[i] = r
		wg.Go(func() { m.Share(ctx, r.ears, func(err error) { b.Error(err) }) })
	}
	until := func(what string, holds func() bool) {
		for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("still not so: %s", what)
			}
		}
	}
	until("in step", func() bool {
		return replicas[0].manager.Sharing().InStep && replicas[1].manager.Sharing().InStep
	})
	user := func(i int) string { return fmt.Sprint("user-", i) }
	var clients sync.WaitGroup
	for who, r := range replicas {
		clients.Go(func() {
			var f affinity.Finding
			begin := time.Now()
			for i := who; i < n; i += len(replicas) {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
				now := time.Now()
				c := &affinity.Client{Header: user(i)}
				r.sessions.Find(c, now, &f)
				r.sessions.Keep(c, &f, fmt.Sprint("b", who), now)
				r.kept[i] = time.Now()
				r.holds = append(r.holds, r.kept[i].Sub(now))
			}
		})
	}
	clients.Wait()
	until("all is known", func() bool {
		return replicas[0].sessions.Active() == int64(n) && replicas[1].sessions.Active() == int64(n)
	})
	split, holds := 0, slices.Concat(replicas[0].holds, replicas[1].holds)
	for i := range n {
		var one, two affinity.Finding
		replicas[0].sessions.Find(&affinity.Client{Header: user(i)}, time.Now(), &one)
		replicas[1].sessions.Find(&affinity.Client{Header: user(i)}, time.Now(), &two)
		if one.Backend == "" || one.Backend != two.Backend {
			split++
		}
	}
	var delays []time.Duration
	for who, r := range replicas {
		other := replicas[1-who]
		other.ears.mu.Lock()
		for i, at := range r.kept {
			delays = append(delays, other.ears.heard[affinity.HeaderKey("web", user(i))].Sub(at))
		}
		other.ears.mu.Unlock()
	}
	slices.Sort(delays)
	slices.Sort(holds)
	at := func(all []time.Duration, share float64) time.Duration { return all[int(share*float64(len(all)-1))] }
	b.ReportMetric(float64(at(holds, 0.5).Nanoseconds()), "hold-p50-ns")
	b.ReportMetric(float64(at(holds, 0.99).Nanoseconds()), "hold-p99-ns")
	b.ReportMetric(float64(at(delays, 0.5).Microseconds())/1000, "known-p50-ms")
	b.ReportMetric(float64(at(delays, 0.99).Microseconds())/1000, "known-p99-ms")
	b.ReportMetric(float64(at(delays, 1).Microseconds())/1000, "known-max-ms")
	b.ReportMetric(float64(split), "split")
	b.ReportMetric(float64(replicas[0].manager.Sharing().Dropped+replicas[1].manager.Sharing().Dropped), "dropped")
}
