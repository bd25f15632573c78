package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/internal/filewatch"
)

// maxSize bounds the file.
const maxSize = 64 << 20

// Parse reads the text of a file. Its error refuses the whole; problems tell of items that were left out.
type Parse func(file string, data []byte) ([]discovery.Service, []discovery.Route, []discovery.Problem, error)

// Options configure a [Source].
type Options struct {
	// Name is the source's name; empty means file.
	Name string
	// Path is the file, which need not exist yet.
	Path string
	// Parse reads it. It must not be nil.
	Parse Parse
	// Logger is told when the file cannot be watched; nil means nobody is. Outages are told to the sink alone.
	Logger *slog.Logger
}

// Source announces what a file says. It runs once at a time.
type Source struct{ o Options }

var _ discovery.Source = (*Source)(nil)

// New returns a source for a file. It reports options that cannot work.
func New(o Options) (*Source, error) {
	if o.Name == "" {
		o.Name = "file"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Path == "":
		return nil, errors.New("file: the path is empty")
	case o.Parse == nil:
		return nil, errors.New("file: Options.Parse is nil")
	}
	if err := discovery.CheckName(o.Name); err != nil {
		return nil, fmt.Errorf("file: the source's name: %w", err)
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	o.Path = path
	return &Source{o: o}, nil
}

// ParseURL reads what --discovery takes: file:///path, or file:path relative to the working directory.
func ParseURL(raw string) (Options, error) {
	const want = "want file:///path"
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return Options{}, fmt.Errorf("file: the URL cannot be read; %s", want) // the error would repeat it
	case u.Scheme != "file":
		return Options{}, fmt.Errorf("file: the scheme %q is not file; %s", u.Scheme, want)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return Options{}, fmt.Errorf("file: the URL has more than a path; %s", want)
	case u.Host != "" && u.Host != "localhost":
		return Options{}, fmt.Errorf("file: %q has the host %q; a file is local: %s, with three slashes", raw, u.Host, want)
	}
	path := u.Path
	if u.Opaque != "" {
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return Options{}, fmt.Errorf("file: the URL cannot be read (%v); %s", err, want)
		}
	}
	if path == "" || strings.HasSuffix(path, "/") {
		return Options{}, fmt.Errorf("file: the URL names no file; %s", want)
	}
	return Options{Path: path}, nil
}

// Name is Options.Name.
func (s *Source) Name() string { return s.o.Name }

// Run announces into the sink until the context ends. Its error is always nil.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	watcher := filewatch.New(s.o.Path) // before the first look, so that no change in between is missed
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.watch(ctx, watcher, changed)
	}()
	defer func() { cancel(); <-ended }()

	r := reader{sink: sink, o: s.o, reason: "start"}
	for {
		r.read()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// watch tells of changes until the context ends.
func (s *Source) watch(ctx context.Context, watcher *filewatch.Watcher, changed chan<- struct{}) {
	err := watcher.Run(ctx, func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	})
	if err != nil && ctx.Err() == nil {
		s.o.Logger.Error("the file is not watched; restart to have it read again", "path", s.o.Path, "error", err)
	}
}

// reader announces versions of the file.
type reader struct {
	sink   discovery.Sink
	o      Options
	reason string // of the next resync
	last   string // the text that was announced last
	good   bool   // there was one, and no failure since
}

// read announces the file as it is now, unless that is what was announced last.
func (r *reader) read() {
	seen := time.Now()
	data, err := load(r.o.Path)
	if err == nil && r.good && string(data) == r.last {
		r.sink.Synced() // a sign of life
		return
	}
	var services []discovery.Service
	var routes []discovery.Route
	var problems []discovery.Problem
	if err == nil {
		services, routes, problems, err = r.o.Parse(r.o.Path, data)
	}
	if err != nil {
		r.good = false
		r.sink.Failed(err)
		return
	}
	r.announce(services, routes, problems, seen)
	r.last, r.good, r.reason = string(data), true, "changed"
}

// announce names everything.
func (r *reader) announce(services []discovery.Service, routes []discovery.Route, problems []discovery.Problem, seen time.Time) {
	r.sink.Resync(r.reason)
	for _, p := range problems {
		r.sink.Reject(p)
	}
	byName := map[string]discovery.Service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		s := byName[name]
		s.Seen = seen
		r.sink.Service(s)
	}
	for _, route := range routes {
		r.sink.Route(route)
	}
	r.sink.Synced()
}

// load reads a file of bounded size.
func load(path string) ([]byte, error) {
	// Before it is opened: a pipe would hold up whoever does.
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, fmt.Errorf("file: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("file: %s is a directory; name a file in it", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("file: %s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("file: %w", err)
	case len(data) > maxSize:
		return nil, fmt.Errorf("file: %s has more than %d MiB", path, maxSize>>20)
	}
	return data, nil
}
