package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/register"
)

// selfAnnouncement registers the balancer itself as a backend: from when it is ready until its shutdown.
type selfAnnouncement struct {
	record  announce.Record
	keepers []*announce.Keeper[announce.Record]
	drain   time.Duration
	cancel  context.CancelFunc
	ended   sync.WaitGroup

	mu        sync.Mutex
	announced bool // guarded by mu
	withdrawn bool // guarded by mu
}

// announceRecord is what the configuration has the balancer announce; where nothing says under which address, that of
// the first listener. False says that nothing is to be announced.
func announceRecord(cfg *config.Config, first net.Addr) (announce.Record, bool, error) {
	a := cfg.Announce
	if a.Service == "" {
		return announce.Record{}, false, nil
	}
	r := announce.Record{Service: a.Service, Backend: discovery.Backend{ID: a.ID, URL: a.URL, Weight: a.Weight, Zone: a.Zone}}
	if r.URL == "" {
		l := cfg.Listen[0]
		ip, err := netip.ParseAddr(l.Address)
		if l.Address == "" || err == nil && ip.IsUnspecified() {
			return r, false, errors.New("announce.url: the first listener serves on all addresses, so that none of them is known to be reached by others; name one")
		}
		_, port, err := net.SplitHostPort(first.String())
		if err != nil {
			return r, false, fmt.Errorf("announce.url: %w", err)
		}
		scheme := "http"
		if l.TLS.Enabled {
			scheme = "https"
		}
		r.URL = scheme + "://" + net.JoinHostPort(l.Address, port)
	}
	if r.ID == "" {
		r.ID = register.DefaultID(r.Service, r.URL)
	}
	r, err := r.Check()
	if err != nil {
		return r, false, fmt.Errorf("announce: %w", err)
	}
	return r, true, nil
}

// announceStores are the URLs of where the balancer registers itself.
func announceStores(cfg *config.Config) []string {
	if len(cfg.Announce.Stores) > 0 {
		return slices.Clone(cfg.Announce.Stores)
	}
	var out []string
	for _, u := range cfg.Discovery {
		if writable(u) {
			out = append(out, u)
		}
	}
	return out
}

// checkFleet reports what is wrong with what is shared and announced, without opening anything.
func checkFleet(cfg *config.Config) error {
	var errs []error
	inside := func(context.Context) (string, error) { return "http://" + DefaultEtcdAddress, nil }
	if url := fleetURL(cfg); url != "" {
		store, err := openFleetStore(context.Background(), url, inside)
		if err != nil {
			errs = append(errs, fmt.Errorf("fleet.store: %w", err))
		} else {
			store.close()
		}
	}
	record, is, err := announceRecord(cfg, &net.TCPAddr{Port: max(cfg.Listen[0].Port, 1)})
	errs = append(errs, err)
	if is {
		for _, u := range announceStores(cfg) {
			if sourceKind(u) == kindEmbedded {
				continue
			}
			p, err := place(u, record.Service, record.ID, cfg.Announce.TTL)
			if err != nil {
				errs = append(errs, fmt.Errorf("announce.stores: %w", err))
				continue
			}
			_ = p.Slot.Close()
		}
	}
	return errors.Join(errs...)
}

// openAnnouncement makes the announcement of the balancer itself; nil for none.
func (s *Server) openAnnouncement(ctx context.Context, cfg *config.Config) (*selfAnnouncement, error) {
	record, is, err := announceRecord(cfg, s.doors[0].listen.Addr())
	if err != nil || !is {
		return nil, err
	}
	urls := announceStores(cfg)
	if len(urls) == 0 {
		return nil, errors.New("announce.stores: there is no etcd or Consul to register in; name one here or under discovery")
	}
	for i, u := range urls {
		if sourceKind(u) == kindEmbedded {
			endpoint, err := s.embedded.start(ctx)
			if err != nil {
				return nil, err
			}
			urls[i] = "etcd://" + strings.TrimPrefix(endpoint, "http://")
		}
	}
	places, err := Places(urls, record.Service, record.ID, cfg.Announce.TTL)
	if err != nil {
		return nil, fmt.Errorf("announce.stores: %w", err)
	}
	a := &selfAnnouncement{record: record, drain: cfg.Announce.Drain}
	// It outlives the balancer's work, since it is withdrawn before that ends.
	ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, p := range places {
		log := s.log.With("place", p.Name, "service", record.Service, "id", record.ID)
		k := announce.NewKeeper(p.Slot, announce.Options{TTL: cfg.Announce.TTL, Told: func(err error) {
			if err != nil {
				log.Warn("the balancer's own announcement is not kept up; trying again", "err", err)
			} else {
				log.Info("the balancer is announced", "url", record.URL)
			}
		}})
		a.keepers = append(a.keepers, k)
		a.ended.Go(func() {
			if err := k.Run(ctx); err != nil {
				log.Warn("the balancer's announcement is not withdrawn; the store forgets by itself", "err", err)
			}
		})
	}
	return a, nil
}

// announceWhenReady announces the balancer once it has a table to serve by.
func (s *Server) announceWhenReady(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready, _ := s.ready(); ready {
			s.self.set(false)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// set announces the record, or that it drains.
func (a *selfAnnouncement) set(draining bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.withdrawn || draining && !a.announced {
		return
	}
	a.announced = true
	r := a.record
	r.Draining = draining
	for _, k := range a.keepers {
		k.Set(r)
	}
}

// writtenWithin bounds the wait for stores to take the drain; one that is away is not waited for.
const writtenWithin = 2 * time.Second

// withdraw announces the drain, lets others hear of it, and takes the announcement back. The context cuts the waits.
func (a *selfAnnouncement) withdraw(ctx context.Context) {
	if a == nil {
		return
	}
	a.set(true)
	a.mu.Lock()
	first, wait := !a.withdrawn, a.announced && a.drain > 0
	a.withdrawn = true
	a.mu.Unlock()
	if first && wait && ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, writtenWithin)
		for _, k := range a.keepers {
			k.Written(ctx)
		}
		cancel()
	}
	if first && wait {
		t := time.NewTimer(a.drain)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	a.cancel()
	a.ended.Wait()
}
