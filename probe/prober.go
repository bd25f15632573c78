package probe

import (
	"container/heap"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Config configures a [Prober].
type Config struct {
	// Report takes every result. It is called outside all locks, for one target after another in order, for several
	// concurrently. It must not block for long: a target is not probed again before it returns. It must not be nil.
	//
	// A result is dropped when its target was removed or changed before it was there; one that is just being reported
	// then may still arrive.
	Report func(key string, r Result)
	// Concurrency is the greatest number of probes under way; 0 or less means 512. Beyond it, probes wait in the order
	// in which they were due.
	Concurrency int
	// UserAgent is sent with http probes; empty means loadbalancer-probe.
	UserAgent string
	// Dial makes connections; nil means a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger is told of changed verdicts; nil discards.
	Logger *slog.Logger
}

// Prober probes targets. Its methods may be called concurrently.
type Prober struct {
	config Config
	check  checker
	wake   chan struct{} // tells the scheduler to look again

	mu       sync.Mutex
	targets  map[string]*target // guarded by mu
	schedule schedule           // guarded by mu: the targets without a probe under way
	running  int                // guarded by mu: probes under way, those of targets that are gone included
	begun    uint64             // guarded by mu: probes ever
	lag      time.Duration      // guarded by mu
	ended    bool               // guarded by mu: Run is returning
}

// New returns a prober without targets.
func New(c Config) *Prober {
	if c.Concurrency <= 0 {
		c.Concurrency = 512
	}
	if c.UserAgent == "" {
		c.UserAgent = "loadbalancer-probe"
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Prober{
		config:  c,
		check:   checker{dial: c.Dial, userAgent: c.UserAgent},
		wake:    make(chan struct{}, 1),
		targets: map[string]*target{},
	}
}

// Update adds or replaces the targets of set by their keys, and removes those whose keys are in remove; set wins where a
// key is in both. A target that is as it was is left alone. One whose options or TLS settings changed keeps its verdict
// and counts, and is probed within its new interval; one whose URL changed is a new one. A target whose interval
// disables probing is removed. Nothing is reported of removed targets: what becomes of their verdict is the caller's.
//
// Update may be called before, during and after [Prober.Run].
func (p *Prober) Update(set []Target, remove []string) {
	now := time.Now()
	keep := make(map[string]bool, len(set))
	for _, t := range set {
		keep[t.Key] = true
	}
	var idle []net.Conn
	p.mu.Lock()
	for _, key := range remove {
		if !keep[key] {
			idle = append(idle, p.removeLocked(key))
		}
	}
	for _, t := range set {
		idle = append(idle, p.setLocked(t, now, len(set)))
	}
	p.mu.Unlock()
	p.wakeUp()
	closeAll(idle)
}

// setLocked adds or replaces a target, one of so many that come together. It returns a connection to be closed, nil for
// none.
func (p *Prober) setLocked(t Target, now time.Time, together int) net.Conn {
	interval := t.Options.Interval
	if interval <= 0 || p.ended {
		return p.removeLocked(t.Key)
	}
	var idle net.Conn
	next := newTarget(t)
	next.due = now.Add(next.firstWait(together))
	if old := p.targets[t.Key]; old != nil {
		if old.Target == t {
			return nil
		}
		if old.URL == t.URL {
			next.inherit(old)
			if next.verdict != probing {
				next.due = now.Add(rand.N(t.Options.wait(next.verdict)))
			}
			if old.cancel == nil && old.due.Before(next.due) {
				next.due = old.due
			}
		}
		idle = p.removeLocked(t.Key)
	}
	p.targets[t.Key] = next
	heap.Push(&p.schedule, next)
	return idle
}

// removeLocked removes a target, if it is there. It returns a connection to be closed, nil for none.
func (p *Prober) removeLocked(key string) net.Conn {
	t := p.targets[key]
	if t == nil {
		return nil
	}
	delete(p.targets, key)
	t.gone = true
	if t.cancel != nil {
		t.cancel() // the probe under way closes its connection
		return nil
	}
	heap.Remove(&p.schedule, t.index)
	return t.conn
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// Stats are a reading of a prober.
type Stats struct {
	// Targets is how many targets there are; Running how many probes are under way.
	Targets, Running int
	// Probes is how many have begun, ever.
	Probes uint64
	// Lag is how late the probe that began last was; more than a moment says that Concurrency is too low.
	Lag time.Duration
}

// Stats reads the prober.
func (p *Prober) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Targets: len(p.targets), Running: p.running, Probes: p.begun, Lag: p.lag}
}

// Run probes until the context ends. It returns when all probes have ended and all connections are closed, and is
// called once.
func (p *Prober) Run(ctx context.Context) {
	var probes sync.WaitGroup
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(p.start(ctx, &probes))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.wake:
		}
	}
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	probes.Wait()
	var idle []net.Conn
	p.mu.Lock()
	for key := range p.targets {
		idle = append(idle, p.removeLocked(key))
	}
	p.mu.Unlock()
	closeAll(idle)
}

// start begins the probes that are due, as far as the concurrency allows, and returns how long until the next one is.
func (p *Prober) start(ctx context.Context, probes *sync.WaitGroup) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.schedule) > 0 && p.running < p.config.Concurrency {
		now := time.Now()
		t := p.schedule[0]
		if wait := t.due.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&p.schedule)
		p.lag = now.Sub(t.due)
		p.running++
		p.begun++
		probeCtx, cancel := context.WithTimeout(ctx, t.Options.timeout())
		t.cancel = cancel
		probes.Go(func() {
			defer cancel()
			p.probe(ctx, probeCtx, t, now)
		})
	}
	return time.Hour // the next Update, or the next probe that ends, wakes the scheduler
}

// probe probes a target once, within ctx, and schedules its next probe; run is the context of all.
func (p *Prober) probe(run, ctx context.Context, t *target, began time.Time) {
	err := p.check.check(ctx, t)
	r := Result{At: began, Latency: time.Since(began), Err: err}

	p.mu.Lock()
	current := !t.gone && run.Err() == nil
	first := t.verdict == probing
	if current {
		r.Up, r.Changed = t.judge(err)
	}
	p.mu.Unlock()
	if current {
		p.report(t, r, first)
	}

	p.mu.Lock()
	p.running--
	t.cancel = nil
	var idle net.Conn
	if t.gone {
		idle = t.conn
	} else {
		t.due = began.Add(t.wait(first))
		heap.Push(&p.schedule, t)
	}
	p.mu.Unlock()
	p.wakeUp()
	closeAll([]net.Conn{idle})
}

func (p *Prober) report(t *target, r Result, first bool) {
	switch {
	case r.Changed && r.Up && first: // as it should be, and with a first table for all at once
		p.config.Logger.Debug("backend is up", "url", t.URL)
	case r.Changed && r.Up:
		p.config.Logger.Info("backend is up", "url", t.URL)
	case r.Changed:
		p.config.Logger.Warn("backend is down", "url", t.URL, "err", r.Err, "failures", t.failures)
	}
	p.config.Report(t.Key, r)
}

func (p *Prober) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
