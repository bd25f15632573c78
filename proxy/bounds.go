package proxy

import "sync/atomic"

// Bound is a bound of the configuration that strikes without ending an exchange by a kind of its own, or that is counted
// by every attempt.
type Bound uint8

// The bounds that are counted here.
const (
	HeadBytes Bound = iota
	HeadFields
	HeadTime
	Idle
	Requests
	Connect
	ResponseHead
	Exchange
	ClientIdle
	BackendIdle
	TunnelIdle
	Queue
	QueueTime
	boundCount
)

// boundWords are the bounds' names: their keys in the configuration, where they have one.
var boundWords = [boundCount]string{
	HeadBytes:  "head_bytes",
	HeadFields: "head_fields",
	HeadTime:   "head_timeout",
	Idle:       "idle_timeout",
	Requests:   "requests",

	Connect:      "connect",
	ResponseHead: "response_head",
	Exchange:     "exchange",
	ClientIdle:   "client_idle",
	BackendIdle:  "backend_idle",
	TunnelIdle:   "tunnel_idle",
	Queue:        "max_queue",
	QueueTime:    "queue_timeout",
}

func (b Bound) String() string { return boundWords[b] }

// strike counts the bound that an attempt or a relay ended by, if it was one.
func (p *Proxy) strike(k kind) {
	switch k {
	case connectTimeout:
		p.Strike(Connect)
	case headTimeout:
		p.Strike(ResponseHead)
	case exchangeTimeout:
		p.Strike(Exchange)
	case bodyTimeout, clientIdle:
		p.Strike(ClientIdle)
	case backendIdle:
		p.Strike(BackendIdle)
	case tunnelIdle:
		p.Strike(TunnelIdle)
	case queueFull:
		p.Strike(Queue)
	case queueTimeout:
		p.Strike(QueueTime)
	}
}

// bounds count how often each bound has struck.
type bounds [boundCount]atomic.Uint64

// Strike counts that a bound has struck, for whoever keeps it in the proxy's stead.
func (p *Proxy) Strike(b Bound) { p.bounds[b].Add(1) }

// Strikes tells how often each bound has struck, by its name.
func (p *Proxy) Strikes() map[string]uint64 {
	all := make(map[string]uint64, boundCount)
	for b := range boundCount {
		all[b.String()] = p.bounds[b].Load()
	}
	return all
}
