package fleet

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report writes the members as a table, a line each; those whose tables differ from the majority's are marked.
func (v View) Report(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	differing := v.Differing()
	fmt.Fprintln(t, "REPLICA\tVERSION\tUP\tTABLE\tGENERATION\tLAG\tADMIN\tLISTEN\t")
	for _, m := range v.Members {
		mark := ""
		if slices.Contains(differing, m.ID) {
			mark = "differs"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", m.ID, m.Version, short(now.Sub(m.Started)), m.Fingerprint,
			m.Generation, lagText(m, now), m.Admin, strings.Join(m.Listen, ","), mark)
	}
	return t.Flush()
}

func lagText(m Replica, now time.Time) string {
	lag, never := m.Lag(now)
	switch {
	case never:
		return "never in step"
	case lag == 0:
		return "-"
	}
	return short(lag)
}

// short is a time as people read it.
func short(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
}
