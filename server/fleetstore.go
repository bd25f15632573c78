package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/etcd"
)

// fleetStore is where replicas share what they know: an etcd, or a Consul, which keeps the list of replicas alone.
type fleetStore struct {
	etcd   *etcd.Store      // nil for a Consul
	consul *consul.Registry // nil for an etcd
}

// fleetURL is the store that the configuration names or implies; empty for none.
func fleetURL(cfg *config.Config) string {
	if !cfg.Fleet.Enabled || cfg.Fleet.Store != "" {
		if cfg.Fleet.Enabled {
			return cfg.Fleet.Store
		}
		return ""
	}
	for _, u := range cfg.Discovery {
		if kind := sourceKind(u); kind == "etcd" && writable(u) || kind == kindEmbedded {
			return u
		}
	}
	return ""
}

// openFleetStore opens a store by its URL. The function starts the etcd inside the process.
func openFleetStore(ctx context.Context, url string, embedded func(context.Context) (string, error)) (*fleetStore, error) {
	switch kind := sourceKind(url); kind {
	case kindEmbedded:
		endpoint, err := embedded(ctx)
		if err != nil {
			return nil, err
		}
		url = "etcd://" + strings.TrimPrefix(endpoint, "http://")
		fallthrough
	case "etcd":
		s, err := openEtcd(url)
		if err != nil {
			return nil, err
		}
		return &fleetStore{etcd: s}, nil
	case "consul":
		r, err := openConsul(url)
		if err != nil {
			return nil, err
		}
		return &fleetStore{consul: r}, nil
	default:
		return nil, fmt.Errorf("%s is no store to share; want etcd://… or consul://…", config.RedactURL(url))
	}
}

func (f *fleetStore) String() string {
	if f.etcd != nil {
		return f.etcd.String()
	}
	return f.consul.String()
}

func (f *fleetStore) close() {
	if f.etcd != nil {
		_ = f.etcd.Close()
	}
	if f.consul != nil {
		_ = f.consul.Close()
	}
}

const (
	fleetKeys = "fleet/"
	// consulFleetKeys is where the list of replicas lies in Consul's key/value store. A service would be balanced.
	consulFleetKeys = "lb/fleet/"
)

// entry is the place of a replica.
func (f *fleetStore) entry(id string, ttl time.Duration) announce.Slot[[]byte] {
	if f.etcd != nil {
		return f.etcd.Value(fleetKeys+id, ttl)
	}
	return f.consul.Value(consulFleetKeys+id, ttl)
}

// list reads all replicas' entries by ID.
func (f *fleetStore) list(ctx context.Context) (map[string][]byte, error) {
	entries := map[string][]byte{}
	if f.consul != nil {
		values, err := f.consul.Values(ctx, consulFleetKeys)
		for key, value := range values {
			entries[strings.TrimPrefix(key, consulFleetKeys)] = value
		}
		return entries, err
	}
	kvs, err := f.etcd.List(ctx, fleetKeys)
	for _, kv := range kvs {
		entries[strings.TrimPrefix(kv.Key, fleetKeys)] = kv.Value
	}
	return entries, err
}

// follow tells all replicas' entries whenever one of them changes, until the context ends.
func (f *fleetStore) follow(ctx context.Context, changed func(map[string][]byte), failed func(error)) {
	if f.consul != nil {
		f.consul.Follow(ctx, consulFleetKeys, func(values map[string][]byte) {
			entries := make(map[string][]byte, len(values))
			for key, value := range values {
				entries[strings.TrimPrefix(key, consulFleetKeys)] = value
			}
			changed(entries)
		}, failed)
		return
	}
	_ = f.etcd.Follow(ctx, fleetKeys, etcd.Mirror{
		Changed: func(all map[string]etcd.KeyValue, _ []string, _ int64) {
			entries := make(map[string][]byte, len(all))
			for key, kv := range all {
				entries[strings.TrimPrefix(key, fleetKeys)] = kv.Value
			}
			changed(entries)
		},
		Failed: failed,
	})
}
