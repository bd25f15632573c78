package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/internal/backoff"
)

// Source follows what is announced in one etcd cluster. It is made by [New].
type Source struct {
	opts   Options // Prefix is complete
	format format
	// pageSize is the number of keys per page of a listing, maxMessage what one answer of the store may hold in bytes. A
	// page that is larger is asked for in smaller ones.
	pageSize   int64
	maxMessage int
}

var _ discovery.Source = (*Source)(nil)

// Name is the name that was configured.
func (s *Source) Name() string { return s.opts.Name }

// Run follows the store until the context ends and returns nil then. An outage is told to the sink once for each nature
// that it takes on (first the store cannot be reached, then it refuses the password), however often it is tried. Runs
// may follow each other and go on side by side; they share nothing.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	return s.follow(ctx, sink, newCore(s.opts.Prefix, s.format, s.opts.Decoder))
}

// follow is Run with another content.
func (s *Source) follow(ctx context.Context, sink discovery.Sink, core content) error {
	// Balancers that start together do not all follow the first member.
	r := &run{Source: s, sink: sink, core: core, reason: "start", member: rand.N(len(s.opts.Endpoints))}
	pause := backoff.Backoff{Max: 5 * time.Second}
	for {
		r.inStep = time.Time{}
		err := r.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if r.ended(err) {
			pause.Reset()
			continue
		}
		if !pause.Wait(ctx) {
			return nil
		}
	}
}

// content is what is made of the keys; [core] makes announcements of them.
type content interface {
	put(keyValue)
	remove(key string)
	replace([]keyValue)
	// announce tells the sink everything, flush what changed since.
	announce(to discovery.Sink, seen time.Time)
	flush(to discovery.Sink, seen time.Time)
}

// revised is a [content] that is told the revision of what it is about to announce.
type revised interface{ revise(rev int64) }

// gradual is content that takes a listing as it comes. What was put since begin counts when end says that it was all; a
// listing that is broken off is followed by another one before anything is announced.
type gradual interface {
	content
	begin()
	end()
}

// run is one Run: what it knows from session to session.
type run struct {
	*Source
	sink discovery.Sink
	core content // what is made of the keys

	member  int       // of Options.Endpoints, to be tried first
	reason  string    // of the next resync
	watched uint64    // the cluster of the session's watch, which is to be listed; 0 for any
	cluster uint64    // of the last listing; 0 before the first
	rev     int64     // of the last listing
	inStep  time.Time // since when this session is; zero before
	told    []string  // the natures of the outage that the sink was told of; none when in step
}

// session connects, resyncs and follows until something breaks; it returns what did. A new connection is made each time,
// to the next member: the old one's state and login are worth nothing.
func (r *run) session(ctx context.Context) error {
	d, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	l, err := r.begin(ctx, d.watch, d.client)
	if err != nil {
		return err
	}
	r.resync(l)
	return r.follow(ctx, d.watch, l)
}

// begin lists what the watch will change.
func (r *run) begin(ctx context.Context, w *watch, kv clientv3.KV) (*listing, error) {
	r.watched = w.cluster
	return r.list(ctx, kv)
}

// reasonReset is why everything is listed anew when the store is another one, or has lost what it had.
const reasonReset = "index-reset"

// resync announces a listing. From here on the source is in step: the watch stands already.
func (r *run) resync(l *listing) {
	if r.cluster != 0 && (l.cluster != r.cluster || l.rev < r.rev) {
		r.reason = reasonReset
	}
	r.cluster, r.rev = l.cluster, l.rev
	now := time.Now()
	if g, ok := r.core.(gradual); ok {
		g.end()
	} else {
		r.core.replace(l.kvs)
	}
	l.kvs = nil
	r.revise(l.rev)
	r.sink.Resync(r.reason)
	r.core.announce(r.sink, now)
	r.sink.Synced()
	r.inStep, r.told = now, nil
}

func (r *run) revise(rev int64) {
	if c, ok := r.core.(revised); ok {
		c.revise(rev)
	}
}

// ended takes the end of a session and reports whether the next may follow at once. A session that was in step for long
// and broke is no outage before the next one fails, unless it had been deaf all along.
func (r *run) ended(err error) (atOnce bool) {
	if !r.inStep.IsZero() {
		r.reason = "reconnect"
		if errors.Is(err, errCompacted) {
			r.reason = "compaction"
		}
		if !errors.Is(err, errSilent) {
			return time.Since(r.inStep) >= r.opts.Liveness
		}
	}
	if nature, outage := r.explain(err); !slices.Contains(r.told, nature) {
		r.told = append(r.told, nature)
		r.sink.Failed(outage)
	}
	return false
}
