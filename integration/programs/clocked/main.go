// Command clocked builds the balancer with a clock that tests can set, which takes minutes the first time.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vietddude/load-balancer/integration/programs"
)

func main() {
	if _, err := programs.Clocked("./cmd/loadbalancer", false)(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "!!!! %v\n!!!! The tests that set a balancer's clock are skipped\n", err)
	}
}
