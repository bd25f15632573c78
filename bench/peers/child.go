//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 3 * time.Second

// cpus are the CPUs that a process may run on; nil for all.
type cpus []int

func (c cpus) set() *unix.CPUSet {
	var set unix.CPUSet
	for _, i := range c {
		set.Set(i)
	}
	return &set
}

// allowed returns the CPUs that this process was given.
func allowed() (cpus, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var all cpus
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// move binds all threads of this process.
func (c cpus) move() error {
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, c.set()); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("sched_setaffinity: %w", err)
		}
	}
	return nil
}

// child is a process that was started here.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string // the file that it writes to
	done chan struct{}
	err  error // of its end, once done is closed
}

// start starts a process on some CPUs. What it writes goes to files in dir. It is killed when this process ends.
//
// The calling goroutine must be locked to a thread that lasts: affinity is inherited from the thread, and the death of
// the thread is what the kernel takes for that of the parent.
func start(name string, cmd *exec.Cmd, on cpus, dir string) (*child, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	was, err := allowed()
	if err != nil {
		return nil, err
	}
	if err := unix.SchedSetaffinity(0, on.set()); err != nil {
		return nil, fmt.Errorf("%s: bind to CPUs %v: %w", name, on, err)
	}
	err = cmd.Start()
	if back := unix.SchedSetaffinity(0, was.set()); back != nil {
		err = errors.Join(err, back)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := &child{name: name, cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go c.wait()
	return c, nil
}

func (c *child) wait() {
	c.err = c.cmd.Wait()
	close(c.done)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ended returns an error if the process is no longer there.
func (c *child) ended() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended (%v): %s", c.name, c.err, c.tail())
	default:
		return nil
	}
}

// tail is the end of what the process wrote.
func (c *child) tail() string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(b[max(0, len(b)-400):])), " ")
}

// stop ends the process and what it has started.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(stopTimeout):
	}
	// The group is that of this process alone, and its number is not used again while a member is left.
	_ = syscall.Kill(-c.pid(), syscall.SIGKILL)
	<-c.done
}

// helper is this program in one of its other roles, spoken with by JSON: one message in, results out.
type helper struct {
	*child
	in  io.WriteCloser
	out *json.Decoder
}

func startHelper(role string, on cpus, dir string) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, role)
	// Each as many threads as CPUs: the runtime would take more CPU otherwise.
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(len(on)))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	c, err := start(role, cmd, on, dir)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	return &helper{child: c, in: in, out: json.NewDecoder(r)}, nil
}

// result waits for the next result. It is bounded: a helper that takes longer is stopped.
func (h *helper) result(v any, bound time.Duration) error {
	timer := time.AfterFunc(bound, h.kill)
	defer timer.Stop()
	if err := h.out.Decode(v); err != nil {
		if !timer.Stop() {
			return fmt.Errorf("%s: nothing after %v: %s", h.name, bound, h.tail())
		}
		<-h.done
		return fmt.Errorf("%s: %w: %s", h.name, err, h.tail())
	}
	return nil
}

func (h *helper) kill() { _ = h.cmd.Process.Kill() }
