package probe

import (
	"context"
	"math/rand/v2"
	"net"
	"time"
)

// Target is something to probe. Targets are comparable.
type Target struct {
	// Key names the target; it is handed back with each result.
	Key string
	// URL is scheme://host:port, http or https. A tcp probe connects to its host and port.
	URL     string
	Options Options
	// TLS is how an https target is verified.
	TLS TLS
}

// TLS says how https targets are verified. The zero value verifies the host name of the URL against the system's
// authorities.
type TLS struct {
	// ServerName is verified, and sent as SNI, instead of the host in the URL.
	ServerName string
	// CAFile holds the authorities (PEM) instead of the system's. It is read again when it changes.
	CAFile string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
}

// Result is what came of one probe.
type Result struct {
	// At is when the probe began.
	At time.Time
	// Latency is how long it took.
	Latency time.Duration
	// Err is why the probe failed, in words for people; nil for a success.
	Err error
	// Up is the verdict on the target after this probe.
	Up bool
	// Changed reports whether this probe changed the verdict. The first on a target that began as probing does.
	Changed bool
}

// verdict is what the probes say of a target.
type verdict uint8

const (
	up verdict = iota
	down
	probing // nothing yet
)

// target is a Target as the prober keeps it. A target whose settings change is replaced by another record, so that a
// result is known to be stale by the record it belongs to. All fields but conn are guarded by the prober's mu.
type target struct {
	Target

	due   time.Time
	index int // in the heap; -1 while a probe is under way
	gone  bool
	// cancel ends the probe under way; nil if there is none.
	cancel context.CancelFunc
	// conn is the idle connection of the last probe, nil for none. It belongs to the probe under way, and is guarded by
	// mu between probes.
	conn net.Conn

	verdict             verdict
	failures, successes int // in a row; one of them is 0
}

// newTarget is the record of a target of which nothing is known.
func newTarget(t Target) *target {
	n := &target{Target: t}
	if t.Options.InitialState == InitiallyProbing {
		n.verdict = probing
	}
	return n
}

// judge counts the outcome of a probe and returns the verdict.
func (t *target) judge(err error) (ok, changed bool) {
	was := t.verdict
	if err != nil {
		t.failures, t.successes = t.failures+1, 0
		if was == probing || t.failures >= t.Options.failures() {
			t.verdict = down
		}
	} else {
		t.failures, t.successes = 0, t.successes+1
		if was == probing || t.successes >= t.Options.successes() {
			t.verdict = up
		}
	}
	return t.verdict == up, t.verdict != was
}

// inherit takes over what a record of the same address has learned.
func (t *target) inherit(from *target) {
	t.verdict, t.failures, t.successes = from.verdict, from.failures, from.successes
	if from.cancel == nil && from.TLS == t.TLS && from.sameConn(t) {
		t.conn, from.conn = from.conn, nil
	}
}

// sameConn reports whether two records of an address are probed over connections of the same kind.
func (t *target) sameConn(o *target) bool {
	return t.Options.Type == o.Options.Type && t.Options.Port == o.Options.Port && t.Options.Scheme == o.Options.Scheme
}

// firstWait is the wait before the first probe: short, but not the same for all targets of a table. Targets that are
// in no use before it are probed at once, about a thousand a second.
func (t *target) firstWait(together int) time.Duration {
	spread := min(t.Options.Interval, time.Second)
	if t.verdict == probing {
		spread = min(spread, time.Duration(together)*time.Millisecond)
	}
	return rand.N(spread)
}

// wait is the time from the start of a probe that came out so to the start of the next. After the probe that ended
// probing, which many targets have together, it is drawn from the whole interval, so that they drift apart.
func (t *target) wait(first bool) time.Duration {
	interval := t.Options.wait(t.verdict)
	if first {
		return interval/10 + rand.N(interval-interval/10)
	}
	return nextWait(interval)
}

// nextWait is the time from the start of one probe to the start of the next.
func nextWait(interval time.Duration) time.Duration {
	tenth := interval / 10
	return interval - tenth + rand.N(2*tenth+1)
}

// schedule is a heap of targets, the one due first on top.
type schedule []*target

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *schedule) Push(x any) {
	t := x.(*target)
	t.index = len(*s)
	*s = append(*s, t)
}

func (s *schedule) Pop() any {
	last := len(*s) - 1
	t := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	t.index = -1
	return t
}
