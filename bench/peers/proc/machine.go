//go:build linux

package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Machine is the CPU time of the whole machine since it started, over all CPUs.
type Machine struct {
	// Busy is what processes and the kernel used.
	Busy time.Duration
	// Steal is what the hypervisor gave to others.
	Steal time.Duration
}

// ParseMachine reads the first line of /proc/stat.
func ParseMachine(b []byte) (Machine, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return Machine{}, fmt.Errorf("%q is not the first line of /proc/stat", line)
	}
	var v [8]time.Duration // user nice system idle iowait irq softirq steal
	for i := range v {
		n, err := strconv.ParseInt(string(fields[i+1]), 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("/proc/stat: %w", err)
		}
		v[i] = time.Duration(n) * tick
	}
	return Machine{Busy: v[0] + v[1] + v[2] + v[5] + v[6], Steal: v[7]}, nil
}

// ReadMachine reads /proc/stat.
func ReadMachine() (Machine, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	return ParseMachine(b)
}
