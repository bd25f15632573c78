package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/discovery/file"
	"github.com/vietddude/load-balancer/routing"
)

// LintFormat is what a text to be checked is.
type LintFormat string

// The formats of [Lint]. The zero value looks at the text.
const (
	LintAuto   LintFormat = ""
	LintConsul LintFormat = "consul" // service definitions, as agents read them and their API takes them
	LintEtcd   LintFormat = "etcd"   // lines of key=value
	LintFile   LintFormat = "file"   // services: and routes: in YAML or JSON
)

// LintOptions say how [Lint] reads a text.
type LintOptions struct {
	Format LintFormat
	// Etcd is the URL of the source that will read the keys, for its prefix and format; empty means etcd:///lb.
	Etcd string
	// Consul is the URL of the source that will read the services, for its tag; empty means consul://127.0.0.1.
	Consul string
}

// Lint tells what a balancer would reject of a text that is to be put into a store, and why. Nothing is connected to. The
// error says that the text is none of what can be checked.
func Lint(name string, text []byte, o LintOptions) ([]discovery.Problem, error) {
	if o.Format == LintAuto {
		o.Format = lintFormat(text)
	}
	switch o.Format {
	case LintConsul:
		return lintConsul(name, text, o.Consul)
	case LintEtcd:
		return lintEtcd(name, text, o.Etcd)
	case LintFile:
		return file.Lint(parseAnnouncement, name, text), nil
	}
	return nil, fmt.Errorf("the format %q is none of %s, %s, %s", o.Format, LintConsul, LintEtcd, LintFile)
}

// lintFormat is what a text seems to be: JSON with a service, a list of services or a name is Consul's, a line that begins
// with a slash is etcd's, all else is a file of ours.
func lintFormat(text []byte) LintFormat {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil {
		for key, value := range object {
			switch strings.ToLower(key) {
			case "service", "name":
				return LintConsul
			case "services":
				if value = bytes.TrimSpace(value); len(value) > 0 && value[0] == '[' {
					return LintConsul
				}
			}
		}
		return LintFile
	}
	if t := bytes.TrimSpace(text); len(t) > 0 && t[0] == '[' {
		return LintConsul
	}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			if line[0] == '/' {
				return LintEtcd
			}
			break
		}
	}
	return LintFile
}

// definition is a service as an agent's configuration and API have it; names of keys are matched whatever their case.
type definition struct {
	ID, Name, Address string
	Port              int
	Tags              []string
	Meta              map[string]string
	Weights           *struct{ Passing, Warning int }
}

// lintConsul checks {"service": …}, {"services": […]}, a list of services, or one service.
func lintConsul(name string, text []byte, url string) ([]discovery.Problem, error) {
	if url == "" {
		url = "consul://127.0.0.1"
	}
	options, err := consul.ParseURL(url, os.Getenv)
	if err != nil {
		return nil, err
	}
	options.Decoder = decoder{}
	definitions, err := readDefinitions(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no service definition of Consul: %w", name, err)
	}
	var instances []consul.Instance
	for _, d := range definitions {
		in := consul.Instance{Service: d.Name, ID: d.ID, Address: d.Address, Port: d.Port, Tags: d.Tags, Meta: d.Meta, Node: name}
		if d.Weights != nil {
			in.PassingWeight, in.WarningWeight = d.Weights.Passing, d.Weights.Warning
		}
		instances = append(instances, in)
	}
	return consul.Lint(options, instances), nil
}

func readDefinitions(text []byte) ([]definition, error) {
	var whole struct {
		Service, Services json.RawMessage
		Name              string
	}
	text = bytes.TrimSpace(text)
	if len(text) > 0 && text[0] == '[' {
		return oneOrMore(text)
	}
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	var all []definition
	for _, part := range []json.RawMessage{whole.Service, whole.Services} {
		if part != nil {
			ds, err := oneOrMore(part)
			if err != nil {
				return nil, err
			}
			all = append(all, ds...)
		}
	}
	if whole.Name != "" {
		return oneOrMore(text)
	}
	if len(all) == 0 {
		return nil, errors.New("it has neither service nor services nor a name")
	}
	return all, nil
}

func oneOrMore(text []byte) (ds []definition, err error) {
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] == '[' {
		err = json.Unmarshal(text, &ds)
		return ds, err
	}
	var d definition
	err = json.Unmarshal(text, &d)
	return []definition{d}, err
}

// lintEtcd checks lines of key=value. Empty ones, and those that begin with #, are passed over.
func lintEtcd(name string, text []byte, url string) ([]discovery.Problem, error) {
	if url == "" {
		url = "etcd:///" + strings.TrimPrefix(etcd.DefaultPrefix, "/")
	}
	options, err := etcd.ParseURL(url, os.Getenv)
	if err != nil {
		return nil, err
	}
	options.Decoder = decoder{}
	var problems []discovery.Problem
	seen := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		place := fmt.Sprintf("%s:%d", name, n)
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			problems = append(problems, discovery.Problem{Key: place, Code: discovery.CodeBadValue, Detail: "the line is not key=value"})
			continue
		}
		if first, twice := seen[key]; twice {
			problems = append(problems, discovery.Problem{Key: place + " " + key, Code: discovery.CodeDuplicate,
				Detail: fmt.Sprintf("the key stands on line %d already", first)})
		}
		seen[key] = n
		for _, p := range etcd.Lint(options, key, []byte(value)) {
			p.Key = place + " " + p.Key
			problems = append(problems, p)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return problems, nil
}

// LintStore tells what a balancer would reject of what a store holds now, and why. It returns when the source of the URL
// was in step once; the error says why it was not before the context ended.
func LintStore(ctx context.Context, url string) ([]discovery.Problem, error) {
	set := newSources(slog.New(slog.DiscardHandler), func(context.Context) (string, error) {
		return "", errors.New("the etcd inside a balancer is reached by its address, as etcd://127.0.0.1:2379")
	})
	src, err := set.open(ctx, url, sourceName(sourceKind(url), map[string]bool{}))
	if err != nil {
		return nil, err
	}
	defaults, err := config.Parse("", []byte("{}"))
	if err != nil {
		return nil, err
	}
	resolver := &Server{}
	resolver.config.Store(defaults)
	catalog := routing.NewCatalog(routing.Options{Sources: []string{src.Name()}, Resolve: resolver.resolve})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	outage := &firstOutage{Sink: catalog.Sink(src.Name()), told: make(chan error, 1)}
	wg.Go(func() { catalog.Run(ctx) })
	wg.Go(func() {
		if err := src.Run(ctx, outage); err != nil {
			outage.Failed(err)
		}
	})
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for ready := false; !ready; ready, _ = catalog.Ready() {
		select {
		case <-look.C:
		case err := <-outage.told:
			return nil, err
		case <-ctx.Done():
			return nil, fmt.Errorf("%s was not in step in time: %w", config.RedactURL(url), ctx.Err())
		}
	}
	var problems []discovery.Problem
	for _, s := range catalog.Status().Sources {
		problems = append(problems, s.Problems...)
	}
	for _, p := range catalog.Table().Problems() {
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// firstOutage hands on the first failure of a source.
type firstOutage struct {
	discovery.Sink
	told chan error
}

func (o *firstOutage) Failed(err error) {
	select {
	case o.told <- err:
	default:
	}
	o.Sink.Failed(err)
}
