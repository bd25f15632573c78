package client

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// ReportBackends writes backends as a table, a line each.
func ReportBackends(w io.Writer, backends []Backend) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BACKEND\tURL\tSTATE\tWEIGHT\tIN FLIGHT\tZONE")
	for _, b := range backends {
		fmt.Fprintf(t, "%s/%s\t%s\t%s\t%d\t%d\t%s\n", b.Service, b.ID, b.URL, b.State, b.Weight, b.InFlight, b.Zone)
	}
	return t.Flush()
}

// ReportOverrides writes what is steered, a line each, and where it is kept.
func ReportOverrides(w io.Writer, overrides []Override, kept string) error {
	if kept == "" {
		kept = "this balancer alone, until it ends"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "kept in %s\n", kept)
	for _, o := range overrides {
		fmt.Fprintf(t, "%s/%s\t%s\n", o.Service, o.ID, o)
	}
	return t.Flush()
}

// String tells in words what is steered.
func (o Override) String() string {
	var words []string
	add := func(is bool, format string, a ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, a...))
		}
	}
	if o.Added != nil {
		add(true, "added %s weight %d", o.Added.URL, o.Added.Weight)
	}
	if o.Weight != nil {
		add(true, "weight %d", *o.Weight)
	}
	add(o.Draining, "draining")
	add(o.Disabled, "disabled")
	add(o.Removed, "removed")
	add(o.Pending, "(not written yet)")
	return strings.Join(words, ", ")
}
