package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/server"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:         "check",
		Usage:        "report every mistake in a configuration, with its place; exit 1 if there are any",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "the `FILE` to check", TakesFile: true, Required: true},
		},
		Action: check,
	}
}

func check(c *cli.Context) error {
	file := c.String("config")
	cfg, err := config.Load(file, os.Environ())
	if err == nil {
		err = server.Check(cfg)
	}
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		fmt.Fprintln(c.App.Writer, problems.Error())
		return cli.Exit(fmt.Sprintf("%s: %d %s", file, len(problems), plural(len(problems), "mistake", "mistakes")), exitFound)
	case err != nil:
		return cli.Exit(err, exitFound)
	}
	note := ""
	if !server.AnythingToBalance(cfg) {
		note = ", but names neither backends nor discovery; run it with --discovery"
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: correct%s\n", file, note)
	return err
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
