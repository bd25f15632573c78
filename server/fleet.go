package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/fleet"
)

// fleetEvery is how often a replica looks whether its entry has to be written anew: a table that changes a thousand
// times a second is told of once.
const fleetEvery = time.Second

// replicas is the fleet as this replica sees it, and its own entry in it.
type replicas struct {
	store *fleetStore
	id    string
	ttl   time.Duration
	self  func() fleet.Replica
	log   *slog.Logger

	mu       sync.Mutex
	view     fleet.View
	watchers []func(fleet.View)
}

// newReplicas returns a fleet of one. A nil store keeps it so.
func newReplicas(store *fleetStore, id string, ttl time.Duration, self func() fleet.Replica, log *slog.Logger) *replicas {
	return &replicas{store: store, id: id, ttl: ttl, self: self, log: log, view: fleet.View{Self: -1}}
}

// View is the fleet as it was last heard of.
func (r *replicas) View() fleet.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// watch has a function called with the view now and after each change of its members or their entries, one call at a
// time. It must not block, nor call back.
func (r *replicas) watch(f func(fleet.View)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, f)
	f(r.view)
}

// run announces this replica and follows the others until the context ends; then it withdraws.
func (r *replicas) run(ctx context.Context) {
	if r.store == nil {
		return
	}
	keeper := announce.NewKeeper(r.store.entry(r.id, r.ttl), announce.Options{TTL: r.ttl, Told: r.told})
	var wg sync.WaitGroup
	wg.Go(func() { _ = keeper.Run(ctx) }) // what cannot be withdrawn ends with its lease
	wg.Go(func() {
		r.store.follow(ctx, r.heard, func(err error) { r.log.Warn("the fleet is not followed", "err", err) })
	})
	wg.Go(func() { r.tell(ctx, keeper) })
	wg.Wait()
}

// tell sets the entry whenever it changes.
func (r *replicas) tell(ctx context.Context, keeper *announce.Keeper[[]byte]) {
	tick := time.NewTicker(fleetEvery)
	defer tick.Stop()
	var last fleet.Replica
	for {
		if now := r.self(); last.ID == "" || !now.Equal(last) {
			last = now
			now.Written = time.Now().UTC().Truncate(time.Millisecond)
			keeper.Set(now.Encode())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *replicas) told(err error) {
	switch {
	case errors.Is(err, announce.ErrTaken):
		r.log.Error("another replica has this one's id in the fleet; give each its own by fleet.id", "id", r.id)
	case err != nil:
		r.log.Warn("this replica is not in the list of its fleet", "id", r.id, "store", r.store.String(), "err", err)
	default:
		r.log.Info("this replica is in the list of its fleet", "id", r.id, "store", r.store.String())
	}
}

// heard takes all entries. One that cannot be read is left out.
func (r *replicas) heard(entries map[string][]byte) {
	members := members(entries, func(err error) { r.log.Debug("an entry of the fleet is passed over", "err", err) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view = fleet.NewView(members, r.id)
	for _, f := range r.watchers {
		f(r.view)
	}
}

func members(entries map[string][]byte, wrong func(error)) []fleet.Replica {
	var out []fleet.Replica
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		m, err := fleet.Decode(id, entries[id])
		if err != nil {
			wrong(err)
			continue
		}
		out = append(out, m)
	}
	return out
}

// replicaID is the configured name of this replica, or one of its host and the port of its first listener.
func replicaID(cfg *config.Config, addrs Addrs) string {
	if cfg.Fleet.ID != "" {
		return cfg.Fleet.ID
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "loadbalancer"
	}
	port := "0"
	if len(addrs.Listeners) > 0 {
		_, port, _ = net.SplitHostPort(addrs.Listeners[0].String())
	}
	return host + "-" + port
}

// replica is what this balancer tells of itself.
func (s *Server) replica() fleet.Replica {
	t := s.catalog.Table()
	addrs := s.Addrs()
	r := fleet.Replica{
		ID: s.replicas.id, Version: s.opts.Version, Started: s.started.UTC().Truncate(time.Millisecond),
		Admin: addrs.Admin.String(), Fingerprint: t.Fingerprint(), Generation: t.Generation(),
	}
	for _, a := range addrs.Listeners {
		r.Listen = append(r.Listen, a.String())
	}
	for _, src := range s.catalog.Status().Sources {
		f := fleet.Source{Name: src.Name, Up: src.Up}
		if !src.Up && !src.Synced.IsZero() {
			at := src.Synced.UTC().Truncate(time.Second)
			f.Synced = &at
		}
		r.Sources = append(r.Sources, f)
	}
	return r
}

// Fleet is the fleet as this balancer sees it: its members in order of their IDs, and its own place among them. Without
// a store it is empty.
func (s *Server) Fleet() fleet.View { return s.replicas.View() }

// WatchFleet has a function called with the fleet now and after each change, one call at a time. It must not block.
func (s *Server) WatchFleet(f func(fleet.View)) { s.replicas.watch(f) }

// takePlace has services that use a subset of their backends use this replica's, by its rank in the fleet, once the list
// of members has not changed for a time to live: a store that comes back empty is filled again by then.
func (s *Server) takePlace(ctx context.Context) {
	changed := make(chan struct{}, 1)
	s.replicas.watch(func(fleet.View) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	settled := time.NewTimer(s.replicas.ttl)
	defer settled.Stop()
	var last []string
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			var ids []string
			for _, m := range s.Fleet().Members {
				ids = append(ids, m.ID)
			}
			if !slices.Equal(ids, last) {
				last = ids
				settled.Reset(s.replicas.ttl)
			}
		case <-settled.C:
			if v := s.Fleet(); v.Self >= 0 {
				s.catalog.SetPlace(v.Self, len(v.Members))
			}
		}
	}
}

// fleetView is what the API shows.
func (s *Server) fleetView() any {
	v := s.Fleet()
	store := ""
	if s.replicas.store != nil {
		store = s.replicas.store.String()
	}
	members := v.Members
	if members == nil {
		members = []fleet.Replica{}
	}
	differing := v.Differing()
	if differing == nil {
		differing = []string{}
	}
	return struct {
		Store     string          `json:"store"`
		Self      string          `json:"self"`
		Rank      int             `json:"rank"`
		Differing []string        `json:"differing"`
		Members   []fleet.Replica `json:"members"`
	}{store, s.replicas.id, v.Self, differing, members}
}

// ListFleet reads the replicas that announced themselves in the store of a URL. Entries that cannot be read are in the
// error, beside those that can.
func ListFleet(ctx context.Context, url string) (fleet.View, error) {
	store, err := openFleetStore(ctx, url, func(context.Context) (string, error) {
		return "", errors.New("the etcd inside a balancer is reached by its address, as etcd://127.0.0.1:2379")
	})
	if err != nil {
		return fleet.View{}, err
	}
	defer store.close()
	entries, err := store.list(ctx)
	if err != nil {
		return fleet.View{}, err
	}
	var errs []error
	v := fleet.NewView(members(entries, func(err error) { errs = append(errs, err) }), "")
	return v, errors.Join(errs...)
}

// openFleet opens the store that is shared, if there is any, and what is kept in it.
func (s *Server) openFleet(ctx context.Context, cfg *config.Config) error {
	url := fleetURL(cfg)
	if url == "" {
		return nil
	}
	store, err := openFleetStore(ctx, url, s.embedded.start)
	if err != nil {
		return fmt.Errorf("fleet.store: %w", err)
	}
	s.shared = store
	if store.etcd != nil {
		s.steering = newSteering(store.etcd, s.catalog, s.log)
		s.keyring = newKeyring(store.etcd, s.sessions, s.log)
		s.sharing = newSessionStore(store.etcd, s.sessions, s.log)
	}
	return nil
}
