// Package server is the composition root: a configuration goes in, a running balancer comes out.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/accesslog"
	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/internal/filewatch"
	"github.com/vietddude/load-balancer/proxy"
	"github.com/vietddude/load-balancer/routing"
	"github.com/vietddude/load-balancer/snapshot"
)

// DefaultEtcdAddress is where the etcd inside the process serves its clients unless told otherwise.
const DefaultEtcdAddress = "127.0.0.1:2379"

// Options say what a balancer is made from.
type Options struct {
	// ConfigFile is read at the start and again whenever it changes; empty for none.
	ConfigFile string
	// Environment is laid over the file, as os.Environ gives it.
	Environment []string
	// Override is applied last, after each reading of the file; nil changes nothing.
	Override func(*config.Config) error
	// EtcdAddress is where an embedded etcd serves its clients; empty means [DefaultEtcdAddress].
	EtcdAddress string
	// LogOutput takes the log; nil discards it.
	LogOutput io.Writer
	// Version is told by the API and the metrics.
	Version string
}

// Server is a balancer. Its methods may be called concurrently.
type Server struct {
	opts    Options
	log     *slog.Logger
	level   *slog.LevelVar
	started time.Time

	// config is the configuration in force.
	config atomic.Pointer[config.Config]
	// initial is the one that the balancer was made from.
	initial *config.Config

	// The parts are made by New and do not change.
	catalog  *routing.Catalog
	snapshot *snapshot.Keeper // nil for none
	sessions *affinity.Manager
	proxy    *proxy.Proxy
	access   *accesslog.Log // nil for none
	probes   *probes
	outliers outliers
	sources  *sources
	embedded *embeddedEtcd
	doors    []*door
	clients  *clients // of the doors, but not of admin
	admin    *door
	api      swapHandler // behind admin
	// What replicas share. Each of shared, steering, keyring and sharing may be nil; the last three need an etcd.
	shared   *fleetStore
	steering *steering
	keyring  *keyring
	sharing  *sessionStore
	replicas *replicas
	self     *selfAnnouncement  // nil for none
	scrape   http.Handler       // the metrics
	watcher  *filewatch.Watcher // of the configuration file; nil for none

	// reloadMu lets through one of a reload, the start and the end.
	reloadMu sync.Mutex
	ended    bool // guarded by reloadMu; nothing new begins
	reloads  reloads
	stopping atomic.Bool

	// work is the context of the sources, probes and the catalog; cancelWork ends it. wg waits for what runs in it.
	work       context.Context
	cancelWork context.CancelFunc
	wg         sync.WaitGroup
	closed     sync.Once
}

// Addrs are where a balancer listens.
type Addrs struct {
	// Listeners are in the order of the configuration.
	Listeners []net.Addr
	Admin     net.Addr
}

// New reads the configuration and makes a balancer whose listeners are open but not yet served. What is wrong with the
// configuration comes as config.Problems. A Server that was made is ended by [Server.Run] or [Server.Close].
func New(ctx context.Context, o Options) (*Server, error) {
	var watcher *filewatch.Watcher
	if o.ConfigFile != "" {
		watcher = filewatch.New(o.ConfigFile)
	}
	cfg, err := load(o)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: o, started: time.Now(), watcher: watcher}
	s.work, s.cancelWork = context.WithCancel(context.WithoutCancel(ctx))
	s.log, s.level = newLogger(o.LogOutput, cfg)
	s.initial = cfg
	s.config.Store(cfg)
	s.reloads.lastOK.Store(true)
	if err := s.build(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// build makes the parts in the order of their dependence. When it fails, Close ends what was made.
func (s *Server) build(ctx context.Context, cfg *config.Config) (err error) {
	s.embedded = &embeddedEtcd{address: s.opts.EtcdAddress, log: s.log}
	s.sources = newSources(s.log, s.embedded.start)
	s.sources.feedback = s.feedbackOf
	plan, err := s.sources.plan(ctx, cfg.Discovery)
	if err != nil {
		return err
	}
	s.probes = newProbes(s.log, s.dropHeld)
	settings := catalogSettings(cfg, sourceNames(cfg, plan))
	s.catalog = routing.NewCatalog(routing.Options{
		Sources:       settings.Sources,
		Own:           settings.Own,
		Resolve:       s.resolve,
		CatchAll:      settings.CatchAll,
		DefaultDomain: settings.DefaultDomain,
		ForgetAfter:   settings.ForgetAfter,
		Merge:         settings.Merge,
		MergeOf:       settings.MergeOf,
		Guard:         settings.Guard,
		Guarded:       s.guarded,
		Published:     s.published,
		Here:          settings.Here,
		Panicked:      s.panicked,
	})
	if cfg.Snapshot.Path != "" {
		s.snapshot = snapshot.New(snapshot.Options{Path: cfg.Snapshot.Path, Logger: s.log})
		if st, ok := s.snapshot.Load(); ok {
			s.catalog.Restore(st)
		}
	}
	s.sources.apply(plan)
	if s.access, err = openAccessLog(cfg, s.log); err != nil {
		return err
	}
	if s.sessions, err = affinity.NewManager(nil); err != nil {
		return err
	}
	if err := s.openFleet(ctx, cfg); err != nil {
		return err
	}
	if err := s.configureSecrets(cfg); err != nil {
		return err
	}
	s.proxy = proxy.New(proxy.Options{
		Table:          s.catalog.Table,
		Sessions:       s.sessions,
		AccessLog:      s.accessLogger(),
		TrustedProxies: cfg.TrustedProxies,
		Logger:         s.log,
	})
	if err := s.openDoors(ctx, cfg); err != nil {
		return err
	}
	s.replicas = newReplicas(s.shared, replicaID(cfg, s.Addrs()), cfg.Fleet.TTL, s.replica, s.log)
	if s.shared != nil && s.shared.etcd != nil {
		s.probes.board, s.probes.self = newHealthBoard(s.shared.etcd, s.replicas.id, cfg.Fleet.TTL, s.log), s.replicas.id
	}
	s.self, err = s.openAnnouncement(ctx, cfg)
	return err
}

// configureSecrets has sessions sealed as the configuration says.
func (s *Server) configureSecrets(cfg *config.Config) error {
	var secrets [][]byte
	for _, secret := range cfg.SessionSecrets() {
		secrets = append(secrets, []byte(secret.Reveal()))
	}
	var err error
	if s.keyring != nil {
		err = s.keyring.configure(secrets)
	} else if len(secrets) > 0 {
		err = s.sessions.SetSecrets(secrets...)
	}
	if err != nil {
		return fmt.Errorf("sticky_session: %w", err)
	}
	return nil
}

// panicked is told when a service falls into panic or comes out of it.
func (s *Server) panicked(service string, p routing.Panic) {
	if p.On {
		s.log.Error("too few backends are ready: all take part", "service", service, "ready", p.Healthy, "of", p.Of)
	} else {
		s.log.Info("enough backends are ready again", "service", service, "ready", p.Healthy, "of", p.Of)
	}
}

// published is told of each new table.
func (s *Server) published(next, prev *routing.Table) {
	s.probes.follow(next, prev)
	s.outliers.follow(next, prev)
	for before, now := range next.Changes(prev) {
		if now == nil {
			s.sessions.Forget(before.Name)
		}
	}
}

// Addrs are where the balancer listens.
func (s *Server) Addrs() Addrs {
	a := Addrs{Admin: s.admin.listen.Addr()}
	for _, d := range s.doors {
		a.Listeners = append(a.Listeners, d.listen.Addr())
	}
	return a
}

// EtcdEndpoint is the URL of the etcd inside the process; empty if there is none.
func (s *Server) EtcdEndpoint() string { return s.embedded.endpoint() }

// Table is the table by which requests are routed now.
func (s *Server) Table() *routing.Table { return s.catalog.Table() }

// errEnded is what a balancer that was closed answers.
var errEnded = errors.New("the balancer has ended")

// Run serves until the context ends or Close is called, then stops accepting, lets exchanges under way finish within the configuration's
// shutdown timeout, and returns when everything has ended. It returns an error if a listener fails, or if exchanges
// had to be cut. It is called once.
func (s *Server) Run(ctx context.Context) error { return s.RunThen(ctx, func() {}) }

// RunThen is Run, and calls a function when all exchanges have ended but the sources, the etcd inside the process and
// the admin address are still there.
func (s *Server) RunThen(ctx context.Context, quiet func()) error {
	failed, err := s.start()
	if err != nil {
		return err
	}
	s.announceStart()
	select {
	case <-s.work.Done(): // closed
	case <-ctx.Done():
		s.log.Info("stopping: no new connections, exchanges under way finish", "within", s.config.Load().ShutdownTimeout)
	case err = <-failed:
		s.log.Error("stopping, since a listener failed", "err", err)
	}
	s.stopping.Store(true)
	withdraw, cut := context.WithTimeout(context.Background(), s.config.Load().ShutdownTimeout)
	stop := context.AfterFunc(s.work, cut) // Close does not wait
	s.self.withdraw(withdraw)
	stop()
	cut()
	err = errors.Join(err, s.drain())
	quiet()
	err = errors.Join(err, s.Close())
	s.log.Info("stopped")
	return err
}

// start begins all that runs. The channel tells of listeners that failed.
func (s *Server) start() (<-chan error, error) {
	s.reloadMu.Lock()
	defer s.reloadMu.Unlock()
	if s.ended {
		return nil, errEnded
	}
	s.wg.Go(func() { s.catalog.Run(s.work) })
	if s.snapshot != nil {
		s.wg.Go(func() { s.snapshot.Run(s.work, s.catalog) })
	}
	s.wg.Go(func() { s.probes.prober.Run(s.work) })
	s.wg.Go(func() { s.probes.share(s.work) })
	s.wg.Go(func() { s.outliers.run(s.work) })
	s.announceConfig(s.config.Load())
	s.sources.run(s.work, s.catalog.Sink)
	if s.watcher != nil {
		s.wg.Go(func() { s.watchConfig(s.work) })
	}
	if s.steering != nil {
		s.wg.Go(func() { s.steering.run(s.work) })
	}
	if s.keyring != nil {
		s.wg.Go(func() { s.keyring.run(s.work) })
	}
	if s.sharing != nil {
		s.wg.Go(func() { s.sharing.run(s.work) })
	}
	if s.shared != nil {
		s.wg.Go(func() { s.replicas.run(s.work) })
		s.wg.Go(func() { s.takePlace(s.work) })
	}
	if s.self != nil {
		s.wg.Go(func() { s.announceWhenReady(s.work) })
	}
	failed := make(chan error, len(s.doors)+1)
	for _, d := range append(slices.Clip(s.doors), s.admin) {
		if d.certs != nil {
			s.wg.Go(func() { d.certs.Run(s.work) })
		}
		s.wg.Go(func() {
			if err := d.serve(); err != nil {
				failed <- err
			}
		})
	}
	return failed, nil
}

// drain stops accepting and waits for what is under way, at most the shutdown timeout.
func (s *Server) drain() error {
	s.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Load().ShutdownTimeout)
	defer cancel()
	errs := make([]error, len(s.doors), len(s.doors)+1)
	var wg sync.WaitGroup
	for i, d := range s.doors {
		wg.Go(func() { errs[i] = d.shutdown(ctx) })
	}
	wg.Wait()
	errs = append(errs, s.proxy.Close(ctx)) // tunnels, which the doors do not wait for
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("exchanges were cut, since they did not finish within shutdown_timeout: %w", err)
	}
	return nil
}

// Close ends everything at once, without waiting for exchanges. Calls after the first do nothing.
func (s *Server) Close() (err error) {
	s.closed.Do(func() { err = s.close() })
	return err
}

func (s *Server) close() error {
	s.stopping.Store(true)
	for _, d := range s.doors {
		d.close()
	}
	if s.admin != nil {
		s.admin.close()
	}
	s.cancelWork()
	s.reloadMu.Lock() // a reload that is under way ends first
	s.ended = true
	s.reloadMu.Unlock()
	if s.sources != nil {
		s.sources.close()
	}
	s.wg.Wait()
	if s.self != nil {
		ended, end := context.WithCancel(context.Background())
		end()
		s.self.withdraw(ended)
	}
	if s.shared != nil {
		s.shared.close()
	}
	if s.proxy != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.proxy.Close(ctx)
	}
	if s.sessions != nil {
		s.sessions.Close()
	}
	if s.embedded != nil {
		s.embedded.close()
	}
	if s.access != nil {
		return s.access.Close()
	}
	return nil
}

// announceStart tells where the balancer listens.
func (s *Server) announceStart() {
	addrs := s.Addrs()
	for i, a := range addrs.Listeners {
		s.log.Info("serving clients", "address", a.String(), "tls", s.doors[i].certs != nil)
	}
	s.log.Info("serving the API and the status page", "address", "http://"+addrs.Admin.String()+"/")
	if e := s.EtcdEndpoint(); e != "" {
		s.log.Info("serving etcd", "endpoint", e)
	}
}
