package routing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// SourceAdmin is the name under which an operator's backends are announced. It is stronger than all sources.
const SourceAdmin = "admin"

// ErrUnknown is the kind of error that says that there is no such service or backend. Other errors of the methods that
// override say what is wrong with an argument.
var ErrUnknown = errors.New("not known")

// Override is what an operator steers of one backend. The zero value steers nothing.
type Override struct {
	// Weight goes before the announced one; nil leaves that.
	Weight *int
	// Draining and Disabled are as in [discovery.Backend]; what a source announces of them goes on.
	Draining, Disabled bool
	// Removed takes the backend out, whoever announces it.
	Removed bool
	// Added is announced on behalf of the operator, before all sources; nil for nothing.
	Added *discovery.Backend
}

// IsZero reports whether nothing is steered.
func (o Override) IsZero() bool {
	return o.Weight == nil && !o.Draining && !o.Disabled && !o.Removed && o.Added == nil
}

// Equal reports whether two overrides steer the same.
func (o Override) Equal(p Override) bool {
	same := (o.Weight == nil) == (p.Weight == nil) && (o.Added == nil) == (p.Added == nil) &&
		o.Draining == p.Draining && o.Disabled == p.Disabled && o.Removed == p.Removed
	return same && (o.Weight == nil || *o.Weight == *p.Weight) && (o.Added == nil || o.Added.Equal(*p.Added))
}

// check reports what is wrong, and brings the added backend, of which it makes a copy, into normal form.
func (o *Override) check() error {
	if o.Weight != nil {
		if err := checkWeight(*o.Weight); err != nil {
			return err
		}
	}
	if o.Added != nil {
		b := *o.Added
		if _, err := checkBackend(&b); err != nil {
			return fmt.Errorf("the backend: %w", err)
		}
		o.Added = &b
	}
	return nil
}

// OverriddenBackend is a backend that an operator steers.
type OverriddenBackend struct {
	Service, ID string
	Override    Override
}

// override is what an operator steers of one service, by backend.
type override map[string]Override

// apply returns the backends as the operator wants them. It may change the slice.
func (o override) apply(bs []mergedBackend) []mergedBackend {
	bs = slices.DeleteFunc(bs, func(b mergedBackend) bool { return o[b.ID].Removed })
	for i := range bs {
		b := &bs[i]
		over := o[b.ID]
		if over.Weight != nil {
			b.Weight = *over.Weight
		}
		b.Draining = b.Draining || over.Draining || over.Disabled
		b.Disabled = b.Disabled || over.Disabled
	}
	return bs
}

// Overrides are what an operator steers at run time, over what sources announce. They stay until they are taken back,
// also while nobody announces the service, and are part of [Catalog.State]. Like everything else they take effect with the next table, within
// milliseconds.

// SetWeight overrides a backend's weight, 0 to discovery.MaxWeight; nil takes the override back. An unknown service or
// backend is an error of the kind [ErrUnknown], here and in the following methods.
func (c *Catalog) SetWeight(service, id string, weight *int) error {
	if weight != nil {
		if err := checkWeight(*weight); err != nil {
			return err
		}
	}
	return c.override(service, id, func(o *Override) { o.Weight = weight })
}

// SetDraining starts or ends an operator's drain of a backend. A drain that a source announces goes on.
func (c *Catalog) SetDraining(service, id string, draining bool) error {
	return c.override(service, id, func(o *Override) { o.Draining = draining })
}

// SetDisabled keeps everything new from a backend, sessions too, or ends that.
func (c *Catalog) SetDisabled(service, id string, disabled bool) error {
	return c.override(service, id, func(o *Override) { o.Disabled = disabled })
}

// AddBackend announces a backend on behalf of the operator (source "admin"), with a service if need be. It goes before
// one with the same ID that a source announces, and before a removal.
func (c *Catalog) AddBackend(service string, b discovery.Backend) error {
	if err := discovery.CheckName(service); err != nil {
		return fmt.Errorf("the service: %w", err)
	}
	if _, err := checkBackend(&b); err != nil {
		return fmt.Errorf("the backend: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.overrides[service][b.ID]
	o.Added, o.Removed = &b, false
	c.setOverrideLocked(service, b.ID, o)
	return nil
}

// RemoveBackend takes a backend out, whoever announces it, until it is added again by [Catalog.AddBackend] or the
// removal is taken back by [Catalog.SetOverride].
func (c *Catalog) RemoveBackend(service, id string) error {
	return c.override(service, id, func(o *Override) { o.Added, o.Removed = nil, true })
}

// SetOverride replaces all that an operator steers of a backend, whether anybody announces it or not; the zero Override
// takes everything back.
func (c *Catalog) SetOverride(service, id string, o Override) error {
	if err := discovery.CheckName(service); err != nil {
		return fmt.Errorf("the service: %w", err)
	}
	if err := discovery.CheckID(id); err != nil {
		return fmt.Errorf("the backend: %w", err)
	}
	if o.Added != nil && o.Added.ID != id {
		return fmt.Errorf("the backend %q is added under the id %q", clip(o.Added.ID), clip(id))
	}
	if err := o.check(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.overrides[service][id].Equal(o) {
		c.setOverrideLocked(service, id, o)
	}
	return nil
}

// Override is what an operator steers of a backend.
func (c *Catalog) Override(service, id string) Override {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overrides[service][id]
}

// Overrides are all backends that an operator steers, in order of service and ID.
func (c *Catalog) Overrides() []OverriddenBackend {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overridesLocked()
}

func (c *Catalog) overridesLocked() []OverriddenBackend {
	var all []OverriddenBackend
	for _, service := range slices.Sorted(maps.Keys(c.overrides)) {
		for _, id := range slices.Sorted(maps.Keys(c.overrides[service])) {
			all = append(all, OverriddenBackend{service, id, c.overrides[service][id]})
		}
	}
	return all
}

func compareID(b discovery.Backend, id string) int { return strings.Compare(b.ID, id) }

// override changes the override of a backend that somebody announces.
func (c *Catalog) override(service, id string, change func(*Override)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	layers := c.layersLocked(service)
	o := c.overrides[service][id]
	known := slices.ContainsFunc(layers, func(l layer) bool {
		return slices.ContainsFunc(l.service.Backends, func(b discovery.Backend) bool { return b.ID == id })
	})
	switch {
	case len(layers) == 0 && c.Table().Service(service) == nil:
		return fmt.Errorf("service %q is %w", clip(service), ErrUnknown)
	case !known || o.Removed:
		return fmt.Errorf("backend %q of service %q is %w", clip(id), clip(service), ErrUnknown)
	}
	change(&o)
	c.setOverrideLocked(service, id, o)
	return nil
}

// setOverrideLocked replaces an override, and what is announced on the operator's behalf with it.
func (c *Catalog) setOverrideLocked(service, id string, o Override) {
	all := c.overrides[service]
	switch {
	case o.IsZero():
		if delete(all, id); len(all) == 0 {
			delete(c.overrides, service)
		}
	case all == nil:
		c.overrides[service] = override{id: o}
	default:
		all[id] = o
	}
	s := c.admin.services[service]
	i, found := slices.BinarySearchFunc(s.Backends, id, compareID)
	s.Name, s.Backends = service, slices.Clone(s.Backends)
	switch {
	case o.Added != nil && found:
		s.Backends[i] = *o.Added
	case o.Added != nil:
		s.Backends = slices.Insert(s.Backends, i, *o.Added)
	case found:
		s.Backends = slices.Delete(s.Backends, i, i+1)
	}
	if c.admin.services[service] = s; s.Empty() {
		delete(c.admin.services, service)
	}
	c.touchService(service, time.Time{})
}
