package containers

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// labelRun marks what the harness makes and carries the process that made it.
const labelRun = "loadbalancer.integration.run"

// staleAfter is the age at which what an earlier run left behind (it was killed) is removed. No run lasts that long.
const staleAfter = time.Hour

// engine is the Docker engine of this process.
type engine struct {
	provider *testcontainers.DockerProvider
	docker   client.APIClient
	version  string
}

// connect finds the Docker engine once. The error says why there is none.
var connect = sync.OnceValues(func() (*engine, error) {
	setEnvironment()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	provider, err := newProvider()
	if err != nil {
		return nil, err
	}
	docker := provider.Client()
	version, err := docker.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, fmt.Errorf("the engine does not answer: %w", err)
	}
	e := &engine{provider: provider, docker: docker, version: version.Version}
	e.sweep(ctx)
	return e, nil
})

// Engine returns the version of the Docker engine, or why there is none.
func Engine() (version string, err error) {
	e, err := connect()
	if err != nil {
		return "", err
	}
	return e.version, nil
}

// newProvider is the library's provider; it panics where it finds no engine at all.
func newProvider() (p *testcontainers.DockerProvider, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("no engine is found: %v", r)
		}
	}()
	return testcontainers.NewDockerProvider(testcontainers.WithLogger(tclog.NewNoopLogger()))
}

// setEnvironment prepares what the library reads once from the environment. What is set already stays.
func setEnvironment() {
	tclog.SetDefault(tclog.NewNoopLogger())
	if !mayPull() {
		// The library's own reaper is an image that would have to be pulled; see sweep for what takes its place.
		setDefault("TESTCONTAINERS_RYUK_DISABLED", "true")
	}
	if _, err := os.Stat("/.dockerenv"); err == nil {
		// The library takes this machine for a container and would look for mapped ports at its gateway.
		setDefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	}
}

func setDefault(name, value string) {
	if _, set := os.LookupEnv(name); !set {
		_ = os.Setenv(name, value)
	}
}

// mayPull reports whether images may be fetched from a registry.
func mayPull() bool { return os.Getenv("LBTEST_PULL_IMAGES") == "1" }

// sweep removes what runs that were killed left behind.
func (e *engine) sweep(ctx context.Context) {
	before := time.Now().Add(-staleAfter)
	filter := make(client.Filters).Add("label", labelRun)
	if list, err := e.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter}); err == nil {
		for _, c := range list.Items {
			if time.Unix(c.Created, 0).Before(before) {
				_, _ = e.docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			}
		}
	}
	if list, err := e.docker.NetworkList(ctx, client.NetworkListOptions{Filters: filter}); err == nil {
		for _, n := range list.Items {
			if n.Created.Before(before) {
				_, _ = e.docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
			}
		}
	}
}
