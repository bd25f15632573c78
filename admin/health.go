package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// healthz answers 200: whoever gets an answer has found the process alive.
func (a *api) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// readyz answers 200 if all required checks hold, else 503; the body tells of each check, in JSON if that is asked for.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) {
	checks := a.checks(a.Catalog.Status())
	ok, status := isReady(checks), http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	if !a.open(r) {
		checks = nil
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		reply(w, status, struct {
			Ready  bool    `json:"ready"`
			Checks []Check `json:"checks,omitempty"`
		}{ok, checks})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, plain(ok, checks))
}

// plain is the verdict and the checks, a line each, those that fail first.
func plain(ok bool, checks []Check) string {
	var b strings.Builder
	b.WriteString("ready\n")
	if !ok {
		b.Reset()
		b.WriteString("not ready\n")
	}
	for _, failing := range []bool{true, false} {
		for _, c := range checks {
			if c.OK == failing {
				continue
			}
			mark := "ok"
			switch {
			case !c.OK && c.Required:
				mark = "FAIL"
			case !c.OK:
				mark = "warn"
			}
			fmt.Fprintf(&b, "%-4s %s", mark, oneLine(c.Name))
			if c.Detail != "" {
				b.WriteString(": " + oneLine(c.Detail))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// oneLine keeps a foreign text from looking like several checks.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// isReady reports whether all required checks hold.
func isReady(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.Required && !c.OK })
}

// checks are the server's and one for each source. A source out of step is no reason to stop serving: the last table
// stands.
func (a *api) checks(status routing.Status) []Check {
	var out []Check
	if a.Checks != nil {
		out = append(out, a.Checks()...)
	}
	now := a.now()
	for _, s := range status.Sources {
		out = append(out, sourceCheck(s, now))
		if g := s.Guard; g.Held > 0 {
			out = append(out, guardCheck(s, now))
		}
		if s.StaleItems > 0 {
			out = append(out, Check{Name: "stale items of " + s.Name, Detail: fmt.Sprintf("%d; what was known of them stays; /api/v1/table tells which and why", s.StaleItems)})
		}
	}
	return out
}

// guardCheck tells of what is held back.
func guardCheck(s routing.SourceStatus, now time.Time) Check {
	g := s.Guard
	until := "until an operator says: loadbalancer guard release"
	if !g.Until.IsZero() {
		until = fmt.Sprintf("for another %v", max(g.Until.Sub(now), 0).Round(time.Second))
	}
	return Check{Name: "guard of " + s.Name, Detail: fmt.Sprintf(
		"%d of %d backends were gone at once; %d that answer their checks serve on %s", g.Lost, g.Of, g.Held, until)}
}

func sourceCheck(s routing.SourceStatus, now time.Time) Check {
	c := Check{Name: "source " + s.Name, OK: s.Up}
	if s.Up {
		return c
	}
	c.Detail = "out of step"
	if s.Synced.IsZero() {
		c.Detail = "never in step yet"
	} else {
		c.Detail += fmt.Sprintf(" for %v", max(now.Sub(s.Synced), 0).Round(time.Second))
	}
	if s.Restored {
		c.Detail += ", serving from the snapshot"
	}
	if s.Err != nil {
		c.Detail += ": " + s.Err.Error()
	}
	return c
}
