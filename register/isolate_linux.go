package register

import (
	"os/exec"
	"syscall"
)

// isolate gives the command a process group, and has the kernel end it with this process.
func isolate(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
