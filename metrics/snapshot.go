package metrics

import (
	"iter"
	"slices"
	"time"
)

// Reader gives the numbers that a scrape shows.
type Reader interface {
	// Read returns the numbers as they are now. It is called once a scrape, concurrently if scrapes overlap; the
	// snapshot is the caller's.
	Read() Snapshot
}

// Snapshot is everything that is shown, read at one moment. What its zero value leaves out is shown as 0 or not at all.
type Snapshot struct {
	Services     Items[Service]
	Backends     Items[Backend]
	Routes       []Route
	Sources      []Source
	Certificates []Certificate

	// Generation counts published tables; Problems are the items that the current one leaves out.
	Generation uint64
	Problems   int
	// Fingerprint tells tables apart.
	Fingerprint string
	// Ready reports whether the readiness check passes.
	Ready bool

	// Connections are client connections open now, Accepted all there ever were.
	Connections int64
	Accepted    uint64
	// Exchanges are under way now.
	Exchanges int64
	// NoRoute counts exchanges that no route matched.
	NoRoute uint64
	// Failed counts exchanges that did not end well, by reason; Limits how often each bound has struck, by its name.
	Failed, Limits map[string]uint64
	// Replicas are in the list of the fleet, Differing have other tables than most. Overrides are steered by an operator,
	// Pending not written yet.
	Replicas, Differing, Overrides, Pending int
	// Remembered are sessions in memory.
	Remembered int64
	Sharing    Sharing

	// Probes are all that were made. ProbedByOthers are backends that only others of the fleet probe, SharedVerdicts the
	// changes of verdicts that were taken from them.
	Probes, SharedVerdicts uint64
	ProbedByOthers         int

	// Propagation is the time from a source's event to the table that holds it.
	Propagation Histogram
	Reloads     Reloads
	Snapshot    SnapshotFile
	// AccessLogDropped counts lines that were not written because the log could not keep up.
	AccessLogDropped uint64
}

// Sharing tells of the sessions that replicas share; without On there is no store.
type Sharing struct {
	On, InStep                  bool
	Pending                     int64
	Written, Overtaken, Dropped uint64
}

// Items are many things to show, gone through more than once and never gathered. The zero value has none.
type Items[T any] struct {
	// Len is how many there are.
	Len int
	// Each goes through them. One is valid until the next.
	Each iter.Seq[*T]
}

// ItemsOf are the elements of a slice.
func ItemsOf[T any](s []T) Items[T] {
	return Items[T]{Len: len(s), Each: func(yield func(*T) bool) {
		for i := range s {
			if !yield(&s[i]) {
				return
			}
		}
	}}
}

func (i Items[T]) all() iter.Seq[*T] {
	if i.Each == nil {
		return slices.Values[[]*T](nil)
	}
	return i.Each
}

// Counts are the counters that services (of exchanges) and backends (of attempts) have in common.
type Counts struct {
	// Codes counts by first digit of the status, index 0 what got no answer.
	Codes [6]uint64
	// Latency is the time to the response's head.
	Latency Histogram
	// Retries counts what was tried again, Sessions what was begun.
	Retries, Sessions uint64
}

// Histogram is a reading of a histogram over the bounds given to [New].
type Histogram struct {
	// Buckets are not cumulated; the last counts what is above all bounds. Missing ones count nothing.
	Buckets []uint64
	Sum     time.Duration
}

// Service is a set of backends under one policy.
type Service struct {
	Name string
	Counts
	// Backends are all there are, Ready those that take new exchanges.
	Backends, Ready int
	// Used are those of which this balancer uses any, Panic says that others than those that are ready take part.
	Used  int
	Panic bool
	// Zones counts attempts by the zone of the backend, empty for none.
	Zones map[string]uint64
	// Hedges counts second attempts, made or not, by what became of them.
	Hedges map[string]uint64
}

// Backend is one address of a service.
type Backend struct {
	Service, ID string
	Counts
	// Up is the verdict of the probes, Ready whether new exchanges go there.
	Up, Ready, Draining bool
	// Ejected reports whether outlier detection keeps exchanges away; Ejections counts how often it began to.
	Ejected bool
	// Limit is how many attempts it is found to be able to take; it is shown unless 0.
	Limit     int64
	Ejections uint64
	// Breaker is what the circuit breaker does.
	Breaker BreakerState
	Weight  int
	// InFlight counts attempts under way, Queued those of them that wait for their turn.
	InFlight, Queued int64
	// Connections are open now, of Connected that were ever made; Unconnected could not be made.
	Connections            int64
	Connected, Unconnected uint64
	// Beaten counts attempts that were given up since another backend had answered.
	Beaten uint64
	// QueueTimeouts counts attempts whose turn did not come.
	QueueTimeouts uint64
	// ProbeTime is how long the last probe took; it is shown if Probed.
	ProbeTime time.Duration
	Probed    bool
}

// BreakerState is the value of lb_backend_breaker_state.
type BreakerState int

// The states of a breaker.
const (
	BreakerClosed   BreakerState = 0
	BreakerOpen     BreakerState = 1
	BreakerHalfOpen BreakerState = 2
)

// Route is a match that leads to a service.
type Route struct {
	Name, Source, Service string
	Requests              uint64
}

// Source is a place that announces backends.
type Source struct {
	Name string
	Up   bool
	// Synced is when the source was last in step; it is shown unless zero.
	Synced time.Time
	// Staleness is the time since then, or since the start if the source never was in step.
	Staleness time.Duration
	// Services, Backends and Routes are announced; Problems are items rejected now, Stale those that are older than what
	// the store holds.
	Services, Backends, Routes, Problems, Stale int
	// Resyncs and Rejected count by reason.
	Resyncs, Rejected map[string]uint64
	Guard             Guard
	// Differences counts what the source announces otherwise than the one that counts, where it is shadowed.
	Differences int
	// Restored reports whether what is in force of the source is from the snapshot on disk.
	Restored bool
}

// SnapshotFile tells of the file that the last known good state is kept in.
type SnapshotFile struct {
	// Configured reports whether there is one; nothing is shown otherwise.
	Configured bool
	// Written and Failed count writings. Last is when one went well; it is shown unless zero.
	Written, Failed uint64
	Last            time.Time
	Bytes           int64
	// Loaded reports whether a state was loaded at the start, Corrupt whether the file was set aside then.
	Loaded, Corrupt bool
}

// Guard tells of removals that are held back.
type Guard struct {
	// Holding reports whether any are, Held counts the backends.
	Holding bool
	Held    int
	// Incidents counts how often most of what the source announced was gone, Ended the backends held no longer, by reason.
	Incidents uint64
	Ended     map[string]uint64
}

// Certificate is one that the balancer shows to clients.
type Certificate struct {
	// Name tells certificates apart, for people: the file it came from.
	Name string
	// NotAfter is when it expires.
	NotAfter time.Time
}

// Reloads tell of the configuration file.
type Reloads struct {
	// Taken and Refused count reloads; the load at the start is not one.
	Taken, Refused uint64
	// LastOK reports whether the file as it is now is in force.
	LastOK bool
	// LastTaken is when the configuration in force was taken; it is shown unless zero.
	LastTaken time.Time
}
