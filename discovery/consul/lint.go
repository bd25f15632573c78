package consul

import (
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
)

// Instance is a service instance as it is, or is to be, registered. Empty fields mean what they mean to Consul.
type Instance struct {
	// Service is the name, ID the instance's, which is the name when empty.
	Service, ID string
	// Node is the node's name; empty for one that is not known yet.
	Node string
	// Address is the instance's own; empty for that of its node.
	Address string
	Port    int
	Tags    []string
	Meta    map[string]string
	// PassingWeight and WarningWeight are the weights; both 0 when none are given.
	PassingWeight, WarningWeight int
}

// Lint tells what a source with these options would reject of instances, or take with a reservation, and why, in order
// of key. Of the options Tag, Address selection and Decoder matter: what a source would not take is passed over. Where
// instances of a service disagree the later in the list counts as the newer. It is pure: nothing is connected to, and it
// may be called concurrently.
func Lint(o Options, instances []Instance) []discovery.Problem {
	d := newDecoder(o)
	services := map[string][]*api.ServiceEntry{}
	for i, in := range instances {
		services[in.Service] = append(services[in.Service], in.entry(uint64(i+1)))
	}
	var problems []discovery.Problem
	for _, name := range slices.Sorted(maps.Keys(services)) {
		entries := services[name]
		if !slices.ContainsFunc(entries, func(e *api.ServiceEntry) bool { return d.takes(name, e) }) {
			continue
		}
		if err := discovery.CheckName(name); err != nil {
			problems = append(problems, badName(name, err))
			continue
		}
		_, wrong := d.service(name, entries)
		problems = append(problems, wrong...)
	}
	return problems
}

// entry is the instance as an agent would tell of it.
func (in Instance) entry(index uint64) *api.ServiceEntry {
	id, node := in.ID, in.Node
	if id == "" {
		id = in.Service
	}
	if node == "" {
		node = "node"
	}
	return &api.ServiceEntry{
		// The node has an address for documentation: that of a node is Consul's business.
		Node: &api.Node{Node: node, Address: "192.0.2.1"},
		Service: &api.AgentService{
			ID: id, Service: in.Service, Address: in.Address, Port: in.Port, Tags: in.Tags, Meta: in.Meta,
			Weights: api.AgentWeights{Passing: in.PassingWeight, Warning: in.WarningWeight}, ModifyIndex: index,
		},
	}
}
