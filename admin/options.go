package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// Catalog is what the API shows and changes.
type Catalog interface {
	Table() *routing.Table
	Status() routing.Status
	SetWeight(service, id string, weight *int) error
	SetDraining(service, id string, draining bool) error
	AddBackend(service string, b discovery.Backend) error
	RemoveBackend(service, id string) error
	Diff() routing.Diff
	ReleaseGuard(source string) (int, error)
	SetDisabled(service, id string, disabled bool) error
	SetOverride(service, id string, o routing.Override) error
	Override(service, id string) routing.Override
	Overrides() []routing.OverriddenBackend
}

// Steering keeps an operator's changes beyond the process.
type Steering interface {
	// Change calls a function that changes what is steered of a backend, and keeps what came of it. The note, if any,
	// tells why that is kept in this process alone for now. The error is the function's.
	Change(ctx context.Context, service, id string, change func() error) (note string, err error)
	// Place is where changes are kept, for people.
	Place() string
	// Pending reports whether a change of a backend is yet to be written there.
	Pending(service, id string) bool
}

var _ Catalog = (*routing.Catalog)(nil)

// Check is one condition of the balancer's work.
type Check struct {
	// Name is a short word: table, config, shutdown, "source etcd".
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Required reports whether the balancer is not ready while the check fails; one that is not required only tells
	// that something is amiss.
	Required bool `json:"required"`
	// Detail tells a person more: why the check fails, or since when it holds. It holds no secret.
	Detail string `json:"detail,omitempty"`
}

// Info tells what program runs.
type Info struct {
	Version  string
	Revision string
	// Started is when the process began to serve.
	Started time.Time
}

// Options configure [New]. Catalog must be set; the rest may be left out.
type Options struct {
	Catalog Catalog
	// Checks are asked for by /readyz and the status page: the table, the configuration file, the shutdown. Those of
	// the sources are added from the catalog. Nil means that there are none, so that the balancer is ready.
	Checks func() []Check
	// Steering keeps changes; nil keeps them for as long as the process lives.
	Steering Steering
	// Fleet is what /api/v1/fleet answers; nil means 404.
	Fleet func() any
	// Metrics answers /metrics; nil means 404.
	Metrics http.Handler
	// Token is asked for if not empty.
	Token string
	Info  Info
	// Logger is told of every change; nil discards.
	Logger *slog.Logger
}
