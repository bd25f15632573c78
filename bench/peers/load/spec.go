//go:build linux

// Package load makes requests of a proxy and measures what they cost it: at full speed over connections that stay
// (closed loop), at a constant rate (open loop), over a new connection each, or one each over connections that are then
// held idle.
//
// It runs in a process of its own. That process also reads the proxy's CPU time, at the instants between which it counts
// requests, so that the one fits the other.
package load

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vietddude/load-balancer/bench/peers/proc"
)

// Kind is a way to make load.
type Kind string

const (
	// Loop sends requests over connections that stay: each as soon as the one before is answered, or at Spec.Rate.
	Loop Kind = "loop"
	// Connect makes a new connection for each request, a full TLS handshake included.
	Connect Kind = "connect"
	// Hold sends one request over each connection and holds them all until its input ends.
	Hold Kind = "hold"
)

// Spec says what to do.
type Spec struct {
	Kind Kind
	// Addr is the proxy's IPv4 address and port.
	Addr string
	TLS  bool
	// Path and Method make the request; Body is the size of its body in bytes.
	Path, Method string
	Body         int
	// Session sends back, on each connection, the cookie that its first answer set.
	Session bool
	// Conns is how many connections there are, or for Connect how many are made at a time.
	Conns int
	// Rate makes an open loop of that many requests a second: each has its due time, from which its latency counts, so
	// that a proxy that stalls is charged for the queue it causes. 0 means a closed loop.
	Rate float64
	// Warmup goes before what is measured, which takes Duration.
	Warmup, Duration time.Duration
	// Proxy are the ids of the processes whose CPU time is measured.
	Proxy []int
	// Alone says that this process does nothing else; see [wire.Poller].
	Alone bool
}

// Result is what was seen while it was measured.
type Result struct {
	// Requests were answered with 200; Hold's were made on connections that are held.
	Requests int64
	// Elapsed is how long that took.
	Elapsed time.Duration
	// CPU is what the proxy used meanwhile.
	CPU proc.CPU
	// P50 and P99 are latencies of single requests; of Connect, its connect and handshake included.
	P50, P99 time.Duration
	// Errors counts what went wrong by its kind; what failed is in no other figure.
	Errors map[string]int64
}

// Run reads a spec from in, obeys it and writes a result to out. Hold writes one when all connections stand, and
// another one when in has ended, whose errors tell of connections that the proxy has closed.
func Run(in io.Reader, out io.Writer) error {
	var s Spec
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("load: read what to do: %w", err)
	}
	results := json.NewEncoder(out)
	switch s.Kind {
	case Loop:
		l, err := newLoop(s)
		if err != nil {
			return err
		}
		defer l.close()
		res, err := l.run()
		if err != nil {
			return err
		}
		return results.Encode(res)
	case Connect:
		res, err := connect(s)
		if err != nil {
			return err
		}
		return results.Encode(res)
	case Hold:
		held, res, err := hold(s)
		if err != nil {
			return err
		}
		if err := results.Encode(res); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, in) // its end is the sign
		return results.Encode(Result{Errors: held.closed()})
	}
	return fmt.Errorf("load: unknown kind %q", s.Kind)
}
