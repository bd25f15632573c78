package register

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/probe"
)

// writtenWithin bounds the wait for stores to take the drain; one that is away is not waited for.
const writtenWithin = 3 * time.Second

// starting is why a backend is down that was not healthy yet.
const starting = "the check has not succeeded yet"

// run is one Run.
type run struct {
	Options
	record  announce.Record // as announced now
	keepers []*announce.Keeper[announce.Record]
	stop    context.CancelFunc // ends the announcements
	ended   sync.WaitGroup     // of them
	cmd     *command           // nil for none
}

// Run announces until the command ends, a signal says so, or the context ends, which counts as SIGTERM. It returns the
// exit code of the command, 0 if there is none, 128 and the signal's number for a command that a signal killed. An error
// says that nothing was begun. It is called once with the same places.
func Run(ctx context.Context, o Options) (code int, err error) {
	o, err = o.withDefaults()
	if err != nil {
		for _, p := range o.Places {
			_ = p.Slot.Close()
		}
		return 0, err
	}
	r := &run{Options: o, record: o.Record}
	if len(o.Command) > 0 {
		if r.cmd, err = start(o); err != nil {
			for _, p := range o.Places {
				_ = p.Slot.Close()
			}
			return 0, err
		}
		o.Logger.Info("started", "command", o.Command[0], "pid", r.cmd.pid())
	}
	r.announce(context.WithoutCancel(ctx))
	health, stopChecks := r.check(context.WithoutCancel(ctx))
	sig := r.serve(ctx, health)
	stopChecks()
	if sig != nil {
		r.drain()
	}
	r.stop()
	r.ended.Wait()
	return r.finish(sig), nil
}

// announce begins to keep the record in all places.
func (r *run) announce(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	for _, p := range r.Places {
		log := r.Logger.With("place", p.Name)
		k := announce.NewKeeper(p.Slot, announce.Options{TTL: r.TTL, Told: func(err error) {
			if err != nil {
				log.Error("the announcement is not kept up; trying again", "err", err)
			} else {
				log.Info("in step with the store", "service", r.Record.Service, "id", r.Record.ID, "url", r.Record.URL)
			}
		}})
		r.keepers = append(r.keepers, k)
		r.ended.Go(func() {
			if err := k.Run(ctx); err != nil {
				log.Warn("not deregistered; the store forgets by itself", "within", r.TTL, "err", err)
			}
		})
	}
	if r.Check.Interval > 0 {
		r.record.Down = starting
	}
	r.set()
}

// set hands the record to all keepers.
func (r *run) set() {
	for _, k := range r.keepers {
		k.Set(r.record)
	}
}

// check probes the backend, often until it first succeeds. The channel brings why it is down, empty when it is healthy.
func (r *run) check(ctx context.Context) (verdicts <-chan string, stop func()) {
	if r.Check.Interval <= 0 {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan string)
	failures, down := 0, true
	first := r.Check
	first.Interval = min(first.Interval, 200*time.Millisecond)
	var prober *probe.Prober
	prober = probe.New(probe.Config{UserAgent: "loadbalancer-register", Report: func(_ string, res probe.Result) {
		why, was := "", down
		if res.Err == nil {
			failures, down = 0, false
		} else if failures++; failures >= r.Check.FailureThreshold {
			why, down = res.Err.Error(), true
		}
		if down == was {
			return
		}
		prober.Update([]probe.Target{{URL: r.record.URL, Options: r.Check, TLS: probe.TLS{InsecureSkipVerify: true}}}, nil)
		select {
		case out <- why:
		case <-ctx.Done():
		}
	}})
	prober.Update([]probe.Target{{URL: r.record.URL, Options: first, TLS: probe.TLS{InsecureSkipVerify: true}}}, nil)
	var wg sync.WaitGroup
	wg.Go(func() { prober.Run(ctx) })
	return out, func() {
		cancel()
		wg.Wait()
	}
}

// serve keeps the announcement in step with the check until the command ends, when it returns nil, or is to end.
func (r *run) serve(ctx context.Context, health <-chan string) os.Signal {
	for {
		select {
		case <-r.exited():
			return nil
		case <-ctx.Done():
			return syscall.SIGTERM
		case sig := <-r.Signals:
			if ends(sig) {
				return sig
			}
			r.cmd.signal(sig)
		case why := <-health:
			r.record.Down = why
			if why == "" {
				r.Logger.Info("healthy; announced")
			} else {
				r.Logger.Warn("unhealthy; withdrawn", "err", why)
			}
			r.set()
		}
	}
}

// exited is closed when the command has ended; nil without one.
func (r *run) exited() <-chan struct{} {
	if r.cmd == nil {
		return nil
	}
	return r.cmd.exited
}

// drain announces the drain and gives it time. The command's end and a second signal end the wait.
func (r *run) drain() {
	if r.Drain < 0 || r.record.Down != "" {
		return
	}
	r.Logger.Info("draining", "for", r.Drain)
	r.record.Draining = true
	r.set()
	ctx, cancel := context.WithTimeout(context.Background(), writtenWithin)
	defer cancel()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for _, k := range r.keepers {
			k.Written(ctx)
		}
	}()
	defer func() {
		cancel()
		<-written
	}()
	var passed <-chan time.Time
	taken := (<-chan struct{})(written)
	for {
		select {
		case <-taken:
			taken = nil
			passed = time.After(r.Drain)
		case <-passed:
			return
		case <-r.exited():
			return
		case sig := <-r.Signals:
			if ends(sig) {
				r.Logger.Info("not waiting for the drain any longer", "signal", sig.String())
				return
			}
			r.cmd.signal(sig)
		}
	}
}

// finish tells the command the signal and waits for its end.
func (r *run) finish(sig os.Signal) int {
	if r.cmd == nil {
		return 0
	}
	if sig != nil {
		r.cmd.signal(sig)
	}
	for {
		select {
		case <-r.cmd.exited:
			r.Logger.Info("the command has ended", "code", r.cmd.code)
			return r.cmd.code
		case sig := <-r.Signals:
			r.cmd.signal(sig)
		}
	}
}

// ends reports whether a signal asks to end.
func ends(sig os.Signal) bool { return sig == syscall.SIGTERM || sig == os.Interrupt }

var errNoCommand = errors.New("the command is empty")
