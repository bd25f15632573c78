package containers

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/vietddude/load-balancer/integration/programs"
)

const (
	startTimeout   = time.Minute
	cleanupTimeout = 30 * time.Second
	// logTail bounds what a failed test shows of each container's output.
	logTail = 8 << 10
)

// Lab is a Docker network and the containers on it. It belongs to one test and its goroutine.
type Lab struct {
	t        testing.TB
	engine   *engine
	networks []*testcontainers.DockerNetwork
	// network is where everybody is; quiet is where nobody is, and empty until it is needed.
	network, quiet string
}

// New makes an empty lab, which is removed when the test ends. Without a Docker engine it skips the test.
func New(t testing.TB) *Lab {
	t.Helper()
	e, err := connect()
	if err != nil {
		reason := strings.Join(strings.Fields(err.Error()), " ") // one line, whatever the library has to say
		t.Skipf("no Docker engine, tests in containers are skipped: %s", reason)
	}
	l := &Lab{t: t, engine: e}
	t.Cleanup(l.removeNetworks) // after the containers on them
	l.network = l.makeNetwork()
	return l
}

// makeNetwork makes a network that lasts as long as the lab and returns its name.
func (l *Lab) makeNetwork() string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	n, err := network.New(ctx, network.WithLabels(runLabel()))
	if err != nil {
		l.t.Fatalf("make a Docker network: %v", err)
	}
	l.networks = append(l.networks, n)
	return n.Name
}

func (l *Lab) removeNetworks() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	for _, n := range l.networks {
		if err := n.Remove(ctx); err != nil {
			l.t.Errorf("remove the Docker network %s: %v", n.Name, err)
		}
	}
}

func runLabel() map[string]string { return map[string]string{labelRun: strconv.Itoa(os.Getpid())} }

// spec says what runs in a container.
type spec struct {
	image *image
	// name is the container's host name on the lab's network.
	name string
	cmd  []string
	env  map[string]string
	// ports are made reachable from the test; ready waits until the container is of use.
	ports []string
	ready wait.Strategy
}

// start runs a container until the test ends. A program that is not available on this machine skips the test.
func (l *Lab) start(s spec) *Container {
	l.t.Helper()
	ref, err := s.image.resolve(l.engine)
	if errors.Is(err, programs.ErrUnavailable) {
		l.t.Skip(err)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*startTimeout)
	defer cancel()
	exposed := make([]string, len(s.ports))
	for i, port := range s.ports {
		exposed[i] = port + "/tcp"
	}
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithEntrypoint(s.image.name),
		testcontainers.WithCmd(s.cmd...),
		testcontainers.WithEnv(s.env),
		testcontainers.WithExposedPorts(exposed...),
		testcontainers.WithLabels(runLabel()),
		network.WithNetworkName([]string{s.name}, l.network),
	}
	if s.ready != nil {
		options = append(options, testcontainers.WithWaitStrategyAndDeadline(startTimeout, s.ready))
	}
	ctr, err := testcontainers.Run(ctx, ref, options...)
	c := &Container{t: l.t, lab: l, name: s.name, engine: l.engine, ctr: ctr}
	if ctr != nil {
		l.t.Cleanup(c.remove)
	}
	if err != nil {
		l.t.Fatalf("start %s: %v", s.name, err)
	}
	return c
}
