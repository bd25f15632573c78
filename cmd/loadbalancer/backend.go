package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vietddude/load-balancer/admin/client"
)

// adminFlags say which balancer is asked.
func adminFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "admin", Usage: "the balancer's admin `ADDRESS`", Value: "127.0.0.1:9901", EnvVars: []string{"LB_ADMIN_ADDRESS"}},
		&cli.StringFlag{Name: "token", Usage: "the admin's `TOKEN`; better in the environment, where others do not see it", EnvVars: []string{"LB_ADMIN_TOKEN"}},
		&cli.DurationFlag{Name: "timeout", Usage: "give up after this `TIME`", Value: 10 * time.Second},
	}
}

func backendCommand() *cli.Command {
	sub := func(name, args, usage string, n int, run func(ctx context.Context, c *cli.Context, b *client.Client, service, id string) (client.Change, error), flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, ArgsUsage: args, Usage: usage, OnUsageError: usageError, Flags: append(flags, adminFlags()...),
			Action: func(c *cli.Context) error {
				if c.NArg() != n {
					return cli.Exit(fmt.Sprintf("want %s %s; flags go before", name, args), exitUsage)
				}
				service, id, ok := strings.Cut(c.Args().First(), "/")
				if !ok || service == "" || id == "" {
					return cli.Exit(fmt.Sprintf("%q is not SERVICE/ID", c.Args().First()), exitUsage)
				}
				ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
				defer cancel()
				return told(c)(run(ctx, c, adminClient(c), service, id))
			},
		}
	}
	draining := func(on bool) func(context.Context, *cli.Context, *client.Client, string, string) (client.Change, error) {
		return func(ctx context.Context, _ *cli.Context, b *client.Client, service, id string) (client.Change, error) {
			return b.SetDraining(ctx, service, id, on)
		}
	}
	disabled := func(on bool) func(context.Context, *cli.Context, *client.Client, string, string) (client.Change, error) {
		return func(ctx context.Context, _ *cli.Context, b *client.Client, service, id string) (client.Change, error) {
			return b.SetDisabled(ctx, service, id, on)
		}
	}
	const one = "SERVICE/ID"
	return &cli.Command{
		Name:  "backend",
		Usage: "list and steer the backends of a running balancer, and of its fleet: drain, disable, weight, add, remove",
		Description: "Changes take effect within 50 ms, and go before what sources announce. With an etcd they are kept there, so\n" +
			"that all replicas and restarts keep them.",
		OnUsageError: usageError,
		Action:       namedNone,
		Subcommands: []*cli.Command{
			{Name: "list", ArgsUsage: "[SERVICE]", Usage: "show backends with their state", Flags: adminFlags(), OnUsageError: usageError, Action: listBackends},
			sub("drain", one, "send it nothing new but the exchanges of its sessions", 1, draining(true)),
			sub("undrain", one, "end a drain", 1, draining(false)),
			sub("disable", one, "send it nothing new at all", 1, disabled(true)),
			sub("enable", one, "end a disabling", 1, disabled(false)),
			sub("weight", one+" WEIGHT", "set its weight, 0 to 1000, or go back to the announced one: auto", 2, setWeight),
			sub("add", one+" URL", "add or replace a backend", 2, addBackend,
				&cli.IntFlag{Name: "weight", Usage: "share of the traffic", Value: 1}, &cli.StringFlag{Name: "zone", Usage: "`ZONE` in which it stands"}),
			sub("remove", one, "take it out, whoever announces it, until it is added or cleared", 1,
				func(ctx context.Context, _ *cli.Context, b *client.Client, service, id string) (client.Change, error) {
					return b.Remove(ctx, service, id)
				}),
			{Name: "overrides", Usage: "show what is steered, and where that is kept", Flags: adminFlags(), OnUsageError: usageError, Action: listOverrides},
			sub("clear", one, "take back all that is steered of it", 1,
				func(ctx context.Context, _ *cli.Context, b *client.Client, service, id string) (client.Change, error) {
					return b.Clear(ctx, service, id)
				}),
			{Name: "clear-all", Usage: "take back all that is steered", Flags: adminFlags(), OnUsageError: usageError, Action: clearAll},
		},
	}
}

func adminClient(c *cli.Context) *client.Client {
	return &client.Client{Address: c.String("admin"), Token: c.String("token")}
}

// told makes an exit of the answer to a change.
func told(c *cli.Context) func(client.Change, error) error {
	return func(ch client.Change, err error) error {
		if err != nil {
			return cli.Exit(err, exitFailure)
		}
		if ch.Note != "" {
			_, err = fmt.Fprintln(c.App.ErrWriter, "loadbalancer: "+ch.Note)
		}
		return err
	}
}

func setWeight(ctx context.Context, c *cli.Context, b *client.Client, service, id string) (client.Change, error) {
	text := c.Args().Get(1)
	if text == "auto" {
		return b.SetWeight(ctx, service, id, nil)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return client.Change{}, fmt.Errorf("the weight %q is no whole number, and not auto", text)
	}
	return b.SetWeight(ctx, service, id, &n)
}

func addBackend(ctx context.Context, c *cli.Context, b *client.Client, service, id string) (client.Change, error) {
	return b.Add(ctx, service, id, c.Args().Get(1), c.Int("weight"), c.String("zone"))
}

func listBackends(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	backends, err := adminClient(c).Backends(ctx, c.Args().First())
	if err != nil {
		return cli.Exit(err, exitFailure)
	}
	return client.ReportBackends(c.App.Writer, backends)
}

func listOverrides(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	overrides, kept, err := adminClient(c).Overrides(ctx)
	if err != nil {
		return cli.Exit(err, exitFailure)
	}
	return client.ReportOverrides(c.App.Writer, overrides, kept)
}

func clearAll(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	return told(c)(adminClient(c).ClearAll(ctx))
}
