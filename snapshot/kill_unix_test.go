//go:build unix

package snapshot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// childVariable names the file that a child process of these tests writes; limitVariable lets its files grow no larger.
const (
	childVariable = "SNAPSHOT_TEST_CHILD"
	limitVariable = "SNAPSHOT_TEST_LIMIT"
)

func init() {
	if path := os.Getenv(childVariable); path != "" {
		childProcess = func() { child(path) }
	}
}

// child has a catalog change all the time and writes it down as often as it can, until it is killed. Every state has all
// weights alike, so that one which is put together from two would show.
func child(path string) {
	if os.Getenv(limitVariable) != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 4096, Max: 4096}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			fmt.Println("limit:", err)
			os.Exit(1)
		}
	}
	c := routing.NewCatalog(routing.Options{Sources: []string{"etcd"}, Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) {
		return routing.Policy{}, nil
	}})
	k := New(Options{Path: path, Interval: time.Nanosecond})
	k.rest = 0
	sink := c.Sink("etcd")
	announce := func(weight int) {
		s := discovery.Service{Name: "web"}
		for i := range 2000 {
			s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprintf("b%04d", i), URL: fmt.Sprintf("http://10.0.%d.%d:80", i/256, i%256), Weight: weight})
		}
		sink.Service(s)
		sink.Synced()
		fmt.Println("changed", k.Stats().Written, k.Stats().Failed)
	}
	announce(1)
	go func() {
		for weight := 2; ; weight = weight%discovery.MaxWeight + 1 {
			announce(weight)
		}
	}()
	k.Run(context.Background(), c)
}

// startChild starts one, which writes a line at each change.
func startChild(t *testing.T, path string, env ...string) (cmd *exec.Cmd, stop func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(append(os.Environ(), childVariable+"="+path), env...)
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return cmd, stop
}

func TestAFileIsWholeWheneverItsProcessIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	written := false
	for range 25 {
		cmd, stop := startChild(t, path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Somewhere within the first writings.
		line := make([]byte, 256)
		for range 1 + rand.IntN(8) {
			if _, err := out.Read(line); err != nil {
				break
			}
		}
		time.Sleep(rand.N(15 * time.Millisecond))
		stop()
		st, _, found, err := load(path)
		if err != nil {
			t.Fatalf("after a kill: %v", err)
		}
		if !found {
			continue // killed before the first
		}
		written = true
		backends := st.Sources[0].Services[0].Backends
		for _, b := range backends {
			if b.Weight != backends[0].Weight || len(backends) != 2000 {
				t.Fatalf("the file holds parts of two states: weights %d and %d", backends[0].Weight, b.Weight)
			}
		}
	}
	if !written {
		t.Error("no child came to write")
	}
	k := New(Options{Path: path})
	if _, ok := k.Load(); !ok {
		t.Errorf("at last it is not loaded: %v", k.Stats().LoadErr)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("what killed processes left is not swept: %v", left)
	}
}

func TestADiskThatTakesNoMoreLeavesTheLastSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	before := fleet(1)
	if err := save(path, encode(&before, time.Now(), 0)); err != nil {
		t.Fatal(err)
	}
	cmd, stop := startChild(t, path, limitVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer stop()
	var word string
	var written, failed int
	for failed < 3 {
		if n, err := fmt.Fscan(out, &word, &written, &failed); err != nil || n != 3 || written > 0 {
			t.Fatalf("the child says %s %d %d: %v", word, written, failed, err)
		}
	}
	st, _, found, err := load(path)
	if err != nil || !found || len(st.Sources[0].Services[0].Backends) != 10 {
		t.Errorf("the file is not the one before: found %t, %v", found, err)
	}
}
