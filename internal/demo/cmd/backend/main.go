// Command backend runs demo backends until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/vietddude/load-balancer/internal/demo"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8081", "where to listen; port 0 picks a free one")
	name := flag.String("name", "", "what the backend calls itself (default backend and its address)")
	flag.Parse()
	if err := run(*addr, *name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(addr, name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if name == "" {
		name = "backend " + addr
	}
	s, err := demo.Start(ctx, demo.Options{Addr: addr, Name: name})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", name, s.URL())
	<-ctx.Done()
	return s.Close()
}
