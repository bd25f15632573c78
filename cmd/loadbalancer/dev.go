package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/internal/demo"
	"github.com/vietddude/load-balancer/server"
)

const (
	devService  = "web"
	devBackends = 3
	devPrefix   = "/lb"
	// devTTL is how long a demo backend outlives its process in etcd.
	devTTL = 5 * time.Second
)

func devCommand() *cli.Command {
	return &cli.Command{
		Name:  "dev",
		Usage: "try it: an etcd, three backends that register in it, and the balancer, in one process",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "serve clients on `ADDRESS`; port 0 picks a free one", Value: ":8080"},
			&cli.StringFlag{Name: "admin", Usage: "serve the API and the status page on `ADDRESS`", Value: "127.0.0.1:9901"},
			&cli.StringFlag{Name: "etcd", Usage: "serve etcd's clients on `ADDRESS`", Value: server.DefaultEtcdAddress},
			&cli.StringFlag{Name: "log-level", Usage: "log from `LEVEL` up: debug, info, warn or error", Value: "warn"},
		},
		OnUsageError: usageError,
		Action:       dev,
	}
}

// dev runs the whole world of a balancer until the context ends, and takes it down in the reverse order.
func dev(c *cli.Context) (err error) {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("dev takes no argument %q", c.Args().First()), exitUsage)
	}
	override, err := overrides(c)
	if err != nil {
		return cli.Exit(err, exitUsage)
	}
	s, err := server.New(c.Context, server.Options{
		EtcdAddress: c.String("etcd"),
		LogOutput:   c.App.ErrWriter,
		Version:     buildVersion(),
		Override: func(cfg *config.Config) error {
			cfg.Discovery = []string{"embedded"}
			cfg.DefaultService = devService
			return override(cfg)
		},
	})
	if err != nil {
		return cli.Exit(err, exitFailure)
	}
	// The backends outlive the balancer, so that what is under way can finish.
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context))
	world, err := startDemo(ctx, s.EtcdEndpoint())
	if err != nil {
		cancel()
		return cli.Exit(errors.Join(err, s.Close()), exitFailure)
	}
	introduce(c.App.Writer, s, world)
	runErr := s.RunThen(c.Context, func() {
		cancel()
		world.close()
	})
	if runErr != nil {
		return cli.Exit(runErr, exitFailure)
	}
	fmt.Fprintln(c.App.Writer, "stopped")
	return nil
}

// demoWorld is the demo's backends: the registered ones, and a spare one for the user to add.
type demoWorld struct {
	backends   []*demo.Server
	spare      *demo.Server
	client     *clientv3.Client
	registered chan struct{} // closed when the last registration has ended
}

// startDemo starts the backends and registers all but the spare one; they leave when the context ends.
func startDemo(ctx context.Context, endpoint string) (*demoWorld, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", endpoint, err)
	}
	w := &demoWorld{client: client, registered: make(chan struct{})}
	for i := range devBackends + 1 {
		b, err := demo.Start(ctx, demo.Options{Addr: "127.0.0.1:0", Name: fmt.Sprintf("backend-%d", i+1)})
		if err != nil {
			close(w.registered)
			w.close()
			return nil, err
		}
		if i == devBackends {
			w.spare = b
		} else {
			w.backends = append(w.backends, b)
		}
	}
	done := make(chan error, len(w.backends))
	for i, b := range w.backends {
		go func() {
			done <- demo.Register(ctx, client, devPrefix, devService, fmt.Sprintf("backend-%d", i+1), b.URL(), devTTL)
		}()
	}
	go func() {
		defer close(w.registered)
		for range w.backends {
			<-done
		}
	}()
	return w, nil
}

// close waits for the registrations to be taken back and stops the backends. Their context must have ended.
func (w *demoWorld) close() {
	<-w.registered
	_ = w.client.Close()
	for _, b := range append(w.backends, w.spare) {
		if b != nil {
			_ = b.Close()
		}
	}
}

// introduce prints what runs and what to try.
func introduce(out io.Writer, s *server.Server, w *demoWorld) {
	addrs := s.Addrs()
	client, admin := "http://"+reachable(addrs.Listeners[0]), "http://"+reachable(addrs.Admin)
	endpoint := s.EtcdEndpoint()
	fmt.Fprintf(out, "etcd       %s  (keys under %s)\n", endpoint, devPrefix)
	for i, b := range w.backends {
		fmt.Fprintf(out, "backend-%d  %s  service %s, registered with a lease of %v\n", i+1, b.URL(), devService, devTTL)
	}
	fmt.Fprintf(out, "backend-%d  %s  running, not registered\n", devBackends+1, w.spare.URL())
	fmt.Fprintf(out, "balancer   %s\nadmin      %s\n\n", client, admin)
	fmt.Fprintf(out, "Try, in another terminal:\n")
	fmt.Fprintf(out, "  curl %s/\n", client)
	fmt.Fprintf(out, "  ETCDCTL_API=3 etcdctl --endpoints=%s put %s/services/%s/backend-%d %s\n",
		endpoint, devPrefix, devService, devBackends+1, w.spare.URL())
	fmt.Fprintf(out, "  open %s/ in a browser\n\n", admin)
	fmt.Fprintf(out, "Ctrl-C stops all of it.\n")
}

// reachable is an address to type: that of the loopback for one that listens everywhere.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
