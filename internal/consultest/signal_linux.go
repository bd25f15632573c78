package consultest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeze returns once every thread has stopped: the signal alone lets them go on for a moment, long enough to answer.
func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
