package register

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// command is the child process. A nil command takes no signals.
type command struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	code   int           // written before exited is closed
}

// start runs the command in a process group of its own, so that a terminal's Ctrl-C reaches it only after the drain. It
// ends with this process where the system can see to that.
func start(o Options) (*command, error) {
	if o.Command[0] == "" {
		return nil, errNoCommand
	}
	c := &command{cmd: exec.Command(o.Command[0], o.Command[1:]...), exited: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	isolate(c.cmd)
	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started a child for the end of the parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.exited)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.code = exitCode(c.cmd.Wait())
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("the command cannot be started: %w", err)
	}
	return c, nil
}

func (c *command) pid() int { return c.cmd.Process.Pid }

// signal passes a signal on. A command that has ended takes none.
func (c *command) signal(sig os.Signal) {
	if c == nil {
		return
	}
	select {
	case <-c.exited:
	default:
		_ = c.cmd.Process.Signal(sig) // an error says that it has ended
	}
}

// exitCode is what a shell makes of the end of a command.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 1
	case exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return killedBy(exit)
}
