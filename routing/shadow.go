package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// Difference is something that a shadowed source announces otherwise than the strongest one, whose word counts.
type Difference struct {
	// Source is the shadowed source, Against the one that counts.
	Source  string `json:"source"`
	Against string `json:"against"`
	Service string `json:"service,omitempty"`
	// Kind is missing for what only the source that counts has, extra for what only the shadowed one has, and differs.
	Kind string `json:"kind"`
	// Item is what it is about: "backend http://10.0.0.5:8080", "route shop.example.com/", "policy", "service".
	Item string `json:"item"`
	// Detail tells what either says, if both have the item.
	Detail string `json:"detail,omitempty"`
}

// Kinds of differences.
const (
	diffMissing = "missing"
	diffExtra   = "extra"
	diffDiffers = "differs"
)

// maxDifferences bounds the differences that are kept of one service and source.
const maxDifferences = 100

// compareShadows tells what sources announce of a service otherwise than the one that counts, where it is merged so. The
// policy of a list of texts is what resolve makes of it.
func compareShadows(m *merged, against string, others []string, policy func(texts []PolicyText) Policy) []Difference {
	if m.mode != MergeShadow {
		return nil
	}
	var all []Difference
	for _, name := range others {
		silent := !slices.ContainsFunc(m.shadows, func(l layer) bool { return l.source == name })
		if silent && m.authority.source != "" {
			all = append(all, Difference{Source: name, Against: against, Service: m.name, Kind: diffMissing, Item: "service"})
		}
	}
	for _, l := range m.shadows {
		d := differ{Difference: Difference{Source: l.source, Against: against, Service: m.name}}
		if m.authority.source == "" {
			d.add(diffExtra, "service", "")
		}
		d.backends(m.authority.service.Backends, l.service.Backends)
		d.routes(m.authority.service.Routes, l.service.Routes)
		if a, b := m.authority.service.Policy, l.service.Policy; string(a) != string(b) {
			if policy([]PolicyText{{l.source, a}}) != policy([]PolicyText{{l.source, b}}) {
				d.add(diffDiffers, "policy", fmt.Sprintf("%s has %s, %s has %s", against, shortText(a), l.source, shortText(b)))
			}
		}
		all = append(all, d.found...)
	}
	return all
}

func shortText(text []byte) string {
	if text == nil {
		return "none"
	}
	return clip(strings.Join(strings.Fields(string(text)), " "))
}

// differ gathers the differences of two announcements.
type differ struct {
	Difference // what all have in common
	found      []Difference
}

func (d *differ) add(kind, item, detail string) {
	if len(d.found) < maxDifferences {
		one := d.Difference
		one.Kind, one.Item, one.Detail = kind, item, detail
		d.found = append(d.found, one)
	}
}

// backends compares by address: IDs are each registry's own.
func (d *differ) backends(want, have []discovery.Backend) {
	d.compare(index(want, backendAt), index(have, backendAt))
}

func (d *differ) routes(want, have []discovery.Route) {
	d.compare(index(want, routeAt), index(have, routeAt))
}

// compare compares items by their names.
func (d *differ) compare(want, have map[string]string) {
	for _, item := range sortedKeys(want) {
		switch got, ok := have[item]; {
		case !ok:
			d.add(diffMissing, item, "")
		case got != want[item]:
			d.add(diffDiffers, item, fmt.Sprintf("%s has %s, %s has %s", d.Against, want[item], d.Source, got))
		}
	}
	for _, item := range sortedKeys(have) {
		if _, ok := want[item]; !ok {
			d.add(diffExtra, item, "")
		}
	}
}

// index maps items to what is compared of them.
func index[T any](items []T, at func(*T) (name, what string)) map[string]string {
	out := make(map[string]string, len(items))
	for i := range items {
		name, what := at(&items[i])
		out[name] = what
	}
	return out
}

func backendAt(b *discovery.Backend) (string, string) {
	what := fmt.Sprintf("weight %d", b.Weight)
	if b.Zone != "" {
		what += ", zone " + b.Zone
	}
	if b.Draining {
		what += ", draining"
	}
	return "backend " + b.URL, what
}

func routeAt(r *discovery.Route) (string, string) {
	name := "route " + strings.TrimSpace(r.Method+" "+r.Host+cmp.Or(r.Path, "/"))
	if len(r.Headers) > 0 {
		name += fmt.Sprint(" ", r.Headers)
	}
	what := "service " + r.Service
	if r.StripPrefix != "" {
		what += ", strips " + r.StripPrefix
	}
	return name, what
}

// authorityLocked is the source whose word counts where others are shadowed.
func (c *Catalog) authorityLocked() string {
	for _, name := range c.settings.Sources {
		if name != c.settings.Own {
			return name
		}
	}
	return ""
}

// othersLocked are the sources that are compared with that one.
func (c *Catalog) othersLocked() []string {
	authority := c.authorityLocked()
	return slices.DeleteFunc(slices.Clone(c.settings.Sources), func(name string) bool {
		return name == c.settings.Own || name == authority
	})
}

// shadowedLocked reports whether routes of the source's own are only compared.
func (c *Catalog) shadowedLocked(source string) bool {
	return c.settings.Merge == MergeShadow && source != c.settings.Own && source != c.authorityLocked()
}

// Diff is what is in force otherwise than sources announce it, and what they announce otherwise than one another.
type Diff struct {
	Held   []Held       `json:"held"`
	Shadow []Difference `json:"shadow"`
}

// Diff reads the differences, in order of source, service and item. It may be called at any time.
func (c *Catalog) Diff() Diff {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := Diff{Held: []Held{}, Shadow: []Difference{}}
	for _, name := range c.settings.Sources {
		d.Held = append(d.Held, c.sources[name].heldLocked()...)
	}
	for _, name := range sortedKeys(c.shadow) {
		d.Shadow = append(d.Shadow, c.shadow[name]...)
	}
	d.Shadow = append(d.Shadow, c.routeDifferencesLocked()...)
	slices.SortStableFunc(d.Shadow, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Service, b.Service))
	})
	return d
}

// routeDifferencesLocked compares routes that belong to no service's announcement.
func (c *Catalog) routeDifferencesLocked() []Difference {
	if c.settings.Merge != MergeShadow {
		return nil
	}
	against := c.authorityLocked()
	var all []Difference
	for _, name := range c.settings.Sources {
		if c.shadowedLocked(name) {
			d := differ{Difference: Difference{Source: name, Against: against}}
			d.compare(routesOf(c.sources[against]), routesOf(c.sources[name]))
			all = append(all, d.found...)
		}
	}
	return all
}

func routesOf(s *source) map[string]string {
	out := map[string]string{}
	for _, r := range s.routes {
		name, what := routeAt(&r)
		out[name] = what
	}
	return out
}

// differencesLocked counts the differences of each shadowed source.
func (c *Catalog) differencesLocked() map[string]int {
	n := map[string]int{}
	for _, ds := range c.shadow {
		for _, d := range ds {
			n[d.Source]++
		}
	}
	for _, d := range c.routeDifferencesLocked() {
		n[d.Source]++
	}
	return n
}
