package consul

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
)

// failoverEvery is how often other datacenters are asked for a service that has no instance of its own.
const failoverEvery = 2 * time.Second

// serviceVariable stands for a service's name in [Options].FailoverQuery.
const serviceVariable = "{service}"

// away is what another datacenter has of a service.
type away struct {
	datacenter string // empty if none has any
	entries    []*api.ServiceEntry
	errs       map[string]error // why others could not be asked, by datacenter
	err        error            // why the prepared query could not
}

// unknown is why it is not known what a datacenter has, nil if it is, or if there is no datacenter.
func (a *away) unknown(datacenter string) error {
	if a.err != nil && datacenter != "" {
		return a.err
	}
	return a.errs[datacenter]
}

// in is the client asking another datacenter.
func (c *client) in(datacenter string) *client {
	other := *c
	other.o.Datacenter = datacenter
	return &other
}

// elsewhere looks for a service in the datacenters to fail over to, in order.
func (c *client) elsewhere(ctx context.Context, d decoder, name string) *away {
	if c.o.FailoverQuery != "" {
		return c.execute(ctx, d, name)
	}
	found := &away{errs: map[string]error{}}
	for _, dc := range c.o.Failover {
		entries, _, err := c.in(dc).service(ctx, name)
		switch {
		case err != nil:
			found.errs[dc] = err
		case d.serves(name, entries):
			return &away{datacenter: dc, entries: entries}
		}
	}
	return found
}

// execute has the prepared query look for a service. What it finds in the datacenter itself is passed over: who asks has
// looked there, and looks again.
func (c *client) execute(ctx context.Context, d decoder, name string) *away {
	prepared := strings.ReplaceAll(c.o.FailoverQuery, serviceVariable, name)
	reply, _, err := query(ctx, c, 0, "", "the prepared query "+prepared,
		func(q *api.QueryOptions) (*api.PreparedQueryExecuteResponse, *api.QueryMeta, error) {
			return c.api.PreparedQuery().Execute(prepared, q)
		})
	if err != nil {
		return &away{err: err}
	}
	var entries []*api.ServiceEntry
	where := reply.Datacenter
	for i := range reply.Nodes {
		e := &reply.Nodes[i]
		if entries = append(entries, e); e.Service != nil && e.Service.PeerName != "" {
			where = e.Service.PeerName // a cluster peer
		}
	}
	if reply.Failovers == 0 || !d.serves(name, entries) {
		return &away{}
	}
	return &away{datacenter: where, entries: entries}
}

// serves reports whether any of the entries takes new requests.
func (d decoder) serves(name string, entries []*api.ServiceEntry) bool {
	return slices.ContainsFunc(entries, func(e *api.ServiceEntry) bool {
		if e == nil || e.Node == nil || e.Service == nil || !d.takes(name, e) {
			return false
		}
		worst, maint := status(e.Checks)
		return worst != api.HealthCritical && !maint
	})
}

// borrow adds to a service that has nobody to serve what another datacenter has. The instances are named after it, and
// stand in a zone of its name unless they have one; they are reached by their wan address where there is one. Their
// routes and policy count where the service has no instance at all.
func (d decoder) borrow(s discovery.Service, from *away) discovery.Service {
	d.address = cmp.Or(d.address, "wan")
	other, _ := d.service(s.Name, from.entries)
	if len(s.Backends) == 0 && s.Policy == nil && len(s.Routes) == 0 {
		s.Policy, s.Routes = other.Policy, other.Routes
	}
	s.Backends = slices.Clone(s.Backends) // those that drain
	for _, b := range other.Backends {
		b.ID, b.Zone = b.ID+"@"+from.datacenter, cmp.Or(b.Zone, from.datacenter)
		if discovery.CheckID(b.ID) == nil {
			s.Backends = append(s.Backends, b)
		}
	}
	slices.SortFunc(s.Backends, func(a, b discovery.Backend) int { return strings.Compare(a.ID, b.ID) })
	s.Backends = slices.CompactFunc(s.Backends, func(a, b discovery.Backend) bool { return a.ID == b.ID })
	return s
}
