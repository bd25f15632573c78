package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/discovery/file"
	"github.com/vietddude/load-balancer/routing"
)

// configSource is the name under which the configuration's own backends and routes are announced. It is stronger than
// every discovered source.
const configSource = "config"

// sources are the running discovery sources. The set changes at reloads; a source whose URL stays keeps running.
type sources struct {
	log *slog.Logger
	// embedded starts the etcd server inside the process unless it runs, and returns its endpoint.
	embedded func(context.Context) (string, error)
	// feedback is what is wrong with a source's items, and whether it is for this replica to write that back; nil for no
	// writing back.
	feedback func(source string) ([]discovery.Problem, bool)

	mu      sync.Mutex                // guards running
	running map[string]*runningSource // by URL
	wg      sync.WaitGroup
}

func newSources(log *slog.Logger, embedded func(context.Context) (string, error)) *sources {
	return &sources{log: log, embedded: embedded}
}

// runningSource is one source and how to end it.
type runningSource struct {
	source discovery.Source
	// heir says that another source had its name until now, whose announcements stay until this one is in step.
	heir   bool
	cancel context.CancelFunc // nil until it is started
	done   chan struct{}      // closed when Run has returned
}

// plan says which sources a new list of URLs keeps and which it adds, without touching those that run. Every URL that
// cannot be a source is in the error; then the etcd inside the process is not started either.
func (s *sources) plan(ctx context.Context, urls []string) (map[string]*runningSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*runningSource, len(urls))
	taken := map[string]bool{configSource: true, routing.SourceAdmin: true}
	for _, u := range urls {
		if r := s.running[u]; r != nil {
			next[u] = r
			taken[r.source.Name()] = true
		}
	}
	names := make(map[string]string, len(urls))
	for _, u := range urls {
		if next[u] == nil {
			names[u] = sourceName(sourceKind(u), taken)
			taken[names[u]] = true
		}
	}
	var errs []error
	for _, embedded := range []bool{false, true} {
		for _, u := range urls {
			if next[u] != nil || embedded != (sourceKind(u) == kindEmbedded) || embedded && errs != nil {
				continue
			}
			src, err := s.open(ctx, u, names[u])
			if err != nil {
				errs = append(errs, fmt.Errorf("discovery: %w", err))
				continue
			}
			next[u] = &runningSource{source: src, done: make(chan struct{})}
		}
	}
	return next, errors.Join(errs...)
}

// kindEmbedded is the kind of source that is the etcd inside the process.
const kindEmbedded = "embedded"

// sourceKind is the scheme of a source's URL, or the word that it is.
func sourceKind(url string) string {
	kind, _, _ := strings.Cut(url, ":")
	return kind
}

// sourceName is a name for a source that no other has.
func sourceName(kind string, taken map[string]bool) string {
	if kind == kindEmbedded {
		kind = "etcd"
	}
	name := kind
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", kind, i)
	}
	return name
}

// open makes the source of a URL.
func (s *sources) open(ctx context.Context, raw, name string) (discovery.Source, error) {
	log := s.log.With("source", name)
	switch kind := sourceKind(raw); kind {
	case "etcd":
		o, err := etcd.ParseURL(raw, os.Getenv)
		if err != nil {
			return nil, err
		}
		o.Name, o.Decoder = name, decoder{}
		return s.etcd(o, log)
	case kindEmbedded:
		if raw != kindEmbedded && raw != kindEmbedded+"://" {
			return nil, errors.New("embedded stands alone; --etcd says where its clients are served")
		}
		endpoint, err := s.embedded(ctx)
		if err != nil {
			return nil, err
		}
		o, err := etcd.ParseURL("etcd://"+strings.TrimPrefix(endpoint, "http://"), os.Getenv)
		if err != nil {
			return nil, err
		}
		o.Name, o.Decoder = name, decoder{}
		return etcd.New(o)
	case "consul":
		o, err := consul.ParseURL(raw, os.Getenv)
		if err != nil {
			return nil, err
		}
		o.Name, o.Decoder, o.Logger = name, decoder{}, log
		return consul.New(o)
	case "file":
		o, err := file.ParseURL(raw)
		if err != nil {
			return nil, err
		}
		o.Name, o.Parse, o.Logger = name, parseAnnouncement, log
		return file.New(o)
	default:
		return nil, fmt.Errorf("the scheme %q is none of consul, etcd, file and embedded", kind)
	}
}

// etcd makes an etcd source, which writes back what it rejects if its URL asks for it.
func (s *sources) etcd(o etcd.Options, log *slog.Logger) (discovery.Source, error) {
	src, err := etcd.New(o)
	if err != nil || !o.Feedback || s.feedback == nil {
		return src, err
	}
	store, err := etcd.NewStore(o)
	if err != nil {
		return nil, err
	}
	return &feedback{Source: src, store: store, problems: s.feedback, log: log}, nil
}

// sourceNames are the names of all sources in order of precedence: the configuration itself, if it announces anything,
// and the discovered ones.
func sourceNames(cfg *config.Config, set map[string]*runningSource) []string {
	out := make([]string, 0, len(cfg.Discovery)+1)
	if announces(cfg) {
		out = append(out, configSource)
	}
	for _, u := range cfg.Discovery {
		out = append(out, set[u].source.Name())
	}
	return out
}

// apply makes a plan the set of sources: it ends those that the plan leaves out.
func (s *sources) apply(next map[string]*runningSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := map[string]bool{}
	for u, r := range s.running {
		if next[u] == nil {
			r.stop()
			left[r.source.Name()] = true
		}
	}
	for u, r := range next {
		if name := r.source.Name(); s.running[u] == nil && s.running != nil {
			r.heir = left[name]
			delete(left, name)
			s.log.Info("source added", "source", name, "replaces", r.heir)
		}
	}
	for name := range left {
		s.log.Info("source removed", "source", name)
	}
	s.running = next
}

// errHeir is what is wrong with a source that a reload put in another's place until it is in step.
var errHeir = errors.New("the source is new since the last reload and has not been in step yet; what the one before announced stays")

// run starts the sources that do not run yet.
func (s *sources) run(ctx context.Context, sink func(name string) discovery.Sink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		if r.cancel != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		r.cancel = cancel
		to := sink(r.source.Name())
		if r.heir {
			to.Failed(errHeir)
		}
		s.wg.Go(func() {
			defer close(r.done)
			s.runSource(ctx, r.source, newLogSink(to, s.log.With("source", r.source.Name())))
		})
	}
}

func (s *sources) runSource(ctx context.Context, src discovery.Source, sink discovery.Sink) {
	if err := src.Run(ctx, sink); err != nil && ctx.Err() == nil {
		sink.Failed(fmt.Errorf("the source cannot work as configured: %w", err))
	}
}

// stop ends a source and waits for it.
func (r *runningSource) stop() {
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

// close ends all sources and waits for them.
func (s *sources) close() {
	s.mu.Lock()
	for _, r := range s.running {
		if r.cancel != nil {
			r.cancel()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// decoder reads the blocks that sources carry as text by the configuration's grammar.
type decoder struct{}

var _ discovery.Decoder = decoder{}

func (decoder) Route(name string, text []byte) (discovery.Route, error) {
	r, err := config.ParseRoute(name, text)
	if err != nil {
		return discovery.Route{}, err
	}
	return route(r), nil
}

func (decoder) CheckPolicy(text []byte) error { return config.CheckPolicy(text) }
