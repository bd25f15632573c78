//go:build unix && !linux

package register

import (
	"os/exec"
	"syscall"
)

// isolate gives the command a process group.
func isolate(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
