package consul

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
)

// maxProblems bounds the problems that one service is told of.
const maxProblems = 200

// decoder makes services of what the agent replies. It has no state.
type decoder struct {
	tag         string // what an instance must carry; empty for nothing
	address     string // the tagged address to take where there is one; empty for the plain one
	checkPolicy func([]byte) error
	// known are the service's backends as they were announced last, in order of ID: an instance that cannot be read stays
	// as it was.
	known []discovery.Backend
}

func newDecoder(o Options) decoder {
	d := decoder{tag: o.Tag, address: o.TaggedAddress}
	if o.Decoder != nil {
		d.checkPolicy = o.Decoder.CheckPolicy
	}
	return d
}

// instance is one entry that was taken as belonging to the service, whether it serves or not.
type instance struct {
	entry  *api.ServiceEntry
	key    string // service/id@node
	labels labels
	status string // what its checks add up to, maintenance aside
	maint  bool
}

// service makes the complete state of a service of a reply about its health, and tells what was left out or taken with
// a reservation, in order of key. The order of the entries does not matter.
func (d decoder) service(name string, entries []*api.ServiceEntry) (discovery.Service, []discovery.Problem) {
	var instances []*instance
	var problems []discovery.Problem
	for _, e := range entries {
		if e == nil || e.Node == nil || e.Service == nil {
			problems = append(problems, discovery.Problem{
				Key: name, Code: discovery.CodeBadValue, Detail: "an instance without a node or a service came from the agent",
			})
			continue
		}
		if d.takes(name, e) {
			instances = append(instances, newInstance(name, e))
		}
	}
	slices.SortFunc(instances, func(a, b *instance) int { // the newest first
		return cmp.Or(cmp.Compare(b.entry.Service.ModifyIndex, a.entry.Service.ModifyIndex), strings.Compare(a.key, b.key))
	})
	for _, in := range instances {
		for _, p := range in.labels.wrong {
			p.Key = in.key + " " + p.Key
			problems = append(problems, p)
		}
	}
	s := discovery.Service{Name: name}
	var wrong []discovery.Problem
	s.Backends, s.Stale, wrong = d.backends(instances)
	problems = append(problems, wrong...)
	s.Routes, wrong = mergeRoutes(name, instances)
	problems = append(problems, wrong...)
	options, wrong := mergePolicies(instances)
	problems = append(problems, wrong...)
	s.Policy, wrong = policy(options, d.checkPolicy)
	return s, tidy(append(problems, wrong...))
}

// takes reports whether an entry of the reply is an instance of the service that is to be balanced: no sidecar or
// gateway, and wanted. Consul compares names without regard to case, we do not.
func (d decoder) takes(name string, e *api.ServiceEntry) bool {
	return e.Service.Service == name && e.Service.Kind == api.ServiceKindTypical && d.wants(name, e.Service.Tags)
}

// wants reports whether a service, or instance, of these tags is to be balanced. Without a tag that is every one but
// Consul itself.
func (d decoder) wants(name string, tags []string) bool {
	if d.tag == "" {
		return name != "consul"
	}
	return slices.Contains(tags, d.tag)
}

func newInstance(service string, e *api.ServiceEntry) *instance {
	in := &instance{
		entry: e, key: service + "/" + clip(e.Service.ID) + "@" + clip(e.Node.Node),
		labels: parseLabels(e.Service.Tags, e.Service.Meta),
	}
	in.status, in.maint = status(e.Checks)
	return in
}

// status adds checks up to the worst of them, and reports whether the instance or its node is in maintenance. An
// instance without a check is passing; a status that Consul does not have counts as critical.
func status(checks api.HealthChecks) (worst string, maint bool) {
	worst = api.HealthPassing
	for _, c := range checks {
		switch {
		case c == nil, c.Status == api.HealthPassing:
		case c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
			maint = true
		case c.Status == api.HealthWarning:
			worst = cmp.Or(map[string]string{api.HealthPassing: api.HealthWarning}[worst], worst)
		default:
			worst = api.HealthCritical
		}
	}
	return worst, maint
}

// backends are the instances that serve, drain or fail, in order of ID. Those that fail are told of because whether the
// registry's word counts is up to the service's policy, and so that what is known of them outlives it. Those that cannot be
// backends are stale: what is known of them stays, with what their checks say now.
func (d decoder) backends(instances []*instance) ([]discovery.Backend, []discovery.Stale, []discovery.Problem) {
	var problems []discovery.Problem
	var stale []discovery.Stale
	count := map[string]int{}
	for _, in := range instances {
		count[in.entry.Service.ID]++
	}
	byID := map[string]discovery.Backend{}
	serving := map[string]*instance{}
	beside := map[string]discovery.Backend{} // those without a part in the shares of traffic
	named := map[string]bool{}
	for _, in := range slices.SortedFunc(slices.Values(instances), func(a, b *instance) int { return strings.Compare(a.key, b.key) }) {
		id := in.entry.Service.ID
		if count[id] > 1 { // on several nodes
			id += "@" + in.entry.Node.Node
		}
		b, wrong := in.backend(id, d.address)
		problems = append(problems, wrong...)
		switch {
		case named[id]:
			problems = append(problems, discovery.Problem{
				Key: in.key, Code: discovery.CodeDuplicate, Detail: fmt.Sprintf("another instance has the id %q already", clip(id)),
			})
			continue
		case b.ID == "":
			if discovery.CheckID(id) != nil {
				continue
			}
			stale = append(stale, discovery.Stale{Part: discovery.StaleBackend, ID: id, Reason: wrong[0].Code, Detail: wrong[0].Detail})
			if i, ok := slices.BinarySearchFunc(d.known, id, compareID); ok {
				b = d.known[i]
				b.Failing, b.Draining = in.status == api.HealthCritical, in.drains()
				beside[id] = b
			}
		case in.status == api.HealthCritical:
			b.Failing = true
			beside[id] = b
		default:
			byID[id], serving[id] = b, in
		}
		named[id] = true
	}
	spread(byID, serving)
	maps.Copy(byID, beside)
	return slices.SortedFunc(maps.Values(byID), func(a, b discovery.Backend) int { return strings.Compare(a.ID, b.ID) }), stale, problems
}

func compareID(b discovery.Backend, id string) int { return strings.Compare(b.ID, id) }

// drains reports whether nothing new is to go to the instance.
func (in *instance) drains() bool { return in.maint || in.labels.drain }

// backend makes the backend of an instance. One that cannot be is empty.
func (in *instance) backend(id, tagged string) (discovery.Backend, []discovery.Problem) {
	reject := func(code, detail string) (discovery.Backend, []discovery.Problem) {
		return discovery.Backend{}, []discovery.Problem{{Key: in.key, Code: code, Detail: detail}}
	}
	s, n := in.entry.Service, in.entry.Node
	if err := discovery.CheckID(id); err != nil {
		return reject(discovery.CodeBadName, err.Error())
	}
	host, port := in.place(tagged)
	switch {
	case s.SocketPath != "":
		return reject(discovery.CodeBadURL, "the instance listens on a Unix socket, which is not supported; give it an address and a port")
	case port < 1 || port > math.MaxUint16:
		return reject(discovery.CodeBadURL, fmt.Sprintf("the port %d is not 1 to 65535; register the instance with its port", port))
	}
	address, err := discovery.ParseURL(cmp.Or(in.labels.scheme, "http") + "://" + net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return reject(discovery.CodeBadURL, err.Error())
	}
	b := discovery.Backend{ID: id, URL: address, Zone: zone(s, n), Meta: s.Meta, Draining: in.drains()}
	b.Weight = s.Weights.Passing
	if in.status == api.HealthWarning {
		b.Weight = s.Weights.Warning
	}
	if s.Weights == (api.AgentWeights{}) { // said nothing
		b.Weight = 1
	}
	switch {
	case b.Weight < 0:
		return reject(discovery.CodeBadWeight, fmt.Sprintf("the weight %d is not 0 to %d", b.Weight, discovery.MaxWeight))
	case b.Weight > discovery.MaxWeight:
		problem := discovery.Problem{Key: in.key, Code: discovery.CodeBadWeight,
			Detail: fmt.Sprintf("the weight %d is not 0 to %d; the instance is taken with %[2]d", b.Weight, discovery.MaxWeight)}
		b.Weight = discovery.MaxWeight
		return b, []discovery.Problem{problem}
	}
	return b, nil
}

// place is where an instance is reached: at its own address, else its node's. Where another address is asked for by its
// tag (lan, wan), that goes first, and the instance's before its node's, which has no port of its own.
func (in *instance) place(tagged string) (host string, port int) {
	s, n := in.entry.Service, in.entry.Node
	host, port = cmp.Or(s.Address, n.Address), s.DefaultPort()
	if tagged == "" {
		return host, port
	}
	if a, ok := s.TaggedAddresses[tagged]; ok && a.Address != "" {
		return a.Address, cmp.Or(a.Port, port)
	}
	// A node's other address goes with its plain one: an instance with an address of its own is not there.
	if s.Address == "" || s.Address == n.Address {
		host = cmp.Or(n.TaggedAddresses[tagged], host)
	}
	return host, port
}

func zone(s *api.AgentService, n *api.Node) string {
	z := cmp.Or(s.Meta["zone"], n.Meta["zone"])
	if z == "" && s.Locality != nil {
		z = s.Locality.Zone
	}
	if z == "" && n.Locality != nil {
		z = n.Locality.Zone
	}
	return z
}

// spread gives weights to the backends of a service of which some ask for a share of the traffic, as Fabio has it: the
// others divide what is left by their own weights, and shares that leave nothing or have no others are scaled to the
// whole. With a at 0.2 and b, c at weight 1 each, a gets 200, b and c 400.
func spread(backends map[string]discovery.Backend, of map[string]*instance) {
	var shares float64
	var rest, others int
	for id, b := range backends {
		if s := of[id].labels.share; s > 0 {
			shares += s
		} else {
			rest += b.Weight
			others++
		}
	}
	if shares == 0 {
		return
	}
	whole := 1.0
	if shares > 1 || others == 0 {
		whole = shares
	}
	for id, b := range backends {
		part := of[id].labels.share / whole
		if part == 0 && rest > 0 {
			part = (whole - shares) / whole * float64(b.Weight) / float64(rest)
		}
		b.Weight = 0
		if part > 0 {
			b.Weight = max(1, int(math.Round(part*discovery.MaxWeight)))
		}
		backends[id] = b
	}
}

// tidy orders problems by key, one for each, and bounds them.
func tidy(problems []discovery.Problem) []discovery.Problem {
	slices.SortStableFunc(problems, func(a, b discovery.Problem) int { return strings.Compare(a.Key, b.Key) })
	problems = slices.CompactFunc(problems, func(a, b discovery.Problem) bool { return a.Key == b.Key })
	if len(problems) > maxProblems {
		problems = problems[:maxProblems]
	}
	return problems
}
