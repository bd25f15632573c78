//go:build !linux

package consul

import (
	"context"
	"syscall"
	"time"
)

// userTimeout leaves to the system how long what was sent may stay unacknowledged.
func userTimeout(time.Duration) func(context.Context, string, string, syscall.RawConn) error {
	return nil
}
