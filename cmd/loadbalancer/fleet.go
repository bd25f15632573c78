package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vietddude/load-balancer/server"
)

func fleetCommand() *cli.Command {
	return &cli.Command{
		Name:         "fleet",
		Usage:        "list the balancers that share a store, with their versions, tables and lag; exit 1 if tables differ",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "discovery", Usage: "the store's `URL`: etcd://…, consul://…, etcd or consul", Required: true},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after this `TIME`", Value: 5 * time.Second},
		},
		Action: listFleet,
	}
}

func listFleet(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	view, err := server.ListFleet(ctx, c.String("discovery"))
	if err != nil && len(view.Members) == 0 {
		return cli.Exit(err, exitFound)
	}
	if err != nil {
		fmt.Fprintln(c.App.ErrWriter, "loadbalancer: "+err.Error())
	}
	if c.Bool("json") {
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		err = e.Encode(map[string]any{"members": view.Members, "differing": view.Differing()})
	} else {
		err = view.Report(c.App.Writer, time.Now())
	}
	if err != nil {
		return err
	}
	if differing := view.Differing(); len(differing) > 0 {
		return cli.Exit("the tables differ: "+strings.Join(differing, ", "), exitFound)
	}
	return nil
}

func sessionKeyCommand() *cli.Command {
	return &cli.Command{
		Name:         "session-key",
		Usage:        "the key by which a fleet seals session cookies",
		OnUsageError: usageError,
		Action:       namedNone,
		Subcommands: []*cli.Command{{
			Name:         "rotate",
			Usage:        "have sessions sealed by a new key; those of the key before go on",
			OnUsageError: usageError,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "discovery", Usage: "the `URL` of the fleet's etcd", Required: true},
				&cli.DurationFlag{Name: "settle", Usage: "`TIME` in which all replicas learn of the new key before it seals", Value: 5 * time.Second},
			},
			Action: func(c *cli.Context) error {
				if err := server.RotateSessionKey(c.Context, c.String("discovery"), c.Duration("settle")); err != nil {
					return cli.Exit(err, exitFailure)
				}
				_, err := fmt.Fprintln(c.App.Writer, "sessions are sealed by a new key; the one before still opens them")
				return err
			},
		}},
	}
}
