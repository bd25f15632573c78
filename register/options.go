package register

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/probe"
)

// Place is where the backend is announced.
type Place struct {
	// Name is for people: "etcd at 127.0.0.1:2379 under /lb".
	Name string
	Slot announce.Slot[announce.Record]
}

// Defaults of [Options].
const (
	DefaultDrain         = 5 * time.Second
	DefaultCheckInterval = 2 * time.Second
	DefaultCheckTimeout  = 2 * time.Second
	DefaultFailures      = 3
)

// Options configure [Run].
type Options struct {
	Record announce.Record
	Places []Place // at least one; they are closed when Run returns
	// TTL is how long the announcement outlives a process that is killed; 0 means announce.DefaultTTL.
	TTL time.Duration
	// Drain is how long the backend stays announced as draining on the way out; less than 0 means not at all.
	Drain time.Duration
	// Check is how the backend is probed; with an interval of 0 it counts as healthy for as long as the command runs.
	Check probe.Options
	// Command is run if there is any, with the process's environment.
	Command []string
	// Signals ends the registration when it brings SIGTERM or SIGINT, and are passed on to the command, these two after
	// the drain. Nil has none.
	Signals        <-chan os.Signal
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Logger is told what happens to the announcement; nil discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.TTL == 0 {
		o.TTL = announce.DefaultTTL
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Check.FailureThreshold == 0 {
		o.Check.FailureThreshold = DefaultFailures
	}
	var err error
	switch {
	case len(o.Places) == 0:
		return o, errors.New("no place to register in")
	case o.TTL < announce.MinTTL:
		return o, fmt.Errorf("a time to live of %v is too short; %v is the least", o.TTL, announce.MinTTL)
	}
	o.Record, err = o.Record.Check()
	return o, err
}

// ParseCheck reads what --check takes: a path, which is asked for by GET at the backend's address and has to be
// answered by 200 to 399, or the word tcp, which connects. Empty checks nothing.
func ParseCheck(text string, interval, timeout time.Duration) (probe.Options, error) {
	o := probe.Options{Interval: interval, Timeout: timeout}
	switch {
	case text == "":
		return probe.Options{}, nil
	case interval <= 0 || timeout <= 0:
		return o, fmt.Errorf("the check's interval and timeout are %v and %v; they must be more than 0", interval, timeout)
	case text == probe.TCP:
		o.Type = probe.TCP
	case strings.HasPrefix(text, "/"):
		o.Type, o.Path = probe.HTTP, text
	default:
		return o, fmt.Errorf("%q is no check; want a path, as /health, or tcp", text)
	}
	return o, nil
}

// DefaultID is the name of a backend that was given none: its service and address, which are unique on every machine.
func DefaultID(service, url string) string {
	_, address, found := strings.Cut(url, "://")
	if !found {
		address = url
	}
	return service + "-" + strings.NewReplacer("[", "", "]", "", ":", "-", "/", "").Replace(address)
}
