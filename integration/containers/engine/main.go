// Command engine prints whether tests in containers will run, as the tests themselves find out.
package main

import (
	"fmt"

	"github.com/vietddude/load-balancer/integration/containers"
)

func main() {
	version, err := containers.Engine()
	if err != nil {
		fmt.Println("Docker engine: none: integration tests in containers are skipped")
		return
	}
	fmt.Printf("Docker engine: yes (%s)\n", version)
}
