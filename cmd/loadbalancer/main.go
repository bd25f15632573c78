// Command loadbalancer balances HTTP over backends that announce themselves in Consul or etcd.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// version is set by the release's linker flags; otherwise the module's build information tells it.
var version = ""

// Exit codes: 1 for what was asked and found wrong (a bad configuration, an unhealthy balancer), 2 for a command line
// that is none, 3 for a balancer that could not start or run.
const (
	exitFound   = 1
	exitUsage   = 2
	exitFailure = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C does not wait for exchanges under way.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	code := run(context.WithValue(ctx, signalled{}, true), os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes a command line and returns its exit code. It ends when the context does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	var coder cli.ExitCoder
	code := exitUsage
	if errors.As(err, &coder) {
		code = coder.ExitCode()
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "loadbalancer: "+text)
	}
	return code
}

func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:      "loadbalancer",
		Usage:     "balances HTTP over backends announced in Consul, etcd or a file",
		UsageText: "loadbalancer [options]\nloadbalancer COMMAND [options]",
		Description: "Backends, routes and policies come from the configuration file (--config) and from what is\n" +
			"discovered (--discovery). Flags override LB_… environment variables, which override the file.\n\n" +
			"   loadbalancer dev                                    try it: etcd, three backends and the balancer in one process\n" +
			"   loadbalancer --discovery etcd://127.0.0.1:2379/lb   balance what etcd announces\n" +
			"   loadbalancer --discovery consul://127.0.0.1:8500    balance what Consul announces\n" +
			"   loadbalancer --config config.yaml                   balance what a file lists",
		Version:         buildVersion(),
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    usageError,
		HideHelpCommand: true,
		Flags:           serveFlags(),
		Action:          serve,
		Commands:        []*cli.Command{devCommand(), checkCommand(), diffCommand(), guardCommand(), lintCommand(), registerCommand(), backendCommand(), fleetCommand(), sessionKeyCommand(), healthCommand(), versionCommand()},
		Suggest:         true,
		// An etcd URL lists its hosts with commas.
		DisableSliceFlagSeparator: true,
	}
}

// usageError makes every mistake on the command line exit with exitUsage and one line instead of the whole help.
func usageError(c *cli.Context, err error, _ bool) error {
	return cli.Exit(fmt.Sprintf("%v; see %s --help", err, c.App.Name), exitUsage)
}

// namedNone is what a command does that has others below it, when none of them is named.
func namedNone(c *cli.Context) error {
	var names []string
	for _, sub := range c.Command.Subcommands {
		if sub.Name != "help" {
			names = append(names, sub.Name)
		}
	}
	what := "name a command"
	if c.Args().Present() {
		what = fmt.Sprintf("there is no command %q", c.Args().First())
	}
	return cli.Exit(fmt.Sprintf("%s; %s has %s", what, c.Command.FullName(), strings.Join(names, ", ")), exitUsage)
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:         "version",
		Usage:        "print the version",
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			_, err := fmt.Fprintln(c.App.Writer, "loadbalancer", buildVersion())
			return err
		},
	}
}

// buildVersion is the release's version, or the module's as the Go tool recorded it.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
