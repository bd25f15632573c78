package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/server"
)

func lintCommand() *cli.Command {
	return &cli.Command{
		Name:      "lint",
		Usage:     "report what a balancer would reject of what is, or is to be, in etcd, Consul or a file; exit 1 if anything",
		UsageText: "loadbalancer lint [options] [FILE…]\nloadbalancer lint --discovery URL",
		Description: "Files hold Consul's service definitions (JSON), lines of key=value for etcd, or services: and routes:; - is\n" +
			"standard input. With --discovery a store is read instead, once.\n\n" +
			"   loadbalancer lint web.json keys.txt\n" +

			"   loadbalancer lint --discovery consul://127.0.0.1:8500",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "discovery", Usage: "check what the store of `URL` holds now; may be repeated"},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the files: consul, etcd, file (default: by their look)"},
			&cli.StringFlag{Name: "etcd", Usage: "`URL` of the source that is to read the keys, for its prefix and format", Value: "etcd:///lb"},
			&cli.StringFlag{Name: "consul", Usage: "`URL` of the source that is to read the services, for its tag", Value: "consul://127.0.0.1"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
			&cli.DurationFlag{Name: "timeout", Usage: "give a store up after this `TIME`", Value: 30 * time.Second},
		},
		Action: lint,
	}
}

func lint(c *cli.Context) error {
	if !c.Args().Present() && !c.IsSet("discovery") {
		return cli.Exit("name files (- is standard input), or a store by --discovery", exitUsage)
	}
	problems := []discovery.Problem{}
	o := server.LintOptions{Format: server.LintFormat(c.String("format")), Etcd: c.String("etcd"), Consul: c.String("consul")}
	for _, name := range c.Args().Slice() {
		text, err := readInput(c, name)
		if err != nil {
			return cli.Exit(err, exitFailure)
		}
		found, err := server.Lint(name, text, o)
		if err != nil {
			return cli.Exit(err, exitFound)
		}
		problems = append(problems, found...)
	}
	for _, url := range c.StringSlice("discovery") {
		ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
		found, err := server.LintStore(ctx, url)
		cancel()
		if err != nil {
			return cli.Exit(err, exitFailure)
		}
		problems = append(problems, found...)
	}
	if c.Bool("json") {
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		if err := e.Encode(problems); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintf(c.App.Writer, "%s: %s: %s\n", p.Key, p.Code, p.Detail)
		}
	}
	if n := len(problems); n > 0 {
		return cli.Exit(fmt.Sprintf("%d %s", n, plural(n, "problem", "problems")), exitFound)
	}
	return nil
}

func readInput(c *cli.Context, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(c.App.Reader, 64<<20))
	}
	return os.ReadFile(name)
}
