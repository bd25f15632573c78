package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func healthCommand() *cli.Command {
	return &cli.Command{
		Name:         "healthcheck",
		Usage:        "ask a running balancer whether it is ready; exit 1 if not (for containers)",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "admin", Usage: "the balancer's admin `ADDRESS`", Value: "127.0.0.1:9901", EnvVars: []string{"LB_ADMIN_ADDRESS"}},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after this `TIME`", Value: 3 * time.Second},
		},
		Action: healthcheck,
	}
}

func healthcheck(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.String("admin")+"/readyz", nil)
	if err != nil {
		return cli.Exit(fmt.Sprintf("--admin: %q is no address", c.String("admin")), exitUsage)
	}
	// The balancer is this machine's, or near: no proxy is asked, nor is a connection kept.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return cli.Exit(err, exitFound)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode != http.StatusOK {
		return cli.Exit(strings.TrimSpace(string(text)), exitFound) // "not ready", and the reasons
	}
	_, err = fmt.Fprintln(c.App.Writer, "ready")
	return err
}
