package probe

import "time"

// Options say how a backend is probed. The zero value does not probe. Options are comparable.
type Options struct {
	// Type is "http", "tcp" or "grpc"; empty means http.
	Type string
	// Interval is the time from the start of one probe to the start of the next, jittered by a tenth; 0 or less disables
	// probing.
	Interval time.Duration
	// UnhealthyInterval is the interval while the verdict is not up; 0 or less means Interval.
	UnhealthyInterval time.Duration
	// Timeout bounds one probe; 0 means 5 s.
	Timeout time.Duration
	// FailureThreshold is how many failures in a row make a backend unhealthy; 0 means 3.
	FailureThreshold int
	// SuccessThreshold is how many successes in a row make it healthy again; 0 means 1.
	SuccessThreshold int
	// InitialState is the verdict on a new target: "up" (or empty) until probes have failed often enough, or "probing":
	// it is probed at once, and the first probe alone decides.
	InitialState string

	// Port is probed instead of the URL's; 0 means the URL's.
	Port int
	// Scheme is "http" or "https" instead of the URL's; empty means the URL's. It has no meaning for tcp probes.
	Scheme string

	// Method is that of an http probe; empty means GET.
	Method string
	// Path is what an http probe asks for, a query included; empty means /.
	Path string
	// Host is the Host field of an http probe, or the authority of a grpc one; empty means the URL's host.
	Host string
	// Headers are further fields of an http or grpc probe, as [ParseHeaders] reads them.
	Headers string
	// Statuses are those that an http probe succeeds by, as [ParseStatuses] reads them; empty means 200-399.
	Statuses string
	// Body must be found in the body of the response to an http probe; empty asks for nothing.
	Body string
	// BodyRegexp must match somewhere in the body (RE2 syntax); empty asks for nothing.
	BodyRegexp string

	// GRPCService is the service whose health a grpc probe asks for; empty asks for the server's.
	GRPCService string
}

// The types of probes.
const (
	HTTP = "http"
	TCP  = "tcp"
	GRPC = "grpc"
)

// The initial states.
const (
	InitiallyUp      = "up"
	InitiallyProbing = "probing"
)

func (o *Options) timeout() time.Duration { return orElse(o.Timeout, 5*time.Second) }
func (o *Options) failures() int          { return orElse(o.FailureThreshold, 3) }
func (o *Options) successes() int         { return orElse(o.SuccessThreshold, 1) }

// wait is the interval under a verdict.
func (o *Options) wait(v verdict) time.Duration {
	if v != up {
		return orElse(o.UnhealthyInterval, o.Interval)
	}
	return o.Interval
}

func orElse[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}
