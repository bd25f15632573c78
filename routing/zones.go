package routing

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Overprovisioning is how many times its even share of the load a zone's backends are trusted to bear before some of it
// goes to other zones: 1.4, as in Envoy. A zone that lost up to two of seven backends keeps all of its own traffic.
const Overprovisioning = 1.4

// zoneLoad is a zone of a service.
type zoneLoad struct {
	name string
	// ready is the weight of its backends in the ready set, all that of those that are to take part.
	ready, all float64
}

// spread returns how the traffic that comes in at a balancer in the zone own is to be shared among the zones, by name;
// the shares sum to 1.
//
// Traffic is taken to come in evenly over the zones, the balancer's own included. Zone z can bear
//
//	capacity(z) = 1.4 · ready(z) / all of all zones
//
// of the whole. The own zone takes what comes in there up to its capacity. The rest goes to the zones that have capacity
// to spare beyond what comes in at themselves, in proportion to it; what nobody has to spare goes everywhere in proportion
// to capacity.
//
// With ten backends of one weight in each of the zones a, b and c, a third of the traffic in each, all ready: each could
// bear 1.4·10/30 = 0.47 of the whole, more than the 0.33 that come in, and everything stays in its zone. With four of a's
// ready a can bear 0.187, 56 % of what comes in there; b and c have 0.133 to spare each, so that 22 % goes to each of
// them, and their backends get 1.22 times their share. Of zones with 2, 10 and 10 backends the small one keeps
// 1.4·2/22 · 3 = 38 % of its own traffic and never gets more than 1.4 times what an even load would be.
func spread(own string, zones []zoneLoad) map[string]float64 {
	var all float64
	count := float64(len(zones))
	if !slices.ContainsFunc(zones, func(z zoneLoad) bool { return z.name == own }) {
		count++
	}
	for _, z := range zones {
		all += z.all
	}
	enters := 1 / count
	shares := make(map[string]float64, len(zones))
	var spare, lacking, total float64
	for _, z := range zones {
		capacity := Overprovisioning * z.ready / all
		total += capacity
		spare += max(capacity-enters, 0)
		lacking += max(enters-capacity, 0)
		if z.name == own {
			shares[own] = min(enters, capacity)
		}
	}
	if count > float64(len(zones)) {
		lacking += enters
	}
	rest := enters - shares[own]
	toSpare := rest
	if lacking > spare { // others send there too
		toSpare *= spare / lacking
	}
	for _, z := range zones {
		capacity := Overprovisioning * z.ready / all
		if z.name != own && spare > 0 {
			shares[z.name] += toSpare * max(capacity-enters, 0) / spare
		}
		if rest > toSpare && total > 0 {
			shares[z.name] += (rest - toSpare) * capacity / total
		}
	}
	for name := range shares {
		shares[name] /= enters
	}
	return shares
}

// zoneSharesLocked returns what a backend's weight counts by its zone, nil if zones make no difference.
func (r *Runtime) zoneSharesLocked(set *ReadySet) map[string]float64 {
	here := r.env.here.Zone
	if here == "" || r.service.Policy.IgnoreZones || len(set.Backends) == 0 {
		return nil
	}
	byName := map[string]*zoneLoad{}
	at := func(name string) *zoneLoad {
		z := byName[name]
		if z == nil {
			z = &zoneLoad{name: name}
			byName[name] = z
		}
		return z
	}
	for _, b := range r.members {
		if b.Weight > 0 && !b.State.Draining() {
			at(b.Zone).all += float64(b.Weight)
		}
	}
	for _, b := range set.Backends {
		at(b.Zone).ready += float64(b.Weight)
	}
	if len(byName) < 2 {
		return nil
	}
	zones := make([]zoneLoad, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		zones = append(zones, *byName[name])
	}
	factors := spread(here, zones)
	for _, z := range zones {
		if z.ready > 0 {
			factors[z.name] /= z.ready
		}
	}
	return factors
}

// zoneCounters count a service's attempts by the zone of the backend. They outlive tables.
type zoneCounters struct {
	mu     sync.Mutex
	byName map[string]*atomic.Uint64 // guarded by mu; of zones that have a name
	// nowhere counts for backends without a zone, which may be all; some says that there are any, and is guarded by mu.
	nowhere atomic.Uint64
	some    bool
}

// maxZones bounds the zones of a service that are counted apart; what comes beyond is counted as OtherZone.
const maxZones = 64

// OtherZone stands for the zones of a service beyond the first 64.
const OtherZone = "other"

func (c *zoneCounters) at(zone string) *atomic.Uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if zone == "" {
		c.some = true
		return &c.nowhere
	}
	n := c.byName[zone]
	if n == nil && len(c.byName) >= maxZones {
		zone = OtherZone
		n = c.byName[zone]
	}
	if n == nil {
		if c.byName == nil {
			c.byName = map[string]*atomic.Uint64{}
		}
		n = new(atomic.Uint64)
		c.byName[zone] = n
	}
	return n
}

// ZoneRequests counts the attempts so far by the zone of the backend, empty for backends that have none. The map is the
// caller's.
func (r *Runtime) ZoneRequests() map[string]uint64 {
	c := &r.zones
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]uint64, len(c.byName)+1)
	if c.some {
		out[""] = c.nowhere.Load()
	}
	for zone, n := range c.byName {
		out[zone] = n.Load()
	}
	return out
}
