package proxy

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// byEngine says which door the labs have for HTTP/1.x: the engine, or net/http.
var byEngine bool

func TestMain(m *testing.M) {
	if flag.Parse(); flag.Lookup("test.bench").Value.String() != "" {
		os.Exit(m.Run()) // once, and with a profile's goroutine perhaps
	}
	goleak.VerifyTestMain(bothDoors{m})
}

// bothDoors runs all tests with each of the doors; what is fuzzed, by the engine alone.
type bothDoors struct{ m *testing.M }

func (b bothDoors) Run() int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		byEngine = true
		return b.m.Run()
	}
	code := b.m.Run()
	byEngine = true
	if again := b.m.Run(); again != 0 {
		fmt.Fprintln(os.Stderr, "failed with the engine as the door")
		code = again
	}
	return code
}
