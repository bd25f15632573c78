package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/internal/gcpace"
	"github.com/vietddude/load-balancer/server"
)

func serveFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read the configuration from `FILE` (YAML or JSON), and again whenever it changes", TakesFile: true},
		&cli.StringSliceFlag{Name: "discovery", Usage: "take backends from `URL`: consul://…, etcd://…, file:///…, consul, etcd or embedded; may be repeated, the first wins"},
		&cli.StringFlag{Name: "service", Usage: "have service `NAME` answer whatever no route matches"},
		&cli.StringFlag{Name: "zone", Usage: "stand in `ZONE`: backends of the same zone are preferred"},
		&cli.StringFlag{Name: "listen", Usage: "serve clients on `ADDRESS`, as :8080 or 127.0.0.1:8080; port 0 picks a free one"},
		&cli.StringFlag{Name: "admin", Usage: "serve the API, the metrics and the status page on `ADDRESS`"},
		&cli.StringFlag{Name: "etcd", Usage: "with --discovery embedded: the `ADDRESS` of etcd's clients", Value: server.DefaultEtcdAddress},
		&cli.StringFlag{Name: "log-level", Usage: "log from `LEVEL` up: debug, info, warn or error"},
		&cli.StringFlag{Name: "log-format", Usage: "log in `FORMAT`: text or json"},
	}
}

// serve is what the program does without a subcommand.
func serve(c *cli.Context) error {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("%q is no command; see loadbalancer --help", c.Args().First()), exitUsage)
	}
	override, err := overrides(c)
	if err != nil {
		return cli.Exit(err, exitUsage)
	}
	opts := server.Options{
		ConfigFile:  c.String("config"),
		Environment: os.Environ(),
		Override:    override,
		EtcdAddress: c.String("etcd"),
		LogOutput:   c.App.ErrWriter,
		Version:     buildVersion(),
	}
	defer gcpace.Start()()
	s, err := server.New(c.Context, opts)
	if err != nil {
		var problems config.Problems
		if errors.As(err, &problems) {
			return cli.Exit(fmt.Sprintf("the configuration is refused:\n%v", problems), exitFound)
		}
		return cli.Exit(err, exitFailure)
	}
	return serveUntilDone(c.Context, s)
}

// serveUntilDone runs a balancer until the context ends; SIGHUP reloads it meanwhile.
func serveUntilDone(ctx context.Context, s *server.Server) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go reloadOnSignal(ctx, hup, s)
	if err := s.Run(ctx); err != nil {
		return cli.Exit(err, exitFailure)
	}
	return nil
}

// reloadOnSignal reloads at each signal until the context ends; the server itself logs what came of it.
func reloadOnSignal(ctx context.Context, hup <-chan os.Signal, s *server.Server) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			_ = s.Reload()
		}
	}
}

// overrides returns what the flags change in a configuration that was read from file and environment.
func overrides(c *cli.Context) (func(*config.Config) error, error) {
	var listen *hostPort
	if c.IsSet("listen") {
		hp, err := parseHostPort(c.String("listen"))
		if err != nil {
			return nil, fmt.Errorf("--listen: %w", err)
		}
		listen = &hp
	}
	if c.IsSet("admin") {
		if _, err := parseHostPort(c.String("admin")); err != nil {
			return nil, fmt.Errorf("--admin: %w", err)
		}
	}
	var level *slog.Level
	if text := c.String("log-level"); text != "" {
		level = new(slog.Level)
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", text)
		}
	}
	if f := c.String("log-format"); f != "" && f != "text" && f != "json" {
		return nil, fmt.Errorf("--log-format: %q is neither text nor json", f)
	}
	return func(cfg *config.Config) error {
		if listen != nil {
			if len(cfg.Listen) > 1 {
				return errors.New("--listen overrides a single listener, and the configuration has several; leave the flag out")
			}
			cfg.Listen[0].Address, cfg.Listen[0].Port = listen.host, listen.port
		}
		if c.IsSet("admin") {
			cfg.Admin.Address = c.String("admin")
		}
		if c.IsSet("discovery") {
			cfg.Discovery = c.StringSlice("discovery")
		}
		if c.IsSet("service") {
			cfg.DefaultService = c.String("service")
		}
		if c.IsSet("zone") {
			cfg.Zone = c.String("zone")
		}
		if level != nil {
			cfg.Log.Level = *level
		}
		if f := c.String("log-format"); f != "" {
			cfg.Log.Format = f
		}
		return nil
	}, nil
}

type hostPort struct {
	host string
	port int
}

// parseHostPort reads host:port or :port, as flags have it.
func parseHostPort(s string) (hostPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return hostPort{}, fmt.Errorf("%q is no address; want host:port or :port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return hostPort{}, fmt.Errorf("the port %q of %q is not 0 to 65535", port, s)
	}
	return hostPort{host, int(n)}, nil
}
