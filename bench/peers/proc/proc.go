//go:build linux

// Package proc reads what the kernel tells of processes: their CPU time, their memory and their children.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times under /proc: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

// Stat is what /proc/PID/stat tells.
type Stat struct {
	// Parent is the id of the process that started it.
	Parent int
	// User and System are CPU time in and on behalf of the process, in steps of 10 ms, threads that have ended included.
	User, System time.Duration
}

// ParseStat reads the content of /proc/PID/stat (proc(5)). The program's name there is in parentheses and may hold any
// byte, so fields are counted from the last one.
func ParseStat(b []byte) (Stat, error) {
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 13 {
		return Stat{}, fmt.Errorf("%q is no line of /proc/PID/stat", b)
	}
	// fields[0] is field 3 of the manual, the state.
	parent, err1 := strconv.Atoi(string(fields[1]))
	user, err2 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err3 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Stat{}, fmt.Errorf("/proc/PID/stat: %w", err)
	}
	return Stat{parent, time.Duration(user) * tick, time.Duration(system) * tick}, nil
}

func readStat(pid int) (Stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(b)
}

// Tree returns a process and all its descendants.
func Tree(root int) ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil { // others end meanwhile
			children[st.Parent] = append(children[st.Parent], pid)
		}
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// CPU is the CPU time of processes.
type CPU struct {
	// Total is exact to the nanosecond.
	Total time.Duration
	// User and System are its parts, in steps of 10 ms.
	User, System time.Duration
}

// Sub returns what was used since an earlier reading.
func (c CPU) Sub(earlier CPU) CPU {
	return CPU{c.Total - earlier.Total, c.User - earlier.User, c.System - earlier.System}
}

// ReadCPU adds up the CPU time of processes. It fails when one of them has ended.
func ReadCPU(pids []int) (CPU, error) {
	var sum CPU
	for _, pid := range pids {
		st, err := readStat(pid)
		if err != nil {
			return CPU{}, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		// The clock of a process's CPU time: CPUCLOCK_SCHED of its inverted id (clock_getcpuclockid(3)).
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(^pid)<<3|2, &ts); err != nil {
			return CPU{}, fmt.Errorf("CPU clock of process %d: %w", pid, err)
		}
		sum.Total += time.Duration(ts.Nano())
		sum.User += st.User
		sum.System += st.System
	}
	return sum, nil
}

// ParseStatus returns a value of /proc/PID/status that is given in kB, in bytes.
func ParseStatus(b []byte, key string) (int64, error) {
	for line := range bytes.Lines(b) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(name) != key {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) != 2 || string(fields[1]) != "kB" {
			return 0, fmt.Errorf("/proc/PID/status: %q is no number of kB", line)
		}
		n, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/status: %s: %w", key, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("/proc/PID/status: there is no %s", key)
}

// Memory adds up what processes hold in physical memory: VmRSS now, or its peak VmHWM.
func Memory(pids []int, key string) (int64, error) {
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		n, err := ParseStatus(b, key)
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}
