package announce

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// DefaultTTL is how long an announcement outlives its process unless said otherwise; MinTTL is the least.
const (
	DefaultTTL = 10 * time.Second
	MinTTL     = time.Second
)

// Record is a backend and the service that it registers for. It is a value: nobody changes one that was handed over.
type Record struct {
	Service string
	discovery.Backend
	// Tags are for Consul; other stores have none.
	Tags []string
	// Down says why the backend must not be sent to now; empty means that it may. etcd's key is withdrawn meanwhile, the
	// check of Consul's service is critical with this text.
	Down string
}

// Check returns the record with its URL normalised, or what is wrong with it.
func (r Record) Check() (Record, error) {
	if err := discovery.CheckName(r.Service); err != nil {
		return r, fmt.Errorf("the service: %w", err)
	}
	if err := discovery.CheckID(r.ID); err != nil {
		return r, fmt.Errorf("the backend: %w", err)
	}
	url, err := discovery.ParseURL(r.URL)
	if err != nil {
		return r, fmt.Errorf("the url: %w", err)
	}
	r.URL = url
	if r.Weight < 0 || r.Weight > discovery.MaxWeight {
		return r, fmt.Errorf("the weight %d is not 0 to %d", r.Weight, discovery.MaxWeight)
	}
	for key := range r.Meta {
		if key == "" || strings.ContainsAny(key, "\x00\n") {
			return r, fmt.Errorf("%q is no key of meta", key)
		}
	}
	for _, tag := range r.Tags {
		if tag == "" {
			return r, errors.New("a tag is empty")
		}
	}
	return r, nil
}
