//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// runner goes through modes, rounds, scenarios and proxies, in this order from the outside in.
type runner struct {
	options
	cpus             cpus
	modes            []mode
	scenarios        []scenario
	peers            []peer
	warmup, duration time.Duration
	files            int
	jsonFile         string
	results          results
}

// run measures everything. When the context ends it stops after the measurement under way.
func (r *runner) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, m := range r.modes {
		if err := r.runMode(ctx, m, dir); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

func (r *runner) runMode(ctx context.Context, m mode, dir string) error {
	// This process holds the etcd, whose work must not be on the proxy's CPU.
	if err := m.load.move(); err != nil {
		return err
	}
	defer r.cpus.move()
	s, err := newStand(ctx, dir, m.load)
	if err != nil {
		return err
	}
	defer s.close()
	b := &bench{dir: dir, stand: s, mode: m, warmup: r.warmup, duration: r.duration, files: r.files}
	for round := range r.rounds {
		for _, sc := range r.scenarios {
			for i := range r.peers {
				// Another one begins in each round, so that no place in the order is anybody's own.
				p := r.peers[(i+round)%len(r.peers)]
				if p.joins != nil && !p.joins(sc) {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				r.add(r.quietest(ctx, b, p, sc, round+1))
			}
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

// quietest measures again as long as others disturb it and retries are left. What went wrong at any try is in the
// sample: only noise may be left out.
func (r *runner) quietest(ctx context.Context, b *bench, p peer, sc scenario, round int) sample {
	var best sample
	errs := map[string]int64{}
	for try := 0; ; try++ {
		s := sample{Mode: b.mode.name, Round: round, Scenario: sc.name, Proxy: p.name}
		err := b.measure(ctx, p, sc, &s)
		for kind, n := range s.Errors {
			errs[kind] += n
		}
		s.Errors = errs
		if err != nil {
			s.Failed = err.Error()
			return s
		}
		if try == 0 || s.Others < best.Others {
			best = s
		}
		if s.Others <= r.quiet || try == r.retries || ctx.Err() != nil {
			return best
		}
	}
}

func (r *runner) add(s sample) {
	r.results.Samples = append(r.results.Samples, s)
	fmt.Fprintln(os.Stderr, s)
}

func (r *runner) save() error {
	if r.jsonFile == "" {
		return nil
	}
	b, err := json.MarshalIndent(r.results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.jsonFile, append(b, '\n'), 0o644)
}
