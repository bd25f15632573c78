//go:build !linux

package upstream

import (
	"context"
	"syscall"
	"time"
)

// userTimeout sets nothing where the system has no such option.
func userTimeout(time.Duration) func(context.Context, string, string, syscall.RawConn) error {
	return nil
}
