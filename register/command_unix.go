//go:build unix

package register

import (
	"os"
	"os/exec"
	"syscall"
)

// Signals are those that are passed on to the command.
var Signals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

// killedBy is 128 and the number of the signal that ended a command.
func killedBy(e *exec.ExitError) int {
	if w, ok := e.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return 1
}
