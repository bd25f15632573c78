package consul

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery/announce"
)

// Meta that a registration writes beside its own.
const (
	metaRegistrant = "registrant" // which process registered the instance
	metaScheme     = "lb-scheme"
	metaZone       = "zone"
)

// criticalFor is how long an instance whose process is gone stays in the catalog, critical: the least that Consul takes.
const criticalFor = time.Minute

// Registry registers instances with an agent.
type Registry struct {
	client *client
}

// NewRegistry returns a registry. Its error names the option that cannot be.
func NewRegistry(o Options) (*Registry, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	o.Address = o.addresses()[0] // an instance is registered with one agent
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &Registry{c}, nil
}

// String names the agent for people.
func (r *Registry) String() string { return "consul at " + r.client.o.Address }

// Close closes the connections that are not in use.
func (r *Registry) Close() error {
	r.client.close()
	return nil
}

// instanceSlot is an instance with a TTL check on the agent.
type instanceSlot struct {
	*Registry
	id         string
	ttl        time.Duration
	registrant string // tells our registration from another's under the same id
	put        bool
	last       announce.Record
}

// Backend is the place of a backend that registers itself: a service on the agent with a TTL check, which turns
// critical when the process is gone for the time to live, and is deregistered by the agent a minute later. The slot
// closes the registry.
func (r *Registry) Backend(_, id string, ttl time.Duration) announce.Slot[announce.Record] {
	return &instanceSlot{Registry: r, id: id, ttl: max(ttl, announce.MinTTL), registrant: rand.Text()}
}

func (s *instanceSlot) checkID() string { return "service:" + s.id }

// Put implements [announce.Slot]. Consul's weights begin at 1, so a weight of 0 is maintenance, as a drain is.
func (s *instanceSlot) Put(ctx context.Context, r announce.Record) error {
	if err := s.client.reload(); err != nil {
		return err
	}
	if s.put {
		if err := s.owned(ctx); err != nil && !errors.Is(err, announce.ErrLost) {
			return err
		}
	}
	registration, err := s.registration(r)
	if err != nil {
		return err
	}
	options := api.ServiceRegisterOpts{ReplaceExistingChecks: true}
	err = s.do(ctx, "registering "+s.id, func(ctx context.Context) error {
		return s.client.api.Agent().ServiceRegisterOpts(registration, options.WithContext(ctx))
	})
	if err != nil {
		return err
	}
	s.put, s.last = true, r
	if err := s.maintain(ctx, r.Draining || r.Weight == 0); err != nil {
		return err
	}
	return s.pass(ctx)
}

func (s *instanceSlot) registration(r announce.Record) (*api.AgentServiceRegistration, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, fmt.Errorf("consul: the url %q: %w", r.URL, err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, fmt.Errorf("consul: the url %q has no port", r.URL)
	}
	meta := map[string]string{metaRegistrant: s.registrant}
	for k, v := range r.Meta {
		meta[k] = v
	}
	if r.Zone != "" {
		meta[metaZone] = r.Zone
	}
	if u.Scheme == "https" {
		meta[metaScheme] = u.Scheme
	}
	weight := max(r.Weight, 1)
	status := api.HealthPassing
	if r.Down != "" || !s.put && (r.Draining || r.Weight == 0) { // maintenance comes only after the registration
		status = api.HealthCritical
	}
	return &api.AgentServiceRegistration{
		ID: s.id, Name: r.Service, Address: u.Hostname(), Port: port, Tags: slices.Clone(r.Tags), Meta: meta,
		Weights:   &api.AgentWeights{Passing: weight, Warning: weight},
		Namespace: s.client.o.Namespace, Partition: s.client.o.Partition,
		Check: &api.AgentServiceCheck{
			CheckID: s.checkID(), Name: "kept up by loadbalancer register", TTL: s.ttl.String(), Status: status,
			DeregisterCriticalServiceAfter: criticalFor.String(),
		},
	}, nil
}

// maintain begins or ends maintenance. One of another registration under the same ID is ended too.
func (s *instanceSlot) maintain(ctx context.Context, on bool) error {
	return s.do(ctx, "the maintenance of "+s.id, func(ctx context.Context) error {
		q := s.query(ctx)
		if on {
			return s.client.api.Agent().EnableServiceMaintenanceOpts(s.id, "draining", q)
		}
		return s.client.api.Agent().DisableServiceMaintenanceOpts(s.id, q)
	})
}

// pass tells the check that the process lives, and how it is.
func (s *instanceSlot) pass(ctx context.Context) error {
	status, output := api.HealthPassing, "announced"
	if s.last.Down != "" {
		status, output = api.HealthCritical, s.last.Down
	}
	err := s.do(ctx, "the check of "+s.id, func(ctx context.Context) error {
		return s.client.api.Agent().UpdateTTLOpts(s.checkID(), output, status, s.query(ctx))
	})
	if unknown(err) {
		return errors.Join(announce.ErrLost, err)
	}
	return err
}

// Refresh implements [announce.Slot].
func (s *instanceSlot) Refresh(ctx context.Context) error {
	if !s.put {
		return announce.ErrLost
	}
	if err := s.owned(ctx); err != nil {
		return err
	}
	return s.pass(ctx)
}

// owned reports whether the instance of that ID is the one that was registered here.
func (s *instanceSlot) owned(ctx context.Context) error {
	var found *api.AgentService
	err := s.do(ctx, "the instance "+s.id, func(ctx context.Context) (err error) {
		found, _, err = s.client.api.Agent().Service(s.id, s.query(ctx))
		return err
	})
	switch {
	case unknown(err):
		return errors.Join(announce.ErrLost, err)
	case err != nil:
		return err
	case found.Meta[metaRegistrant] != s.registrant:
		return announce.ErrTaken
	}
	return nil
}

// Remove implements [announce.Slot].
func (s *instanceSlot) Remove(ctx context.Context) error {
	if !s.put {
		return nil
	}
	err := s.owned(ctx)
	if errors.Is(err, announce.ErrLost) || errors.Is(err, announce.ErrTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	// The agent would put the next instance of this ID into maintenance too.
	err = s.maintain(ctx, false)
	return errors.Join(err, s.do(ctx, "deregistering "+s.id, func(ctx context.Context) error {
		return s.client.api.Agent().ServiceDeregisterOpts(s.id, s.query(ctx))
	}))
}

func (r *Registry) query(ctx context.Context) *api.QueryOptions {
	q := &api.QueryOptions{Namespace: r.client.o.Namespace, Partition: r.client.o.Partition}
	return q.WithContext(ctx)
}

// do makes one request within the bound.
func (r *Registry) do(ctx context.Context, what string, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.client.o.Liveness/2)
	defer cancel()
	err := request(ctx)
	if err == nil {
		return nil
	}
	explained := r.client.explain(what, err)
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusForbidden {
		explained = errors.New(strings.Replace(explained.Error(), tokenHint, writeHint, 1))
	}
	return requestError{explained, err}
}

const writeHint = "give a token with service:write for the service (and key:write and session:write for a fleet), as " +
	"consul://TOKEN@host:port, in CONSUL_HTTP_TOKEN or in the file CONSUL_HTTP_TOKEN_FILE"

// requestError is an error in words, and the one that it is made of.
type requestError struct {
	error
	cause error
}

func (e requestError) Unwrap() error { return e.cause }

// unknown reports whether the agent does not know what was asked for.
func unknown(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) &&
		(status.Code == http.StatusNotFound || strings.Contains(strings.ToLower(status.Body), "unknown check") ||
			strings.Contains(strings.ToLower(status.Body), "unknown service"))
}
