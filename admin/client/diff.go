package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Differences are what a balancer serves otherwise than announced.
type Differences struct {
	// Held is what the guard against mass deregistration holds back, Shadow what shadowed sources announce otherwise.
	Held   []Held       `json:"held"`
	Shadow []Difference `json:"shadow"`
}

// Held is a backend of a service, or a route to it, that its source announces no more.
type Held struct {
	Source  string    `json:"source"`
	Service string    `json:"service,omitempty"`
	Backend string    `json:"backend,omitempty"`
	URL     string    `json:"url,omitempty"`
	Route   string    `json:"route,omitempty"`
	Since   time.Time `json:"since"`
	// Until is when the source is obeyed; nil if an operator is waited for.
	Until *time.Time `json:"until,omitempty"`
}

// Difference is what a shadowed source announces otherwise than the one that counts.
type Difference struct {
	Source  string `json:"source"`
	Against string `json:"against"`
	Service string `json:"service,omitempty"`
	Kind    string `json:"kind"` // missing, extra or differs
	Item    string `json:"item"`
	Detail  string `json:"detail,omitempty"`
}

// Diff lists the differences.
func (c *Client) Diff(ctx context.Context) (d Differences, err error) {
	return d, c.do(ctx, http.MethodGet, "/api/v1/diff", nil, &d)
}

// ReleaseGuard has a source obeyed whose removals are held, all sources for an empty name, and returns how many backends
// were held.
func (c *Client) ReleaseGuard(ctx context.Context, source string) (released int, err error) {
	var answer struct {
		Released int `json:"released"`
	}
	err = c.do(ctx, http.MethodPost, "/api/v1/guard/release", map[string]string{"source": source}, &answer)
	return answer.Released, err
}

// Any reports whether there is any difference.
func (d Differences) Any() bool { return len(d.Held)+len(d.Shadow) > 0 }

// Report writes the differences, a line each.
func (d Differences) Report(w io.Writer) error {
	t := bufio.NewWriter(w)
	if !d.Any() {
		fmt.Fprintln(t, "no differences: what is announced is in force")
	}
	for _, h := range d.Held {
		what := "backend " + h.Backend + " of " + h.Service + " at " + h.URL
		if h.Route != "" {
			what = "route " + h.Route + " to " + h.Service
		}
		until := "released"
		if h.Until != nil {
			until = h.Until.Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s: %s is announced no more, and held until %s\n", h.Source, what, until)
	}
	for _, s := range d.Shadow {
		where := ""
		if s.Service != "" {
			where = "service " + s.Service + ": "
		}
		text := map[string]string{"missing": "only " + s.Against + " has it", "extra": "only " + s.Source + " has it", "differs": s.Detail}[s.Kind]
		fmt.Fprintf(t, "%s: %s%s: %s\n", s.Source, where, s.Item, text)
	}
	return t.Flush()
}
