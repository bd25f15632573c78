package consultest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const module = "module github.com/vietddude/load-balancer\n"

// Binary is the path of a consul binary. Without one the test is skipped.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("LBTEST_CONSUL_BINARY"); path != "" {
		if !executable(path) {
			t.Fatalf("LBTEST_CONSUL_BINARY: %q is not an executable file", path)
		}
		return path
	}
	if root := moduleRoot(); root != "" {
		if path := filepath.Join(root, ".cache", "bin", "consul"); executable(path) {
			return path
		}
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return path
	}
	t.Skip("no consul binary: run `make consul` once, or set LBTEST_CONSUL_BINARY to one")
	return ""
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// moduleRoot is the nearest directory upwards whose go.mod is this module's, empty if there is none. Nested modules
// are passed over.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte(module)) {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}
