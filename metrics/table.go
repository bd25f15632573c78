package metrics

import "slices"

// Kind is the type of a metric.
type Kind string

// The types of metrics.
const (
	Counter       Kind = "counter"
	Gauge         Kind = "gauge"
	HistogramKind Kind = "histogram"
)

// Metric describes one metric.
type Metric struct {
	Name   string
	Kind   Kind
	Labels []string
	Help   string
}

// Metrics are all metrics of ours in order of the documentation. The slice is the caller's.
func Metrics() []Metric { return slices.Clone(table[:]) }

// id is the index of a metric in the table.
type id int

const (
	serviceRequests id = iota
	serviceDuration
	serviceRetries
	serviceHedges
	serviceSessions
	serviceBackends
	serviceBackendsReady
	serviceBackendsUsed
	servicePanic
	zoneRequests

	backendRequests
	backendDuration
	backendRetries
	backendBeaten
	backendSessions
	backendInFlight
	backendUp
	backendReady
	backendDraining
	backendWeight
	backendBreaker
	backendProbe
	backendConnections
	backendConnected
	backendUnconnected
	backendQueued
	backendQueueTimeouts
	backendEjected
	backendEjections
	backendLimit

	routeRequests
	noRoute
	requestsInFlight
	connectionsActive
	connections
	exchangesFailed
	limits
	fleetReplicas
	fleetDiffering
	overridesInForce
	overridesPending
	sessionsRemembered
	sessionsInStep
	sessionsPending
	sessionsWritten
	sessionsOvertaken
	sessionsDropped
	probes
	probedByOthers
	sharedVerdicts

	discoveryUp
	discoverySync
	discoveryStaleness
	discoveryStale
	discoveryRejected
	discoveryResyncs
	discoveryPropagation
	discoveryServices
	discoveryBackends
	discoveryRoutes
	discoveryProblems
	discoveryDifferences
	discoveryRestored

	guardHolding
	guardHeld
	guardIncidents
	guardEnded

	ready
	tableGeneration
	tableInfo
	tableProblems
	services
	backends
	routes

	configReloads
	configLastOK
	configLastTaken
	certificateExpiry

	snapshotWrites
	snapshotLast
	snapshotBytes
	snapshotLoaded
	snapshotCorrupt

	accessLogDropped
	buildInfo

	ids // how many there are
)

// Label sets that several metrics have.
var (
	none      []string
	byService = []string{"service"}
	byBackend = []string{"service", "backend"}
	bySource  = []string{"source"}
	byReason  = []string{"source", "reason"}
)

var table = [ids]Metric{
	serviceRequests: {"lb_service_requests_total", Counter, []string{"service", "code"},
		"Exchanges by class of the status sent to the client: 1xx to 5xx, or none if there was no response."},
	serviceDuration: {"lb_service_request_duration_seconds", HistogramKind, byService,
		"Time from an exchange's request head to its response head, all attempts included."},
	serviceRetries: {"lb_service_retries_total", Counter, byService, "Attempts beyond an exchange's first."},
	serviceHedges: {"lb_service_hedges_total", Counter, []string{"service", "outcome"},
		"Second attempts for an exchange that waits for its first (hedge): won or lost against the first, neither gave a response; or not made: over-budget, no-backend. Absent before there is any."},
	serviceSessions:      {"lb_service_sessions_total", Counter, byService, "Sessions begun."},
	serviceBackends:      {"lb_service_backends", Gauge, byService, "Backends of the service, ready or not."},
	serviceBackendsReady: {"lb_service_backends_ready", Gauge, byService, "Backends that new exchanges may go to, those left out that do so only in a panic."},
	serviceBackendsUsed:  {"lb_service_backends_used", Gauge, byService, "Backends of which this balancer uses any: all, or its subset."},
	servicePanic:         {"lb_service_panic", Gauge, byService, "1 if too few backends are ready, so that those that are not take part too, else 0."},
	zoneRequests:         {"lb_zone_requests_total", Counter, []string{"service", "zone"}, "Attempts by the zone of the backend. Absent where no backend has a zone."},

	backendRequests: {"lb_backend_requests_total", Counter, []string{"service", "backend", "code"},
		"Attempts by class of the backend's status: 1xx to 5xx, or none if it gave no response."},
	backendDuration: {"lb_backend_request_duration_seconds", HistogramKind, byBackend,
		"Time from an attempt's start to the backend's response head; of backends that were asked."},
	backendRetries: {"lb_backend_retries_total", Counter, byBackend, "Attempts that failed here and were tried again elsewhere."},
	backendBeaten: {"lb_backend_beaten_total", Counter, byBackend,
		"Attempts that were given up here since another backend had answered (hedge). lb_backend_requests_total does not count them."},
	backendSessions: {"lb_backend_sessions_total", Counter, byBackend, "Sessions begun with this backend."},
	backendInFlight: {"lb_backend_in_flight", Gauge, byBackend, "Attempts under way."},
	backendUp:       {"lb_backend_up", Gauge, byBackend, "1 if the health checks pass or there are none, else 0."},
	backendReady: {"lb_backend_ready", Gauge, byBackend,
		"1 if new exchanges may go here: up, not draining, weight above 0, breaker not open; else 0."},
	backendDraining:    {"lb_backend_draining", Gauge, byBackend, "1 if the backend takes no new sessions and exchanges, else 0."},
	backendWeight:      {"lb_backend_weight", Gauge, byBackend, "Share of the service's traffic relative to the other backends."},
	backendBreaker:     {"lb_backend_breaker_state", Gauge, byBackend, "Circuit breaker: 0 closed, 1 open, 2 half-open."},
	backendProbe:       {"lb_backend_probe_duration_seconds", Gauge, byBackend, "How long the last health check took. Absent before the first."},
	backendConnections: {"lb_backend_connections", Gauge, byBackend, "Connections to the backend that are open, idle ones included."},
	backendConnected:   {"lb_backend_connections_total", Counter, byBackend, "Connections to the backend that were made."},
	backendUnconnected: {"lb_backend_connection_failures_total", Counter, byBackend, "Connections to the backend that could not be made, or not in time."},
	backendQueued:      {"lb_backend_queued", Gauge, byBackend, "Attempts that wait for connections.max_conns to let them through."},
	backendQueueTimeouts: {"lb_backend_queue_timeouts_total", Counter, byBackend,
		"Attempts that were not let through: within connections.queue_timeout, or since connections.max_queue waited already."},

	backendEjected: {"lb_backend_ejected", Gauge, byBackend,
		"1 if outlier detection keeps exchanges away as long as the service has others, else 0."},
	backendLimit: {"lb_backend_concurrency_limit", Gauge, byBackend,
		"Attempts that the backend is found to be able to take at a time. Absent without adaptive_concurrency."},
	backendEjections: {"lb_backend_ejections_total", Counter, byBackend, "Ejections by outlier detection."},

	routeRequests:     {"lb_route_requests_total", Counter, []string{"route", "source", "service"}, "Exchanges that the route matched."},
	noRoute:           {"lb_no_route_total", Counter, none, "Exchanges that no route matched, answered 404."},
	requestsInFlight:  {"lb_requests_in_flight", Gauge, none, "Exchanges under way."},
	connectionsActive: {"lb_connections_active", Gauge, none, "Client connections that are open."},
	connections:       {"lb_connections_total", Counter, none, "Client connections accepted."},
	exchangesFailed: {"lb_exchanges_failed_total", Counter, []string{"reason"},
		"Exchanges that did not end well, by the reason that the access log has too."},
	fleetReplicas:    {"lb_fleet_replicas", Gauge, nil, "Balancers in the list of the fleet, as this one sees it; 0 without a store."},
	fleetDiffering:   {"lb_fleet_replicas_differing", Gauge, nil, "Those of them whose table is not that of the majority."},
	overridesInForce: {"lb_overrides", Gauge, nil, "Backends that an operator steers."},
	overridesPending: {"lb_overrides_pending", Gauge, nil, "Those of them whose last change is not written to the store yet."},

	sessionsRemembered: {"lb_sessions_remembered", Gauge, nil, "Sessions in memory."},
	sessionsInStep:     {"lb_sessions_shared_in_step", Gauge, nil, "1 if the shared sessions in memory are those of the store, else 0. Absent, as the others of their kind, where none are shared."},
	sessionsPending:    {"lb_sessions_shared_pending", Gauge, nil, "Shared sessions that are to be written to the store."},
	sessionsWritten:    {"lb_sessions_shared_written_total", Counter, nil, "Changes of shared sessions that were written to the store."},
	sessionsOvertaken:  {"lb_sessions_shared_overtaken_total", Counter, nil, "Changes of shared sessions that were given up, since another replica had made one before."},
	sessionsDropped:    {"lb_sessions_shared_dropped_total", Counter, nil, "Changes of shared sessions that there was no room for: they are made with the session's next exchange, if ever."},
	probes:             {"lb_probes_total", Counter, nil, "Probes of backends made by this balancer."},
	probedByOthers:     {"lb_probe_shared_backends", Gauge, nil, "Backends that other balancers of the fleet probe for this one."},
	sharedVerdicts:     {"lb_probe_shared_verdicts_total", Counter, nil, "Verdicts taken from other balancers' probes, counted when they change."},
	limits:             {"lb_limits_total", Counter, []string{"limit"}, "How often a bound has struck, by its key in the configuration."},

	discoveryUp: {"lb_discovery_up", Gauge, bySource, "1 if the source is in step with its store, else 0."},
	discoverySync: {"lb_discovery_last_sync_timestamp_seconds", Gauge, bySource,
		"When the source was last known to be in step, in Unix time. Absent before the first time."},
	discoveryStaleness: {"lb_discovery_staleness_seconds", Gauge, bySource,
		"Time since the source was last known to be in step with its store; since the start, if it never was."},
	discoveryStale: {"lb_discovery_stale_items", Gauge, bySource,
		"Items whose state in the store is not known now; what was known of them before stays in force."},
	discoveryRejected: {"lb_discovery_rejected_total", Counter, byReason, "Items that could not be taken, by problem code."},
	discoveryResyncs:  {"lb_discovery_resyncs_total", Counter, byReason, "Full listings begun, by what made them necessary."},
	discoveryPropagation: {"lb_discovery_propagation_seconds", HistogramKind, none,
		"Time from a source's event to the table that holds it."},
	discoveryServices: {"lb_discovery_services", Gauge, bySource, "Services that the source announces."},
	discoveryBackends: {"lb_discovery_backends", Gauge, bySource, "Backends that the source announces."},
	discoveryRoutes:   {"lb_discovery_routes", Gauge, bySource, "Routes that the source announces."},
	discoveryProblems: {"lb_discovery_problems", Gauge, bySource, "Items of the source that are rejected now."},

	discoveryDifferences: {"lb_discovery_shadow_differences", Gauge, bySource,
		"What the source announces otherwise than the first one, where sources are compared (merge: shadow)."},

	discoveryRestored: {"lb_discovery_from_snapshot", Gauge, bySource,
		"1 while what is in force of the source is from the snapshot on disk, since it has not been in step since the start, else 0."},

	guardHolding: {"lb_guard_holding", Gauge, bySource, "1 while removals of the source are held back, else 0."},
	guardHeld: {"lb_guard_held_backends", Gauge, bySource,
		"Backends that serve though the source announces them no more, since most of what it announced was gone at once."},
	guardIncidents: {"lb_guard_incidents_total", Counter, bySource, "How often most of what the source announced was gone at once."},
	guardEnded: {"lb_guard_ended_total", Counter, byReason,
		"Backends that are held back no longer: returned, failed their check, released by an operator, or expired with the hold."},

	ready:           {"lb_ready", Gauge, none, "1 if /readyz answers 200, else 0."},
	tableGeneration: {"lb_table_generation", Gauge, none, "Routing tables published since the start."},
	tableInfo: {"lb_table_info", Gauge, []string{"fingerprint"},
		"Always 1; the label is equal for balancers that route alike."},
	tableProblems: {"lb_table_problems", Gauge, none, "Items left out of the routing table because something is wrong with them."},
	services:      {"lb_services", Gauge, none, "Services in the routing table."},
	backends:      {"lb_backends", Gauge, none, "Backends in the routing table."},
	routes:        {"lb_routes", Gauge, none, "Routes in the routing table."},

	configReloads: {"lb_config_reloads_total", Counter, []string{"result"}, "Reloads of the configuration file: success or refused."},
	configLastOK: {"lb_config_last_reload_successful", Gauge, none,
		"1 if the configuration file as it is now is in force, 0 if it was refused and the one before still holds."},
	configLastTaken: {"lb_config_last_reload_success_timestamp_seconds", Gauge, none,
		"When the configuration in force was taken, in Unix time."},
	certificateExpiry: {"lb_tls_certificate_expiry_timestamp_seconds", Gauge, []string{"certificate"},
		"When the certificate expires, in Unix time."},
	snapshotWrites: {"lb_snapshot_writes_total", Counter, []string{"result"}, "Writings of the snapshot: success or failed."},
	snapshotLast:   {"lb_snapshot_last_write_timestamp_seconds", Gauge, none, "When the snapshot was last written, in Unix time. Absent before."},
	snapshotBytes:  {"lb_snapshot_bytes", Gauge, none, "Size of the snapshot that was written last."},
	snapshotLoaded: {"lb_snapshot_loaded", Gauge, none, "1 if a snapshot was loaded at the start, else 0."},
	snapshotCorrupt: {"lb_snapshot_corrupt", Gauge, none,
		"1 if the snapshot was damaged at the start, so that it was set aside and not loaded, else 0."},
	accessLogDropped: {"lb_access_log_dropped_total", Counter, none, "Access log lines dropped because the log could not keep up."},
	buildInfo:        {"lb_build_info", Gauge, []string{"version", "revision", "goversion"}, "Always 1; the labels tell what runs."},
}
