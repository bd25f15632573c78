package upstream

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is what sets TCP_USER_TIMEOUT on a socket that is about to connect; nil if there is nothing to set.
func userTimeout(d time.Duration) func(context.Context, string, string, syscall.RawConn) error {
	if d <= 0 {
		return nil
	}
	return func(_ context.Context, _, _ string, raw syscall.RawConn) (err error) {
		if cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(d.Milliseconds(), 1)))
		}); cerr != nil {
			return cerr
		}
		return err
	}
}
