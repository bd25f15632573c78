package consultest

import (
	"os"
	"os/exec"
	"runtime"
)

// process is a child that dies with this one.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has been waited for
}

// startProcess runs a program whose output is appended to a file.
func startProcess(logPath, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	bindToParent(p.cmd)
	started := make(chan error)
	go p.run(log, started)
	return p, <-started
}

// run keeps its thread until the process has ended: the kernel takes the death of the thread that started a child for
// the death of the parent.
func (p *process) run(log *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	defer log.Close()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error says that it has ended already
	<-p.exited
}
