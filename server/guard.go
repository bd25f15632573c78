package server

import (
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/probe"
	"github.com/vietddude/load-balancer/routing"
)

// catalogSettings translates what the configuration says of merging.
func catalogSettings(cfg *config.Config, sources []string) routing.Settings {
	s := routing.Settings{
		Sources:       sources,
		Own:           configSource,
		CatchAll:      cfg.CatchAll(),
		DefaultDomain: cfg.DefaultDomain,
		ForgetAfter:   cfg.ForgetAfter,
		Merge:         routing.MergeMode(cfg.Merge),
		Here:          here(cfg),
		Guard: routing.Guard{
			Mode: routing.GuardMode(cfg.Guard.Mode), Window: cfg.Guard.Window, Hold: cfg.Guard.Hold,
			MaxRemoval: cfg.Guard.MaxRemoval, MinBackends: cfg.Guard.MinBackends,
		},
	}
	for name, svc := range cfg.Services {
		if svc.Merge != "" {
			if s.MergeOf == nil {
				s.MergeOf = map[string]routing.MergeMode{}
			}
			s.MergeOf[name] = routing.MergeMode(svc.Merge)
		}
	}
	return s
}

// guarded logs when removals are held, and when they are no more.
func (s *Server) guarded(e routing.GuardEvent) {
	if !e.Tripped {
		s.log.Info("nothing is held back any more; what the source announces is in force", "source", e.Source)
		return
	}
	until := "loadbalancer guard release"
	if !e.Until.IsZero() {
		until = e.Until.Format(time.RFC3339)
	}
	s.log.Error("most of what the source announced is gone; backends that answer their checks serve on",
		"source", e.Source, "announced", e.Of, "gone", e.Lost, "held", e.Held, "until", until)
}

// dropHeld takes out a held backend whose check failed.
func (s *Server) dropHeld(state *backend.State, err error) {
	key := state.Key()
	s.log.Warn("a held backend is gone, since its check failed", "service", key.Service, "backend", key.ID, "url", key.URL, "err", err)
	s.catalog.DropHeld(key)
}

// How often and how long held backends are checked.
const (
	heldInterval = time.Second
	heldTimeout  = time.Second
)

// heldProbe is how a backend is checked while a guard holds it: as it is otherwise, or by a connection, but often, and
// with the first failure counting.
func heldProbe(o probe.Options) probe.Options {
	if o.Interval <= 0 {
		o = probe.Options{Type: "tcp", Timeout: heldTimeout}
	}
	o.Interval = heldInterval
	o.FailureThreshold, o.SuccessThreshold = 1, 1
	return o
}
