package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:  "diff",
		Usage: "show what a running balancer serves otherwise than announced; exit 1 if anything",
		Description: "Lists the backends and routes that the guard against mass deregistration holds back, and, where sources are\n" +
			"compared (merge: shadow), what they announce otherwise than the first one.",
		OnUsageError: usageError,
		Flags:        append(adminFlags(), &cli.BoolFlag{Name: "json", Usage: "print JSON"}),
		Action:       diff,
	}
}

func diff(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	d, err := adminClient(c).Diff(ctx)
	if err != nil {
		return cli.Exit(err, exitFailure)
	}
	if c.Bool("json") {
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		err = e.Encode(d)
	} else {
		err = d.Report(c.App.Writer)
	}
	if err == nil && d.Any() {
		err = cli.Exit("", exitFound)
	}
	return err
}

func guardCommand() *cli.Command {
	return &cli.Command{
		Name:         "guard",
		Usage:        "steer the guard against mass deregistration of a running balancer",
		OnUsageError: usageError,
		Action:       namedNone,
		Subcommands: []*cli.Command{{
			Name:         "release",
			Usage:        "obey the sources whose removals are held back",
			OnUsageError: usageError,
			Flags: append(adminFlags(),
				&cli.StringFlag{Name: "source", Usage: "obey the source of this `NAME` only"}),
			Action: release,
		}},
	}
}

func release(c *cli.Context) error {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("%q is too much; name a source by --source", strings.Join(c.Args().Slice(), " ")), exitUsage)
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	n, err := adminClient(c).ReleaseGuard(ctx, c.String("source"))
	if err != nil {
		return cli.Exit(err, exitFailure)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%d %s released\n", n, plural(n, "backend", "backends"))
	return err
}
