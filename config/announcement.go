package config

import (
	"maps"
	"slices"
)

// Announcement is what a file announces as a source.
type Announcement struct {
	// Services are in order of their names.
	Services []AnnouncedService
	// Routes are in the order of the file. Their names are unique.
	Routes []Route
}

// AnnouncedService is one service of an [Announcement].
type AnnouncedService struct {
	Name     string
	Backends []Backend
	// PolicyText is the policy as a text (JSON) that [Config.Policy] understands; nil for none.
	PolicyText []byte
}

type announced struct {
	services map[string]Service
	routes   []Route
}

var announcementBlock = &block[announced]{
	fields: []field[announced]{
		{
			&info{name: "services", typ: "map of blocks", sub: serviceBlock.infos(), many: true},
			func(d *decoder, n *node, to *announced) {
				d.named(n, checkName, func(name string, e entry) { to.services[name] = announcedService(d, e.value) })
			},
		},
		items("routes", routeBlock, func() Route { return Route{} }, func(to *announced) func(*decoder, *node, Route, bool) {
			return collectRoutes(&to.routes)
		}),
	},
	hints: map[string]string{"backends": "write services: {name: {backends: […]}}"},
}

// announcedService reads a service. A policy with a mistake is dropped whole, as one of any other source is: half of one
// may do harm. Backends are dropped one by one.
func announcedService(d *decoder, n *node) Service {
	var s, policy Service
	if n.kind != mapNode {
		serviceBlock.decode(d, n, &s)
		return s
	}
	backends, rest := *n, *n
	backends.entries, rest.entries = nil, nil
	for _, e := range n.entries {
		if e.key == "backends" {
			backends.entries = append(backends.entries, e)
		} else {
			rest.entries = append(rest.entries, e)
		}
	}
	before := d.faults
	serviceBlock.decode(d, &rest, &policy)
	if d.faults == before {
		s.Policy = policy.Policy
	}
	serviceBlock.decode(d, &backends, &s)
	return s
}

// ParseAnnouncement reads a file that announces services, with their backends and policies, and routes. What is wrong
// with one backend, policy or route costs that alone; all problems are told. A file that is no YAML, or empty, announces
// nothing of which one could be sure: the announcement is nil then.
func ParseAnnouncement(file string, data []byte) (*Announcement, Problems) {
	d := &decoder{report: &report{}}
	doc := read(newSource(file, data), fileLimits, false, d.report)
	switch {
	case doc.broken:
		return nil, d.problems
	case doc.root == nil:
		d.add(pos{src: newSource(file, nil), line: 1, col: 1}, "", "the file is empty", "write {} to announce nothing")
		return nil, d.problems
	case doc.root.kind != mapNode:
		announcementBlock.decode(d, doc.root, &announced{})
		return nil, d.problems
	}
	all := announced{services: map[string]Service{}}
	announcementBlock.decode(d, doc.root, &all)
	out := &Announcement{Routes: all.routes}
	for _, name := range slices.Sorted(maps.Keys(all.services)) {
		s := all.services[name]
		out.Services = append(out.Services, AnnouncedService{Name: name, Backends: s.Backends, PolicyText: s.Policy.Text()})
	}
	d.problems.sort()
	return out, d.problems
}
