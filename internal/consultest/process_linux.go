package consultest

import (
	"os/exec"
	"syscall"
)

// bindToParent has the kernel kill the child when the thread that starts it ends.
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
