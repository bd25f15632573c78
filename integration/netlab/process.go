//go:build linux

package netlab

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// logTail bounds what a failed test shows of each process's output.
const logTail = 4 << 10

// Program is what a host runs.
type Program struct {
	Path string
	Args []string
	// Env is laid over the test's own environment, as key=value.
	Env []string
	// Files are open in the program from number 3 on. They are the caller's to close, behind the test's end.
	Files []*os.File
}

// Process is a program on a host. Its methods may be called concurrently.
type Process struct {
	host    *Host
	program Program
	log     string

	mu  sync.Mutex
	cmd *exec.Cmd
}

// Start runs a program on the host until the test ends, which shows the end of its output if it failed.
func (h *Host) Start(program string, args ...string) *Process {
	h.t.Helper()
	return h.Run(Program{Path: program, Args: args})
}

// Run is [Host.Start] for a program that needs more than arguments.
func (h *Host) Run(program Program) *Process {
	h.t.Helper()
	p := &Process{host: h, program: program, log: filepath.Join(h.t.TempDir(), h.Name+".log")}
	h.mu.Lock()
	h.processes = append(h.processes, p)
	h.mu.Unlock()
	p.Restart()
	return p
}

// Restart runs the program again after [Process.Kill], on the files that it left.
func (p *Process) Restart() {
	p.host.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.host.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.program.Path, p.program.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), p.program.Env...), p.program.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.host.ns.in(cmd.Start); err != nil {
		p.host.t.Fatalf("start %s on %s: %v", filepath.Base(p.program.Path), p.host.Name, err)
	}
	p.cmd = cmd
}

// Kill ends the program at once (SIGKILL).
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killLocked()
}

func (p *Process) killLocked() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// Stop asks the program to end (SIGTERM) and returns its exit code once it has, -1 if it had to be killed after the
// given time.
func (p *Process) Stop(within time.Duration) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(within, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	kill.Stop()
	code := p.cmd.ProcessState.ExitCode()
	p.cmd = nil
	return code
}

// Freeze stops the program where it is (SIGSTOP): its connections stay open and nothing answers.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw ends [Process.Freeze].
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// PID is the program's process id, 0 while there is none.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// end kills the program and shows its output if the test failed.
func (p *Process) end() {
	p.Kill()
	if !p.host.t.Failed() {
		return
	}
	text, _ := os.ReadFile(p.log)
	if len(text) > logTail {
		text = append([]byte("…"), text[len(text)-logTail:]...)
	}
	p.host.t.Logf("output of %s on %s:\n%s", filepath.Base(p.program.Path), p.host.Name, text)
}
