//go:build unix

package file_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAPipeIsRefusedAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipe can be made here: %v", err)
	}
	rec, ctx := follow(t, path)
	if s := rec.Await(ctx, failing); !strings.Contains(s.Err.Error(), "regular file") {
		t.Errorf("the error is %v, want what is wrong with it", s.Err)
	}
}
