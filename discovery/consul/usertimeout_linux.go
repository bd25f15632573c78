package consul

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout sets how long what was sent to the agent may stay unacknowledged before the kernel gives up the connection.
func userTimeout(d time.Duration) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, network, _ string, raw syscall.RawConn) (err error) {
		if network == "unix" {
			return nil
		}
		if cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(d.Milliseconds(), 1)))
		}); cerr != nil {
			return cerr
		}
		return err
	}
}
