//go:build linux

// Command peers measures this balancer, HAProxy and nginx side by side: what CPU time the whole process of each takes per
// request, how many requests a second it gives, with what latency, and what memory an idle connection costs.
//
//	go build -o bin/loadbalancer ./cmd/loadbalancer
//	go run ./bench/peers --balancer bin/loadbalancer
//	go run ./bench/peers --balancer before=/tmp/old --balancer after=bin/loadbalancer --scenario small,64k --rounds 7
//
// All proxies take turns within each round, each time as a new process, so that what changes on the machine meanwhile
// strikes all alike; figures are medians over the rounds, ratios are medians of each round's. Everything runs on the
// loopback of one Linux machine.
//
// The balancer runs as it would be installed: backends from etcd, probes, breakers, metrics. HAProxy probes as well; nginx
// cannot.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vietddude/load-balancer/bench/peers/backend"
	"github.com/vietddude/load-balancer/bench/peers/load"
)

// Roles that the program takes in processes of their own.
const (
	roleLoad    = "load"
	roleBackend = "backend"
)

func main() {
	runtime.LockOSThread() // children are started from the main thread, which lasts as long as the process
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == roleLoad:
		err = load.Run(os.Stdin, os.Stdout)
	case len(os.Args) == 2 && os.Args[1] == roleBackend:
		err = serveBackend()
	default:
		err = compare(os.Args[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// serveBackend listens on as many addresses as its input says, writes them, and serves until it is killed.
func serveBackend() error {
	var n int
	if err := json.NewDecoder(os.Stdin).Decode(&n); err != nil {
		return err
	}
	s, err := backend.New(n)
	if err != nil {
		return err
	}
	s.Alone()
	if err := json.NewEncoder(os.Stdout).Encode(s.Addrs()); err != nil {
		return err
	}
	return s.Serve()
}

// texts is a flag that may be repeated.
type texts []string

func (t *texts) String() string     { return strings.Join(*t, ", ") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

type options struct {
	balancers                       texts
	proxies, scenarios, modes       string
	rounds, retries                 int
	seconds, warmup, quiet          float64
	markdown, json, title, comments string
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.Var(&o.balancers, "balancer", "`FILE` or NAME=FILE of a binary of this balancer; may be repeated (bin/loadbalancer)")
	f.StringVar(&o.proxies, "proxies", "all", "`LIST` of proxies, as haproxy,nginx,loadbalancer")
	f.StringVar(&o.scenarios, "scenario", "all", "`LIST` of scenarios, as small,64k")
	f.StringVar(&o.modes, "mode", "all", "`LIST` of pinned (the proxy on one CPU, all else on the others) and shared (all on all)")
	f.IntVar(&o.rounds, "rounds", 7, "how often everything is measured")
	f.Float64Var(&o.seconds, "seconds", 5, "how long each measurement takes")
	f.Float64Var(&o.warmup, "warmup", 1, "seconds of load before it")
	f.Float64Var(&o.quiet, "quiet", 0.15, "repeat a measurement when anything else used more CPUs than this")
	f.IntVar(&o.retries, "retries", 1, "how often at most; the quietest one counts")
	f.StringVar(&o.title, "title", "Beside its peers", "heading of the report")
	f.StringVar(&o.comments, "note", "", "a `TEXT` that the report repeats, as on what else the machine did")
	f.StringVar(&o.markdown, "markdown", "", "write the report to `FILE` too")
	f.StringVar(&o.json, "json", "", "write all samples to `FILE`, after each round")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if len(o.balancers) == 0 {
		o.balancers = texts{"bin/loadbalancer"}
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rounds < 1 || o.seconds <= 0 || o.warmup < 0 || o.retries < 0:
		return o, errors.New("--rounds and --seconds must be positive, --warmup and --retries not negative")
	}
	return o, nil
}

func compare(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	r, err := plan(o)
	if err != nil {
		return err
	}
	if r.files, err = raiseFiles(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	runErr := r.run(ctx)
	if len(r.results.Samples) == 0 {
		return runErr
	}
	report := r.results.markdown()
	fmt.Print(report)
	if o.markdown != "" {
		runErr = errors.Join(runErr, os.WriteFile(o.markdown, []byte(report), 0o644))
	}
	return runErr
}

// raiseFiles sets the limit of open files to the most that is allowed, which children inherit, and returns it.
func raiseFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	if limit.Max < minFiles {
		return 0, fmt.Errorf("%d open files are needed and %d allowed; raise the limit (ulimit -Hn)", minFiles, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("setrlimit: %w", err)
	}
	return int(limit.Max), nil
}

// plan resolves names and looks for programs.
func plan(o options) (*runner, error) {
	on, err := allowed()
	if err != nil {
		return nil, err
	}
	ms, err := modes(o.modes, on)
	if err != nil {
		return nil, err
	}
	scs, err := selected(scenarios(), func(s scenario) string { return s.name }, o.scenarios, "scenario")
	if err != nil {
		return nil, err
	}
	all, err := selected(peers(o.balancers), func(p peer) string { return p.name }, o.proxies, "proxy")
	if err != nil {
		return nil, err
	}
	there, missing, err := lookUp(all, func(p peer) bool { return o.proxies != "all" || p.config == balancerConfig })
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "not installed, left out: %s\n", strings.Join(missing, ", "))
	}
	r := &runner{options: o, modes: ms, scenarios: scs, peers: there, cpus: on}
	r.results = describe(o, on, there)
	if o.json != "" {
		if r.jsonFile, err = filepath.Abs(o.json); err != nil {
			return nil, err
		}
	}
	r.warmup, r.duration = seconds(o.warmup), seconds(o.seconds)
	return r, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
