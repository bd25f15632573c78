package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/register"
	"github.com/vietddude/load-balancer/server"
)

func registerCommand() *cli.Command {
	return &cli.Command{
		Name:      "register",
		Usage:     "keep a backend announced for as long as a command runs and is healthy",
		UsageText: "loadbalancer register --discovery URL --service NAME --url URL [options] [-- COMMAND ARGS…]",
		Description: "Announces the backend in etcd (a key with a lease) or Consul (a service with a TTL check), again after\n" +
			"an outage. While the check fails it is withdrawn. At SIGTERM or SIGINT it is announced as draining, deregistered\n" +
			"when that time has passed, and then the command is told; its exit code is ours. If it is killed, the store\n" +
			"forgets it after the time to live.\n\n" +
			"   loadbalancer register --discovery etcd://127.0.0.1:2379/lb --service web \\\n" +
			"       --url http://10.0.0.5:8080 --check /health -- ./server --port 8080",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "discovery", Usage: "announce in `URL`: etcd://…, consul://…, etcd or consul; may be repeated", Required: true},
			&cli.StringFlag{Name: "service", Usage: "`NAME` of the service", Required: true},
			&cli.StringFlag{Name: "url", Usage: "`URL` under which balancers reach the backend: http://host:port, https://host:port or host:port", Required: true},
			&cli.StringFlag{Name: "id", Usage: "`ID` of the backend, unique in its service (default: service and address)"},
			&cli.IntFlag{Name: "weight", Usage: "share of the traffic, 0 to 1000", Value: 1},
			&cli.StringFlag{Name: "zone", Usage: "`ZONE` in which it stands"},
			&cli.StringSliceFlag{Name: "meta", Usage: "`KEY=VALUE` to announce beside; may be repeated"},
			&cli.StringSliceFlag{Name: "tag", Usage: "`TAG` of the Consul service, as lb.host=shop.example.com; may be repeated"},
			&cli.StringFlag{Name: "check", Usage: "announce only while `PATH` is answered by 200 to 399, or while connecting succeeds: tcp"},
			&cli.DurationFlag{Name: "check-interval", Usage: "`TIME` from check to check", Value: register.DefaultCheckInterval},
			&cli.DurationFlag{Name: "check-timeout", Usage: "`TIME` that one check may take", Value: register.DefaultCheckTimeout},
			&cli.IntFlag{Name: "check-failures", Usage: "`NUMBER` of failures in a row that withdraw it", Value: register.DefaultFailures},
			&cli.DurationFlag{Name: "drain", Usage: "`TIME` to be announced as draining before the end; 0 for none", Value: register.DefaultDrain},
			&cli.DurationFlag{Name: "ttl", Usage: "`TIME` after which a killed registration is forgotten", Value: announce.DefaultTTL},
		},
		Action: registerBackend,
	}
}

func registerBackend(c *cli.Context) error {
	o, err := registerOptions(c)
	if err != nil {
		return cli.Exit(err, exitUsage)
	}
	if o.Places, err = server.Places(c.StringSlice("discovery"), o.Record.Service, o.Record.ID, o.TTL); err != nil {
		return cli.Exit(err, exitUsage)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, register.Signals...)
	defer signal.Stop(signals)
	o.Signals = signals
	code, err := register.Run(unsignalled(c.Context), o)
	switch {
	case err != nil:
		return cli.Exit(err, exitFailure)
	case code != 0:
		return cli.Exit("", code)
	}
	return nil
}

// unsignalled is a context that signals do not end: register is told of them itself. It ends with any other cause.
func unsignalled(ctx context.Context) context.Context {
	if ctx.Value(signalled{}) == nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// signalled marks the context that main has signals end.
type signalled struct{}

func registerOptions(c *cli.Context) (o register.Options, err error) {
	check, err := register.ParseCheck(c.String("check"), c.Duration("check-interval"), c.Duration("check-timeout"))
	if err != nil {
		return o, fmt.Errorf("--check: %w", err)
	}
	check.FailureThreshold = c.Int("check-failures")
	meta, err := keyValues(c.StringSlice("meta"))
	if err != nil {
		return o, fmt.Errorf("--meta: %w", err)
	}
	record := announce.Record{Service: c.String("service"), Tags: c.StringSlice("tag"), Backend: discovery.Backend{
		ID: c.String("id"), URL: c.String("url"), Weight: c.Int("weight"), Zone: c.String("zone"), Meta: meta,
	}}
	if record.ID == "" {
		record.ID = register.DefaultID(record.Service, record.URL)
	}
	if record, err = record.Check(); err != nil {
		return o, err
	}
	if ttl := c.Duration("ttl"); ttl < announce.MinTTL {
		return o, fmt.Errorf("--ttl: %v is too short; %v is the least", ttl, announce.MinTTL)
	}
	o = register.Options{
		Record: record, TTL: c.Duration("ttl"), Drain: c.Duration("drain"), Check: check, Command: c.Args().Slice(),
		Stdin: os.Stdin, Stdout: c.App.Writer, Stderr: c.App.ErrWriter,
		Logger: slog.New(slog.NewTextHandler(c.App.ErrWriter, nil)),
	}
	if o.Drain == 0 {
		o.Drain = -1
	}
	return o, nil
}

// keyValues reads KEY=VALUE.
func keyValues(pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not KEY=VALUE", p)
		}
		out[key] = value
	}
	return out, nil
}
