package metrics

import (
	"runtime"
	"time"
)

// Build tells what program runs.
type Build struct{ Version, Revision string }

// scrape writes all metrics of a snapshot.
func (e *emitter) scrape(s *Snapshot) {
	for m := range ids {
		e.begin(m)
		switch scopeOf(m) {
		case perService:
			for svc := range s.Services.all() {
				e.service(svc)
			}
		case perBackend:
			for b := range s.Backends.all() {
				e.backend(b)
			}
		default:
			e.routes(s.Routes)
			for i := range s.Sources {
				e.source(&s.Sources[i])
			}
			e.traffic(s)
			e.control(s)
		}
	}
}

// scope is what there is one sample or set of for each.
type scope int

const (
	perBalancer scope = iota
	perService
	perBackend
)

func scopeOf(m id) scope {
	labels := table[m].Labels
	switch {
	case len(labels) > 1 && labels[0] == "service" && labels[1] == "backend":
		return perBackend
	case len(labels) > 0 && labels[0] == "service":
		return perService
	}
	return perBalancer
}

// classes are the values of the label code, by first digit of the status.
var classes = [6]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (e *emitter) service(s *Service) {
	e.codes(serviceRequests, s.Codes, s.Name)
	e.histogram(serviceDuration, s.Latency, s.Name)
	e.counter(serviceRetries, s.Retries, s.Name)
	for outcome, n := range s.Hedges {
		e.counter(serviceHedges, n, s.Name, outcome)
	}
	e.counter(serviceSessions, s.Sessions, s.Name)
	e.gauge(serviceBackends, float64(s.Backends), s.Name)
	e.gauge(serviceBackendsReady, float64(s.Ready), s.Name)
	e.gauge(serviceBackendsUsed, float64(s.Used), s.Name)
	e.gauge(servicePanic, truth(s.Panic), s.Name)
	for zone, n := range s.Zones {
		if zone != "" {
			e.counter(zoneRequests, n, s.Name, zone)
		} else if len(s.Zones) > 1 {
			e.counter(zoneRequests, n, s.Name, "none")
		}
	}
}

func (e *emitter) backend(b *Backend) {
	e.codes(backendRequests, b.Codes, b.Service, b.ID)
	if b.Latency.any() { // one that was never asked would take twice the text for nothing
		e.histogram(backendDuration, b.Latency, b.Service, b.ID)
	}
	e.counter(backendRetries, b.Retries, b.Service, b.ID)
	e.counter(backendBeaten, b.Beaten, b.Service, b.ID)
	e.counter(backendSessions, b.Sessions, b.Service, b.ID)
	e.gauge(backendInFlight, float64(b.InFlight), b.Service, b.ID)
	e.gauge(backendUp, truth(b.Up), b.Service, b.ID)
	e.gauge(backendReady, truth(b.Ready), b.Service, b.ID)
	e.gauge(backendDraining, truth(b.Draining), b.Service, b.ID)
	e.gauge(backendWeight, float64(b.Weight), b.Service, b.ID)
	e.gauge(backendBreaker, float64(b.Breaker), b.Service, b.ID)
	e.gauge(backendConnections, float64(b.Connections), b.Service, b.ID)
	e.counter(backendConnected, b.Connected, b.Service, b.ID)
	e.counter(backendUnconnected, b.Unconnected, b.Service, b.ID)
	e.gauge(backendQueued, float64(b.Queued), b.Service, b.ID)
	e.counter(backendQueueTimeouts, b.QueueTimeouts, b.Service, b.ID)
	if b.Limit > 0 {
		e.gauge(backendLimit, float64(b.Limit), b.Service, b.ID)
	}
	e.gauge(backendEjected, truth(b.Ejected), b.Service, b.ID)
	e.counter(backendEjections, b.Ejections, b.Service, b.ID)
	if b.Probed {
		e.gauge(backendProbe, b.ProbeTime.Seconds(), b.Service, b.ID)
	}
}

// routes adds up routes of one name, source and service: a second metric of the same labels would spoil the scrape.
func (e *emitter) routes(rs []Route) {
	if e.only != routeRequests {
		return
	}
	type key struct{ name, source, service string }
	sums := make(map[key]uint64, len(rs))
	for _, r := range rs {
		sums[key{r.Name, r.Source, r.Service}] += r.Requests
	}
	for k, n := range sums {
		e.counter(routeRequests, n, k.name, k.source, k.service)
	}
}

func (e *emitter) source(s *Source) {
	e.gauge(discoveryUp, truth(s.Up), s.Name)
	e.time(discoverySync, s.Synced, s.Name)
	e.gauge(discoveryStaleness, s.Staleness.Seconds(), s.Name)
	e.gauge(discoveryStale, float64(s.Stale), s.Name)
	for reason, n := range s.Rejected {
		e.counter(discoveryRejected, n, s.Name, reason)
	}
	for reason, n := range s.Resyncs {
		e.counter(discoveryResyncs, n, s.Name, reason)
	}
	e.gauge(discoveryServices, float64(s.Services), s.Name)
	e.gauge(discoveryBackends, float64(s.Backends), s.Name)
	e.gauge(discoveryRoutes, float64(s.Routes), s.Name)
	e.gauge(discoveryProblems, float64(s.Problems), s.Name)
	e.gauge(discoveryDifferences, float64(s.Differences), s.Name)
	e.gauge(discoveryRestored, truth(s.Restored), s.Name)
	e.gauge(guardHolding, truth(s.Guard.Holding), s.Name)
	e.gauge(guardHeld, float64(s.Guard.Held), s.Name)
	e.counter(guardIncidents, s.Guard.Incidents, s.Name)
	for reason, n := range s.Guard.Ended {
		e.counter(guardEnded, n, s.Name, reason)
	}
}

// traffic emits what belongs to no service.
func (e *emitter) traffic(s *Snapshot) {
	e.counter(noRoute, s.NoRoute)
	e.gauge(requestsInFlight, float64(s.Exchanges))
	e.gauge(connectionsActive, float64(s.Connections))
	e.counter(connections, s.Accepted)
	for reason, n := range s.Failed {
		e.counter(exchangesFailed, n, reason)
	}
	e.gauge(fleetReplicas, float64(s.Replicas))
	e.gauge(fleetDiffering, float64(s.Differing))
	e.gauge(overridesInForce, float64(s.Overrides))
	e.gauge(overridesPending, float64(s.Pending))
	e.gauge(sessionsRemembered, float64(s.Remembered))
	if h := &s.Sharing; h.On {
		e.gauge(sessionsInStep, truth(h.InStep))
		e.gauge(sessionsPending, float64(h.Pending))
		e.counter(sessionsWritten, h.Written)
		e.counter(sessionsOvertaken, h.Overtaken)
		e.counter(sessionsDropped, h.Dropped)
	}
	e.counter(probes, s.Probes)
	e.gauge(probedByOthers, float64(s.ProbedByOthers))
	e.counter(sharedVerdicts, s.SharedVerdicts)
	for limit, n := range s.Limits {
		e.counter(limits, n, limit)
	}
	e.counter(accessLogDropped, s.AccessLogDropped)
}

// control emits the state of the balancer itself.
func (e *emitter) control(s *Snapshot) {
	e.histogram(discoveryPropagation, s.Propagation)
	e.gauge(ready, truth(s.Ready))
	e.gauge(tableGeneration, float64(s.Generation))
	e.gauge(tableInfo, 1, s.Fingerprint)
	e.gauge(tableProblems, float64(s.Problems))
	e.gauge(services, float64(s.Services.Len))
	e.gauge(backends, float64(s.Backends.Len))
	e.gauge(routes, float64(len(s.Routes)))
	e.counter(configReloads, s.Reloads.Taken, "success")
	e.counter(configReloads, s.Reloads.Refused, "refused")
	e.gauge(configLastOK, truth(s.Reloads.LastOK))
	e.time(configLastTaken, s.Reloads.LastTaken)
	e.certificates(s.Certificates)
	if f := s.Snapshot; f.Configured {
		e.counter(snapshotWrites, f.Written, "success")
		e.counter(snapshotWrites, f.Failed, "failed")
		e.time(snapshotLast, f.Last)
		e.gauge(snapshotBytes, float64(f.Bytes))
		e.gauge(snapshotLoaded, truth(f.Loaded))
		e.gauge(snapshotCorrupt, truth(f.Corrupt))
	}
	e.gauge(buildInfo, 1, e.build.Version, e.build.Revision, runtime.Version())
}

// certificates shows the earliest expiry of those of one name.
func (e *emitter) certificates(cs []Certificate) {
	first := make(map[string]time.Time, len(cs))
	for _, c := range cs {
		if t, ok := first[c.Name]; !ok || c.NotAfter.Before(t) {
			first[c.Name] = c.NotAfter
		}
	}
	for name, t := range first {
		e.time(certificateExpiry, t, name)
	}
}
