// Package programs builds what tests run as processes of their own: the balancer and its demo backends from this tree,
// etcd and Consul from their modules.
package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Root is the folder of the checkout, found upwards from the working directory.
var Root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module github.com/vietddude/load-balancer\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod of github.com/vietddude/load-balancer above the working directory")
		}
		dir = parent
	}
})

// ErrUnavailable marks a server that cannot be had on this machine; its tests are skipped.
var ErrUnavailable = errors.New("not available")

// Builder builds a program and returns the path of its binary.
type Builder func(context.Context) (string, error)

// Ours builds a package of this tree as a static binary.
func Ours(pkg string) Builder {
	return func(ctx context.Context) (string, error) { return build(ctx, pkg, "integration-"+filepath.Base(pkg)) }
}

// build builds a package of this tree into a file of .cache/bin, with further flags of go build.
func build(ctx context.Context, pkg, name string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	out := filepath.Join(root, ".cache", "bin", name)
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// Pinned builds a server from its module in integration/tools. With onlyCached it is not built but must lie there. What
// cannot be had is [ErrUnavailable].
func Pinned(name string, onlyCached bool) Builder {
	return func(ctx context.Context) (string, error) {
		root, err := Root()
		if err != nil {
			return "", err
		}
		out := filepath.Join(root, ".cache", "bin", name)
		if onlyCached {
			if _, err := os.Stat(out); err != nil {
				return "", fmt.Errorf("%s: %w: it is built by 'make %s'", name, ErrUnavailable, name)
			}
			return out, nil
		}
		cmd := exec.CommandContext(ctx, filepath.Join(root, "integration", "tools", "build"), name)
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: its build failed: %v\n%s", name, ErrUnavailable, err, text)
		}
		return out, nil
	}
}
