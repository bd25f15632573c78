package containers

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	dockernet "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// Container is a running program. Its methods fail the test when the engine refuses.
type Container struct {
	t      testing.TB
	lab    *Lab
	name   string
	engine *engine
	ctr    *testcontainers.DockerContainer
}

// Addr is where the test reaches a port of the container. It may change with [Container.Start].
func (c *Container) Addr(port string) string {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	addr, err := c.ctr.PortEndpoint(ctx, port+"/tcp", "")
	if err != nil {
		c.t.Fatalf("%s: port %s: %v", c.name, port, err)
	}
	if host, number, err := net.SplitHostPort(addr); err == nil && host == "localhost" {
		addr = net.JoinHostPort("127.0.0.1", number) // where the engine publishes ports; ::1 may be somebody else's
	}
	return addr
}

// Pause freezes the container: its connections stay open and nothing answers.
func (c *Container) Pause() {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	_, err := c.engine.docker.ContainerPause(ctx, c.ctr.GetContainerID(), client.ContainerPauseOptions{})
	c.must("pause", err)
}

// Unpause ends [Container.Pause].
func (c *Container) Unpause() {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	_, err := c.engine.docker.ContainerUnpause(ctx, c.ctr.GetContainerID(), client.ContainerUnpauseOptions{})
	c.must("unpause", err)
}

// Kill ends the container's program at once and leaves the container for [Container.Start].
func (c *Container) Kill() {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	_, err := c.engine.docker.ContainerKill(ctx, c.ctr.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"})
	c.must("kill", err)
	result := c.engine.docker.ContainerWait(ctx, c.ctr.GetContainerID(), client.ContainerWaitOptions{Condition: "not-running"})
	select {
	case err := <-result.Error:
		c.must("wait for the end of", err)
	case <-result.Result:
	}
}

// Start runs a killed container again, on the files that it had, and waits until it is of use.
func (c *Container) Start() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*startTimeout)
	defer cancel()
	c.must("start", c.ctr.Start(ctx))
}

// Isolate takes the container off the lab's network, where what was open hangs from then on, without cutting the test's
// own way to it. Its address for the test may change.
func (c *Container) Isolate() {
	c.t.Helper()
	if c.lab.quiet == "" {
		c.lab.quiet = c.lab.makeNetwork()
	}
	c.move(c.lab.network, c.lab.quiet)
}

// Rejoin ends [Container.Isolate].
func (c *Container) Rejoin() {
	c.t.Helper()
	c.move(c.lab.quiet, c.lab.network)
}

func (c *Container) move(from, to string) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	id := c.ctr.GetContainerID()
	_, err := c.engine.docker.NetworkConnect(ctx, to, client.NetworkConnectOptions{
		Container: id, EndpointConfig: &dockernet.EndpointSettings{Aliases: []string{c.name}},
	})
	c.must("connect", err)
	_, err = c.engine.docker.NetworkDisconnect(ctx, from, client.NetworkDisconnectOptions{Container: id, Force: true})
	c.must("disconnect", err)
}

// Logs returns the end of the container's output.
func (c *Container) Logs() string {
	ctx, cancel := c.context()
	defer cancel()
	r, err := c.ctr.Logs(ctx)
	if err != nil {
		return fmt.Sprintf("(no output: %v)", err)
	}
	defer r.Close()
	text, _ := io.ReadAll(r)
	if len(text) > logTail {
		text = append([]byte("…"), text[len(text)-logTail:]...)
	}
	return string(text)
}

// remove ends the container and shows its output if the test failed.
func (c *Container) remove() {
	if c.t.Failed() {
		c.t.Logf("output of %s:\n%s", c.name, c.Logs())
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	_, err := c.engine.docker.ContainerRemove(ctx, c.ctr.GetContainerID(), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil {
		c.t.Errorf("remove %s: %v", c.name, err)
	}
}

func (c *Container) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), cleanupTimeout)
}

func (c *Container) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s %s: %v", what, c.name, err)
	}
}
