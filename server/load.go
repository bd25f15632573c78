package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"

	"github.com/vietddude/load-balancer/accesslog"
	"github.com/vietddude/load-balancer/admin"
	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/proxy"
)

// load reads the configuration as the options say, and checks it as a whole.
func load(o Options) (*config.Config, error) {
	var refused error
	override := func(c *config.Config) {
		if o.Override != nil {
			refused = o.Override(c)
		}
	}
	cfg, err := config.Load(o.ConfigFile, o.Environment, override)
	if err := cmp.Or(refused, err); err != nil {
		return nil, err
	}
	if !AnythingToBalance(cfg) {
		return nil, errors.New("there is nothing to balance: name a source by --discovery (consul://…, etcd://…, file:///…), " +
			"or a configuration with backends by --config; `loadbalancer dev` shows it all at work")
	}
	return cfg, nil
}

// AnythingToBalance reports whether the configuration lists backends or names sources of them.
// One that does not is refused by [New].
func AnythingToBalance(cfg *config.Config) bool { return len(cfg.Discovery) > 0 || listsBackends(cfg) }

// announces reports whether the configuration itself lists backends or routes.
func announces(cfg *config.Config) bool { return len(cfg.Routes) > 0 || listsBackends(cfg) }

func listsBackends(cfg *config.Config) bool {
	for _, name := range cfg.ServiceNames() {
		if len(cfg.ServiceBackends(name)) > 0 {
			return true
		}
	}
	return false
}

// Check reports what is wrong with a configuration that reads well but cannot be run: certificates that do not load, a
// discovery URL that is none, an admin address without the token that it needs.
func Check(cfg *config.Config) error {
	var errs []error
	errs = append(errs, checkCertificates(cfg))
	src := newSources(slog.New(slog.DiscardHandler), func(context.Context) (string, error) { return "http://" + DefaultEtcdAddress, nil })
	if _, err := src.plan(context.Background(), cfg.Discovery); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, admin.CheckAddress(cfg.Admin.Address, cfg.Admin.Token.Reveal()))
	errs = append(errs, checkFleet(cfg))
	return errors.Join(errs...)
}

// newLogger makes the log; its level can be changed at run time.
func newLogger(out io.Writer, cfg *config.Config) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	if out == nil {
		return slog.New(slog.DiscardHandler), level
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, o)), level
	}
	return slog.New(slog.NewTextHandler(out, o)), level
}

// openAccessLog opens the log of exchanges; nil for none.
func openAccessLog(cfg *config.Config, log *slog.Logger) (*accesslog.Log, error) {
	if cfg.AccessLog.Path == "" {
		return nil, nil
	}
	format, err := accesslog.ParseFormat(cfg.AccessLog.Format)
	if err != nil {
		return nil, fmt.Errorf("access_log.format: %w", err)
	}
	l, err := accesslog.Open(accesslog.Options{Path: cfg.AccessLog.Path, Format: format, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("access_log.path: %w", err)
	}
	return l, nil
}

// accessLogger is the access log as the proxy takes it: a nil interface for none.
func (s *Server) accessLogger() proxy.AccessLog {
	if s.access == nil {
		return nil
	}
	return s.access
}

// listenAddress is a listener's address as net.Listen takes it.
func listenAddress(l *config.Listener) string {
	return net.JoinHostPort(l.Address, strconv.Itoa(l.Port))
}
