package server

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/register"
)

// Places are where a backend registers itself, by the URLs that --discovery takes. Every URL that is none is in the
// error. Nothing is connected to yet.
func Places(urls []string, service, id string, ttl time.Duration) ([]register.Place, error) {
	var places []register.Place
	var errs []error
	for _, u := range urls {
		p, err := place(u, service, id, ttl)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		places = append(places, p)
	}
	if err := errors.Join(errs...); err != nil {
		for _, p := range places {
			_ = p.Slot.Close()
		}
		return nil, err
	}
	return places, nil
}

func place(url, service, id string, ttl time.Duration) (p register.Place, err error) {
	if ttl == 0 {
		ttl = announce.DefaultTTL
	}
	switch kind := sourceKind(url); kind {
	case "etcd":
		s, err := openEtcd(url)
		if err != nil {
			return p, err
		}
		return register.Place{Name: s.String(), Slot: s.Backend(service, id, ttl)}, nil
	case "consul":
		r, err := openConsul(url)
		if err != nil {
			return p, err
		}
		return register.Place{Name: r.String(), Slot: r.Backend(service, id, ttl)}, nil
	default:
		return p, fmt.Errorf("%s is no place to register in; want etcd://… or consul://…", config.RedactURL(url))
	}
}

// openEtcd is the store of an etcd URL. What balancers write has their own layout.
func openEtcd(url string) (*etcd.Store, error) {
	o, err := etcd.ParseURL(url, os.Getenv)
	if err != nil {
		return nil, err
	}
	if !ours(o) {
		return nil, fmt.Errorf("%s has keys in the format %s, among which nothing of ours is written; name a URL without format", config.RedactURL(url), o.Format)
	}
	return etcd.NewStore(o)
}

// ours reports whether the keys of a store have our own layout.
func ours(o etcd.Options) bool { return o.Format == "" || o.Format == etcd.FormatLB }

// writable reports whether a source is one that balancers may write to as well.
func writable(url string) bool {
	switch sourceKind(url) {
	case "etcd":
		o, err := etcd.ParseURL(url, os.Getenv)
		return err != nil || ours(o) // a URL that is none is told where it is opened
	case "consul", kindEmbedded:
		return true
	}
	return false
}

// openConsul is the registry of a Consul URL.
func openConsul(url string) (*consul.Registry, error) {
	o, err := consul.ParseURL(url, os.Getenv)
	if err != nil {
		return nil, err
	}
	return consul.NewRegistry(o)
}
