package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/probe"
	"github.com/vietddude/load-balancer/routing"
)

// shareEvery is how often at most verdicts are told: those of a moment are told together.
const shareEvery = 50 * time.Millisecond

// sharing is the part of probes that deals with other balancers. Board and self are set before anything runs; the rest
// is guarded by the mu of probes.
type sharing struct {
	board probe.Board // nil for none
	self  string
	log   *slog.Logger

	subjects map[*backend.State]*subject // backends whose probes are shared
	shared   *probe.Shared               // what all have told; nil while that is not known
	taken    uint64                      // changes of verdicts of those that others alone probe
	alone    bool                        // it has been told that there is no board
	dirty    chan struct{}               // holds a token when there may be something new to tell
}

// subject is a backend whose probes are shared.
type subject struct {
	probe.Subject
	of *routing.Backend
	in *routing.Service
	// own is what our own probes say, nil for nothing yet, and while we make none.
	own *probe.Verdict
	// last is what was decided last.
	last probe.Decision
}

// changed has share look whether there is something to tell.
func (p *sharing) changed() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// subjectLocked is the record of a backend whose probes are shared; nil for another. One that a guard holds is not: its
// probes look for something else.
func (p *probes) subjectLocked(b *routing.Backend, s *routing.Service) *subject {
	by := s.Policy.ProbeBy
	if by > 0 && p.board == nil && !p.alone {
		p.alone = true
		p.log.Warn("probes are not shared: health_check.share needs an etcd, in discovery or as fleet.store; this balancer probes all backends")
	}
	sub := p.subjects[b.State]
	if by <= 0 || p.board == nil || b.Held {
		if sub != nil {
			delete(p.subjects, b.State)
			p.changed()
		}
		return nil
	}
	if sub == nil {
		key := b.State.Key()
		sub = &subject{Subject: probe.Subject{Service: key.Service, ID: key.ID, URL: key.URL}}
		p.subjects[b.State] = sub
		p.changed()
	}
	sub.By, sub.of, sub.in = by, b, s
	delete(p.held, b.State)
	return sub
}

// decideLocked does what is to be done about a backend by what is known now: it takes the verdict to the record and adds
// to the targets that are set and removed. Renew says that the target may have changed.
func (p *probes) decideLocked(s *backend.State, sub *subject, renew bool, set []probe.Target, gone []string) ([]probe.Target, []string) {
	d := p.shared.Decide(&sub.Subject, sub.own)
	key, probed := p.keys[s]
	switch {
	case d.Probe && (renew || !probed):
		set = append(set, p.targetLocked(sub.of, sub.in))
	case !d.Probe && probed:
		delete(p.keys, s)
		delete(p.states, key.name)
		sub.own = nil
		gone = append(gone, key.name)
	}
	last := sub.last
	p.noteLocked(sub, d)
	if d.Known && (!last.Known || d.Down != last.Down || d.Why != last.Why || !slices.Equal(d.By, last.By)) {
		r := backend.ProbeResult{At: time.Now(), By: d.By}
		if own := s.LastProbe(); sub.own != nil && own != nil {
			r.At, r.Latency, r.Err = own.At, own.Latency, own.Err
		} else if d.Down {
			r.Err = errors.New(d.Why)
		}
		judge(s, d, r)
	}
	return set, gone
}

// noteLocked keeps what was decided.
func (p *probes) noteLocked(sub *subject, d probe.Decision) {
	if d.Tell != sub.last.Tell {
		p.changed()
	}
	if !d.Probe && d.Down != (sub.last.Known && sub.last.Down) {
		p.taken++
		if d.Down {
			p.log.Warn("backend is down, as others of the fleet find", "url", sub.URL, "err", d.Why, "by", d.By)
		} else {
			p.log.Info("backend is up, as others of the fleet find", "url", sub.URL, "by", d.By)
		}
	}
	sub.last = d
}

// heardOwnLocked takes the result of an own probe.
func (p *probes) heardOwnLocked(s *backend.State, sub *subject, r probe.Result) {
	now := probe.Verdict{URL: sub.URL}
	switch {
	case r.Up:
	case sub.own != nil && sub.own.Down != "": // it was so before: its first reason stands, so that nothing is told anew
		now.Down = sub.own.Down
	case r.Err != nil:
		now.Down = r.Err.Error()
	default:
		now.Down = "not up again yet"
	}
	if sub.own == nil || *sub.own != now {
		sub.own = &now
		p.changed()
	}
	d := p.shared.Decide(&sub.Subject, sub.own)
	p.noteLocked(sub, d)
	judge(s, d, backend.ProbeResult{At: r.At, Latency: r.Latency, Err: r.Err, By: d.By})
}

// judge takes a verdict, which is known, to the record.
func judge(s *backend.State, d probe.Decision, r backend.ProbeResult) {
	if d.Down {
		s.Judged(backend.Down, errors.New(d.Why), r)
	} else {
		s.Judged(backend.Up, nil, r)
	}
}

// heard takes what all balancers have told; nil says that it is not known.
func (p *probes) heard(told map[string]probe.Entry) {
	var shared *probe.Shared
	if told != nil {
		shared = probe.NewShared(p.self, told)
	}
	var set []probe.Target
	var gone []string
	p.turn.Lock()
	defer p.turn.Unlock()
	p.mu.Lock()
	p.shared = shared
	for s, sub := range p.subjects {
		set, gone = p.decideLocked(s, sub, false, set, gone)
	}
	p.mu.Unlock()
	if len(set)+len(gone) > 0 {
		p.prober.Update(set, gone)
	}
}

// entry is what there is to tell.
func (p *probes) entry() probe.Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := probe.Entry{}
	for _, sub := range p.subjects {
		if e[sub.Service] == nil {
			e[sub.Service] = map[string]probe.Verdict{}
		}
		if sub.last.Tell && sub.own != nil {
			e[sub.Service][sub.ID] = *sub.own
		}
	}
	return e
}

// share tells others what the probes say, and hears them, until the context ends. It does nothing before there is a
// service whose probes are shared.
func (p *probes) share(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var told probe.Entry
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.dirty:
		}
		if told == nil {
			wg.Go(func() { p.board.Run(ctx, p.heard) })
		}
		if e := p.entry(); told == nil || !e.Equal(told) {
			told = e
			p.board.Tell(e)
		}
		pause.Reset(shareEvery)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// counts are the probes that were made, the backends that others alone probe, and the verdicts that were taken from them.
func (p *probes) counts() (made uint64, byOthers int, taken uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sub := range p.subjects {
		if sub.last.Known && !sub.last.Probe {
			byOthers++
		}
	}
	return p.prober.Stats().Probes, byOthers, p.taken
}
