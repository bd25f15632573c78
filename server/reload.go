package server

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/admin"
	"github.com/vietddude/load-balancer/config"
)

// reloads tell how reloads of the configuration went.
type reloads struct {
	taken, refused atomic.Uint64
	// lastOK reports whether the file as it is now is in force; lastErr says why not.
	lastOK  atomic.Bool
	lastErr atomic.Pointer[error]
	// lastTaken is when the configuration in force was taken, in Unix nanoseconds; 0 before the first reload.
	lastTaken atomic.Int64
}

// Reload reads the configuration again and applies whatever can change without a restart; the access log is opened
// anew. A configuration that cannot be used is refused as a whole and the old one stays in force; the error says why,
// and so do the log and the readiness check. It may be called before Run; after Close it is an error.
func (s *Server) Reload() error {
	s.reloadMu.Lock()
	defer s.reloadMu.Unlock()
	if s.ended {
		return errEnded
	}
	if s.access != nil {
		if err := s.access.Reopen(); err != nil {
			s.log.Error("the access log goes on into the old file", "err", err)
		}
	}
	if err := s.reload(); err != nil {
		s.reloads.refused.Add(1)
		s.reloads.lastErr.Store(&err)
		s.reloads.lastOK.Store(false)
		s.log.Error("configuration refused; the old one stays in force", "file", s.opts.ConfigFile, "err", err)
		return err
	}
	s.reloads.taken.Add(1)
	s.reloads.lastTaken.Store(time.Now().UnixNano())
	s.reloads.lastOK.Store(true)
	return nil
}

// reload checks everything first and then applies it, so that a refused configuration has changed nothing.
func (s *Server) reload() error {
	next, err := load(s.opts)
	if err != nil {
		return err
	}
	prev := s.config.Load()
	if err := checkCertificates(next); err != nil {
		return err
	}
	if err := admin.CheckAddress(s.admin.name, next.Admin.Token.Reveal()); err != nil {
		return fmt.Errorf("%w (the address changes only with a restart)", err)
	}
	// Last, since this may start the etcd inside the process.
	plan, err := s.sources.plan(s.work, next.Discovery)
	if err != nil {
		return err
	}
	fixed := unchangeable(s.initial, next)
	if len(fixed) > 0 {
		s.log.Warn("configuration changed where only a restart can follow", "settings", strings.Join(fixed, ", "))
	}
	s.level.Set(next.Log.Level)
	s.config.Store(next)
	s.followCertificates(next)
	if next.Admin.Token != prev.Admin.Token {
		s.api.set(s.adminHandler(next.Admin.Token.Reveal()))
	}
	if err := s.configureSecrets(next); err != nil { // their lengths were checked when they were read
		s.log.Error("the keys of sessions stay as they were", "err", err)
	}
	s.proxy.SetTrustedProxies(next.TrustedProxies)
	s.catalog.Configure(catalogSettings(next, sourceNames(next, plan)))
	s.sources.apply(plan)
	s.sources.run(s.work, s.catalog.Sink)
	s.announceConfig(next)
	s.log.Info("configuration reloaded", "file", s.opts.ConfigFile)
	return nil
}

// unchangeable names the settings that differ from those the balancer started with, and that it cannot follow.
func unchangeable(prev, next *config.Config) []string {
	var out []string
	differ := func(name string, changed bool) {
		if changed {
			out = append(out, name)
		}
	}
	differ("listen", !slices.EqualFunc(prev.Listen, next.Listen, sameDoor))
	differ("admin.address", prev.Admin.Address != next.Admin.Address)
	differ("limits", prev.Limits != next.Limits)
	differ("fleet", prev.Fleet != next.Fleet)
	differ("announce", !reflect.DeepEqual(prev.Announce, next.Announce))
	differ("access_log", prev.AccessLog != next.AccessLog)
	differ("snapshot", prev.Snapshot != next.Snapshot)
	differ("log.format", prev.Log.Format != next.Log.Format)
	return out
}

// sameDoor reports whether two listeners differ in nothing but their certificates' files.
func sameDoor(a, b config.Listener) bool {
	return a.Port == b.Port && a.Address == b.Address && a.TLS.Enabled == b.TLS.Enabled &&
		a.TLS.MinVersion == b.TLS.MinVersion && a.TLS.MaxVersion == b.TLS.MaxVersion &&
		slices.Equal(a.ProxyProtocol.From, b.ProxyProtocol.From) && a.TLS.ReloadInterval == b.TLS.ReloadInterval && slices.Equal(a.TLS.CipherSuites, b.TLS.CipherSuites)
}

// watchConfig reloads whenever the configuration file changes, until the context ends.
func (s *Server) watchConfig(ctx context.Context) {
	err := s.watcher.Run(ctx, func() { _ = s.Reload() })
	if err != nil && ctx.Err() == nil {
		s.log.Error("the configuration file is no longer watched; send SIGHUP to reload", "file", s.opts.ConfigFile, "err", err)
	}
}

// reloadProblem says why the file as it is now is not in force; empty if it is.
func (s *Server) reloadProblem() string {
	if s.reloads.lastOK.Load() {
		return ""
	}
	if err := s.reloads.lastErr.Load(); err != nil {
		return fmt.Sprintf("the file is refused and the old configuration stays in force: %v", *err)
	}
	return ""
}
