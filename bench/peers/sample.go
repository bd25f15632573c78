//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// sample is one measurement of one proxy at one scenario.
type sample struct {
	Mode     string
	Round    int
	Scenario string
	Proxy    string
	// Failed says why there are no figures.
	Failed string `json:",omitempty"`

	Requests int64
	// CPU is that of the whole proxy per request, in µs; Kernel is the share of it that the kernel used.
	CPU, Kernel float64
	// Rate is requests a second.
	Rate float64
	// P50 and P99 are latencies in µs.
	P50, P99 float64
	// Busy is the share of the CPUs given to the proxy that it used.
	Busy float64
	// PerConn is the memory of one idle connection in KiB, where that was measured.
	PerConn float64 `json:",omitempty"`
	// Memory is the most that the proxy held, in MiB.
	Memory float64
	// Others is what anything else on the machine used meanwhile, in CPUs, with what the hypervisor took.
	Others float64
	Errors map[string]int64 `json:",omitempty"`
}

// figure is the number that proxies are compared by.
func (s sample) figure() float64 {
	if s.PerConn != 0 {
		return s.PerConn
	}
	return s.CPU
}

func (s sample) String() string {
	head := fmt.Sprintf("%-6s round %d  %-8s  %-14s", s.Mode, s.Round, s.Scenario, s.Proxy)
	switch {
	case s.Failed != "":
		return head + " failed: " + s.Failed
	case s.PerConn != 0:
		return fmt.Sprintf("%s %8.2f KiB/connection  %5.1f MiB  others %.2f  errors: %s", head, s.PerConn, s.Memory, s.Others, errorText(s.Errors))
	}
	return fmt.Sprintf("%s %8.1f µs/request  %8.0f requests/s  p50 %.0f  p99 %.0f µs  busy %3.0f%%  others %.2f  errors: %s",
		head, s.CPU, s.Rate, s.P50, s.P99, 100*s.Busy, s.Others, errorText(s.Errors))
}

// errorText lists errors by kind.
func errorText(errs map[string]int64) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(errs)) {
		if errs[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", errs[kind], kind))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median returns the middle value, the mean of the two middle ones of an even number, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
