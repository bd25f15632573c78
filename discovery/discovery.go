package discovery

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"
)

// MaxWeight is the greatest weight of a backend; the least is 0, which takes nothing new.
const MaxWeight = 1000

// Backend is one address that serves requests. It is a value: nobody changes one that was handed over.
type Backend struct {
	// ID names the backend within its service. It is unique there and not empty.
	ID string
	// URL is scheme://host:port with scheme http or https, normalised by [ParseURL].
	URL string
	// Weight is the share of the service's traffic relative to the others', 0 to [MaxWeight]. Sources write 1 where
	// nothing is announced.
	Weight int
	// Zone is where the backend stands; empty means unknown.
	Zone string
	// Meta is whatever else was announced. Nothing depends on it; it is shown to people.
	Meta map[string]string
	// Draining asks that no new sessions or exchanges go to the backend, while those under way finish (Consul's
	// maintenance, an operator's drain).
	Draining bool
	// Disabled asks that nothing new at all goes to the backend, exchanges of sessions included. It comes with Draining.
	Disabled bool
	// Failing says that the registry's own checks find the backend unfit to serve (Consul's critical). Whether that
	// counts is up to the service's policy.
	Failing bool
}

// Equal reports whether two backends announce the same.
func (b Backend) Equal(o Backend) bool {
	return b.ID == o.ID && b.URL == o.URL && b.Weight == o.Weight && b.Zone == o.Zone &&
		b.Draining == o.Draining && b.Disabled == o.Disabled && b.Failing == o.Failing && maps.Equal(b.Meta, o.Meta)
}

// Route is a match that leads to a service. Empty fields match everything.
type Route struct {
	// Name identifies the route within its source.
	Name string
	// Host is an exact host name, or "*." and a suffix, lower case and without a port.
	Host string
	// Path is a prefix that matches on segment borders: "/a" matches "/a" and "/a/b", not "/ab".
	Path string
	// Method is an HTTP method, in its exact case.
	Method string
	// Headers are header fields that must all be present with exactly these values. An empty value asks for presence.
	Headers map[string]string
	// StripPrefix is removed from the front of the path before the request is sent on.
	StripPrefix string
	// Service is where matching requests go.
	Service string
	// Stale says why the store's state of a route of [Sink.Route] is not known; its zero value says that it is. With no
	// Service named, what was known of the route stays; else the route is taken as it is, as the last good one.
	Stale Stale
}

// Equal reports whether two routes say the same.
func (r Route) Equal(o Route) bool {
	return r.Name == o.Name && r.Host == o.Host && r.Path == o.Path && r.Method == o.Method &&
		r.StripPrefix == o.StripPrefix && r.Service == o.Service && r.Stale == o.Stale && maps.Equal(r.Headers, o.Headers)
}

// Service is the complete state of one named set of backends as one source announces it now. One without backends,
// policy, routes and stale parts says that the source announces nothing of that name any more.
type Service struct {
	// Name is a non-empty name of letters, digits, '-', '_' and '.', as [CheckName] has it.
	Name string
	// Backends are in ascending order of ID, without duplicates.
	Backends []Backend
	// Policy is a YAML or JSON block as under services: in the configuration, laid over the defaults; nil for none.
	Policy []byte
	// Routes lead to this service and live and die with its announcement.
	Routes []Route
	// Stale names the parts whose state in the store is not known now, and why: what was known of them before stays, for
	// them alone. See [Stale]. An announcement without them says that all is as in the store.
	Stale []Stale
	// Seen is when the source learned of this state; the time from there to the published table is measured. It is no
	// part of the state.
	Seen time.Time
}

// Empty reports whether nothing is announced under the name.
func (s Service) Empty() bool {
	return len(s.Backends) == 0 && s.Policy == nil && len(s.Routes) == 0 && len(s.Stale) == 0
}

// Equal reports whether two services announce the same, whenever they were seen.
func (s Service) Equal(o Service) bool {
	return s.Name == o.Name && bytes.Equal(s.Policy, o.Policy) &&
		slices.EqualFunc(s.Backends, o.Backends, Backend.Equal) && slices.EqualFunc(s.Routes, o.Routes, Route.Equal) &&
		slices.Equal(s.Stale, o.Stale)
}

// Problem is an item that was rejected, or taken with a reservation.
type Problem struct {
	// Source is the name of the source; the catalog fills it in.
	Source string `json:"source"`
	// Key is where the item lies: an etcd key, a Consul service and instance, file:line:column.
	Key string `json:"key"`
	// Code is one of the Code constants: stable, fit for a metric's label.
	Code string `json:"code"`
	// Detail tells a person what is wrong and what would be right. It holds no secret.
	Detail string `json:"detail"`
}

// Codes of problems. Each is the value of the label reason of lb_discovery_rejected_total.
const (
	CodeBadName   = "bad-name"   // a service or backend name that cannot be one
	CodeBadKey    = "bad-key"    // a key outside the known layout
	CodeBadValue  = "bad-value"  // a value that cannot be decoded
	CodeTooLarge  = "too-large"  // a value beyond the limit
	CodeBadURL    = "bad-url"    // no or a senseless address, port or scheme
	CodeBadWeight = "bad-weight" // a weight outside 0 to MaxWeight
	CodeBadPolicy = "bad-policy" // a policy block that the configuration's grammar refuses
	CodeBadRoute  = "bad-route"  // a route that cannot match or leads nowhere
	CodeBadOption = "bad-option" // a tag or option that is not understood; the rest of its item is taken
	CodeDuplicate = "duplicate"  // an item that another, of higher precedence, says already
	CodeDisagree  = "disagree"   // instances of one service that say different things; the newest one's is taken
)

// Codes of what is stale, beside those of values that cannot be taken.
const (
	CodeQueryFailed = "query-failed" // the store did not answer for this item
	CodeFiltered    = "filtered"     // the store left items out that this client may not read
	CodeNoLeader    = "no-leader"    // who answered has no leader and may be behind
	CodeLagging     = "lagging"      // who answered is too far behind its leader
)

// Sink takes what one source announces. A source calls it from one goroutine at a time; no call blocks for long.
type Sink interface {
	// Resync begins a full listing. Nothing changes before [Sink.Synced], except what is named in between. A second
	// Resync without Synced starts the listing over. The reason is a short stable word: start, compaction, reconnect,
	// index-reset, changed.
	Resync(reason string)
	// Incomplete says, within a listing, that it cannot name everything: what it does not name stays at its end, marked as
	// stale with this reason (see [Stale]), until it is announced, withdrawn, or a listing that is complete ends.
	Incomplete(reason, detail string)
	// Service replaces all that was known of the service of that name from this source.
	Service(Service)
	// Route replaces the route of that name; for routes that belong to no service's announcement.
	Route(Route)
	// RemoveRoute withdraws a route of [Sink.Route]; an unknown name is ignored.
	RemoveRoute(name string)
	// Reject tells of an item that cannot be taken. It replaces an earlier rejection of the same key.
	Reject(Problem)
	// Accept withdraws the rejection of a key; an unknown key is ignored.
	Accept(key string)
	// Synced says that the source is in step with its store now: it ends a Resync, and without one is a sign of life.
	Synced()
	// Failed says that the source is out of step and why; all that it announced stays. The next Synced ends it.
	Failed(error)
}

// Source is a place that announces backends, routes and policies.
type Source interface {
	// Name is a short stable label, unique among the sources of a balancer: "etcd", "consul", "consul-2".
	Name() string
	// Run announces into the sink until the context ends; it retries whatever fails, with backoff and jitter, and
	// returns only when all its goroutines have ended. Its error is nil when the context ended it; any other says that
	// the source cannot ever work as configured.
	Run(ctx context.Context, sink Sink) error
}

// Decoder reads the texts that sources carry but do not understand. It may be called concurrently.
type Decoder interface {
	// Route decodes a block as under routes: in the configuration, and gives it the name.
	Route(name string, text []byte) (Route, error)
	// CheckPolicy reports what is wrong with a block as under services: in the configuration.
	CheckPolicy(text []byte) error
}
