package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var every10s = Options{Interval: 10 * time.Second, Timeout: 2 * time.Second, Path: "/health", FailureThreshold: 3, SuccessThreshold: 2}

// pause lets time pass and everything settle.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheFirstProbeComesWithinASecondAndTheNextAfterTheIntervalGiveOrTakeATenth(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, _ *reports) {
		w.set("a", 200, 0)
		began := time.Now()
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(10 * time.Minute)
		asked := w.times("a")
		if d := asked[0].Sub(began); d >= time.Second {
			t.Errorf("first probe after %v, want less than 1s", d)
		}
		if n := len(asked); n < 54 || n > 67 {
			t.Errorf("%d probes in 10 min, want about 60", n)
		}
		jittered := false
		for i := 1; i < len(asked); i++ {
			d := asked[i].Sub(asked[i-1])
			if d < 9*time.Second || d > 11*time.Second {
				t.Errorf("probe %d came %v after the one before, want 9s to 11s", i, d)
			}
			jittered = jittered || d != 10*time.Second
		}
		if !jittered {
			t.Error("the interval is not jittered")
		}
	})
}

func TestTheFirstProbesOfManyTargetsAreSpread(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, _ *reports) {
		var set []Target
		for i := range 200 {
			host := fmt.Sprint("h", i)
			w.set(host, 200, 0)
			set = append(set, w.target(host, every10s))
		}
		began := time.Now()
		p.Update(set, nil)
		pause(time.Second)
		early := 0
		for _, target := range set {
			asked := w.times(target.Key)
			if len(asked) != 1 {
				t.Fatalf("%s was probed %d times in the first second, want once", target.Key, len(asked))
			}
			if asked[0].Sub(began) < 500*time.Millisecond {
				early++
			}
		}
		if early < 50 || early > 150 {
			t.Errorf("%d of 200 first probes fell into the first half second, want about half", early)
		}
	})
}

func TestTheVerdictChangesAtItsThresholds(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		steps := []struct {
			status      int
			up, changed bool
		}{
			{500, true, false},
			{503, true, false},
			{200, true, false}, // the count starts over
			{404, true, false},
			{0, true, false},
			{500, false, true},
			{500, false, false},
			{200, false, false},
			{500, false, false},
			{200, false, false},
			{302, true, true},
			{200, true, false},
		}
		w.set("a", steps[0].status, 0)
		p.Update([]Target{w.target("a", every10s)}, nil)
		for i, s := range steps {
			w.set("a", s.status, 0)
			var got []report
			for len(got) == 0 {
				pause(100 * time.Millisecond)
				got = r.take()
			}
			g := got[0]
			if g.Up != s.up || g.Changed != s.changed || (g.Err == nil) != (s.status >= 200 && s.status < 400) {
				t.Errorf("step %d (status %d): %+v, want up %v, changed %v", i, s.status, g.Result, s.up, s.changed)
			}
		}
	})
}

func TestZeroThresholdsAreThreeFailuresAndOneSuccess(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		p.Update([]Target{w.target("a", Options{Interval: time.Second})}, nil)
		pause(10 * time.Second)
		all := r.take()
		if !all[0].Up || !all[1].Up || all[2].Up || !all[2].Changed {
			t.Errorf("three failures reported as %+v", all[:3])
		}
		w.set("a", 204, 0)
		pause(2 * time.Second)
		if all = r.take(); !all[len(all)-1].Up {
			t.Error("still down after a success")
		}
	})
}

func TestTheTimeoutCoversTheWholeProbe(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		w.set("a", 200, time.Hour)
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(4 * time.Second)
		all := r.take()
		if len(all) != 1 || all[0].Err == nil || all[0].Latency != 2*time.Second {
			t.Fatalf("reported %+v, want one failure after 2s", all)
		}
		want := "GET http://a:80/health: no complete response within 2s"
		if all[0].Err.Error() != want {
			t.Errorf("the error is %q, want %q", all[0].Err, want)
		}
		p.Update(nil, []string{"a"})
		pause(time.Hour)
	})
}

func TestConnectionsAreKeptFromProbeToProbe(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, _ *reports) {
		w.set("a", 200, 0)
		w.set("slow", 200, 0)
		rarely := every10s
		rarely.Interval = 2 * time.Minute
		p.Update([]Target{w.target("a", every10s), w.target("slow", rarely)}, nil)
		pause(20 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.dials["a"]; n != 1 || len(w.asked["a"]) < 50 {
			t.Errorf("%d connections for %d probes, want 1", n, len(w.asked["a"]))
		}
		if n := w.dials["slow"]; n != len(w.asked["slow"]) {
			t.Errorf("%d connections for %d rare probes, want one each", n, len(w.asked["slow"]))
		}
	})
}

func TestAnUnchangedTargetKeepsItsScheduleAndCounts(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		p.Update([]Target{w.target("a", every10s)}, nil)
		for range 100 {
			pause(500 * time.Millisecond)
			p.Update([]Target{w.target("a", every10s)}, []string{"a", "unknown"})
		}
		if all := r.take(); len(all) < 4 || len(all) > 7 || all[2].Up || !all[2].Changed {
			t.Errorf("in 50 s of updates %d probes were made, want about 5, down with the third", len(all))
		}
	})
}

func TestChangedOptionsKeepTheVerdictAndTakeEffectWithinTheNewInterval(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(35 * time.Second)
		r.take()
		w.set("a", 200, 0)
		o := every10s
		o.Interval, o.SuccessThreshold = time.Second, 3
		p.Update([]Target{w.target("a", o)}, nil)
		pause(1100 * time.Millisecond)
		all := r.take()
		if len(all) == 0 || all[0].Up {
			t.Fatalf("reported %+v in the first new interval, want a success that does not make it up yet", all)
		}
		pause(3 * time.Second)
		if all = r.take(); !all[len(all)-1].Up {
			t.Error("not up after three successes")
		}
	})
}

func TestAChangedURLStartsAnew(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(35 * time.Second)
		r.take()
		p.Update([]Target{{Key: "a", URL: "http://b:80", Options: every10s}}, nil)
		pause(time.Second)
		if all := r.take(); len(all) != 1 || !all[0].Up || all[0].Err == nil {
			t.Errorf("reported %+v, want one failure that leaves the new backend up", all)
		}
	})
}

func TestResultsOfRemovedAndReplacedTargetsAreDropped(t *testing.T) {
	quick := every10s
	quick.FailureThreshold = 1
	for name, change := range map[string]func(p *Prober, w *world){
		"removed":     func(p *Prober, w *world) { p.Update(nil, []string{"a"}) },
		"disabled":    func(p *Prober, w *world) { p.Update([]Target{w.target("a", Options{})}, nil) },
		"new path":    func(p *Prober, w *world) { o := quick; o.Path = "/"; p.Update([]Target{w.target("a", o)}, nil) },
		"new address": func(p *Prober, w *world) { p.Update([]Target{{Key: "a", URL: "http://b:80", Options: quick}}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
				w.set("a", 500, time.Second)
				w.set("b", 200, 0)
				p.Update([]Target{w.target("a", quick)}, nil)
				for len(w.times("a")) == 0 {
					pause(time.Millisecond)
				}
				w.set("a", 200, 0)
				change(p, w)
				pause(15 * time.Second)
				for _, got := range r.take() {
					if !got.Up {
						t.Errorf("reported %v of a probe that was under way when its target changed", got.Err)
					}
				}
				switch asked := len(w.times("a")); {
				case name == "new path" && asked < 2:
					t.Error("the changed target was not probed again")
				case name != "new path" && asked != 1:
					t.Errorf("probed %d times, want no more after it was gone", asked)
				}
			})
		})
	}
}

func TestRemovingATargetClosesItsConnection(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		w.set("a", 200, 0)
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(time.Second)
		p.Update(nil, []string{"a"})
		w.servers.Wait()
	})
}

func TestAtMostConcurrencyProbesAreUnderWayAndNoneIsStarved(t *testing.T) {
	inBubble(t, Config{Concurrency: 5}, func(t *testing.T, p *Prober, w *world, r *reports) {
		var set []Target
		o := Options{Interval: 5 * time.Second, Timeout: 3 * time.Second}
		for i := range 50 {
			host := fmt.Sprint("h", i)
			w.set(host, 200, time.Second)
			set = append(set, w.target(host, o))
		}
		p.Update(set, nil)
		pause(100 * time.Second)
		// Five at a time for a second each: ten seconds a round, though five were asked for.
		for _, target := range set {
			if n := len(w.times(target.Key)); n < 9 || n > 11 {
				t.Errorf("%s was probed %d times, want about 10", target.Key, n)
			}
		}
		if w.most != 5 {
			t.Errorf("%d probes were under way at a time, want 5", w.most)
		}
		if s := p.Stats(); s.Targets != 50 || s.Running != 5 || s.Lag < time.Second {
			t.Errorf("stats are %+v, want 50 targets, 5 running, late by seconds", s)
		}
	})
}

func TestRunEndsProbesUnderWayWithoutReportingThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(), &reports{}
		w.set("a", 200, time.Minute)
		p := New(Config{Report: r.add, Dial: w.dial})
		p.Update([]Target{w.target("a", every10s)}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		began := time.Now()
		p.Run(ctx)
		if d := time.Since(began); d != 1500*time.Millisecond {
			t.Errorf("Run returned after %v, want with its context", d)
		}
		if all := r.take(); len(all) != 0 {
			t.Errorf("reported %+v of a probe that was cut short", all)
		}
		p.Update([]Target{w.target("b", every10s)}, nil)
		if n := p.Stats().Targets; n != 0 {
			t.Errorf("%d targets after the end, want none", n)
		}
		w.servers.Wait()
	})
}

func TestReportMayUpdate(t *testing.T) {
	var p *Prober
	var reported atomic.Int32
	inBubble(t, Config{Report: func(key string, _ Result) {
		reported.Add(1)
		p.Update(nil, []string{key})
	}}, func(t *testing.T, prober *Prober, w *world, _ *reports) {
		p = prober
		w.set("a", 200, 0)
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(time.Minute)
		if n := reported.Load(); n != 1 {
			t.Errorf("%d reports, want 1", n)
		}
		w.servers.Wait()
	})
}

func TestOnlyChangedVerdictsAreLogged(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, p *Prober, w *world, _ *reports) {
		p.Update([]Target{w.target("a", every10s)}, nil)
		pause(time.Minute)
		w.set("a", 200, 0)
		pause(time.Minute)
	})
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "backend is down") || !strings.Contains(lines[0], "connection refused") ||
		!strings.Contains(lines[1], "backend is up") {
		t.Errorf("logged:\n%s", log.String())
	}
}

func TestTenThousandTargetsAreProbedOnTimeByFewGoroutines(t *testing.T) {
	inBubble(t, Config{Dial: nil}, func(t *testing.T, p *Prober, w *world, r *reports) {
		const n = 10_000
		set := make([]Target, n)
		for i := range set {
			set[i] = w.target(fmt.Sprint("h", i), Options{Type: TCP, Interval: 10 * time.Second})
		}
		p.Update(set, nil)
		pause(61 * time.Second)
		if got := len(r.take()); got < 6*n || got > 7*n+n/2 {
			t.Errorf("%d probes in a minute, want about %d", got, 6*n)
		}
		if s := p.Stats(); s.Running != 0 || s.Lag != 0 {
			t.Errorf("between probes: %+v", s)
		}
		p.Update(nil, func() (keys []string) {
			for _, s := range set {
				keys = append(keys, s.Key)
			}
			return keys
		}())
		if s := p.Stats(); s.Targets != 0 {
			t.Errorf("%d targets are left", s.Targets)
		}
	})
}

func BenchmarkUpdateOneOfTenThousand(b *testing.B) {
	p := New(Config{Report: func(string, Result) {}})
	set := make([]Target, 10_000)
	for i := range set {
		set[i] = Target{Key: fmt.Sprint(i), URL: "http://h:80", Options: every10s}
	}
	p.Update(set, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t := set[i%len(set)]
		p.Update(nil, []string{t.Key})
		p.Update([]Target{t}, nil)
	}
}

func TestATargetThatBeginsAsProbingIsProbedAtOnceAndTheFirstProbeDecides(t *testing.T) {
	o := every10s
	o.InitialState = InitiallyProbing
	for name, c := range map[string]struct {
		status int
		up     bool
	}{"healthy": {200, true}, "sick": {500, false}, "dead": {0, false}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
				w.set("a", c.status, 0)
				p.Update([]Target{w.target("a", o)}, nil)
				pause(time.Millisecond)
				all := r.take()
				if len(all) != 1 || all[0].Up != c.up || !all[0].Changed {
					t.Fatalf("reported %+v within a millisecond, want one verdict, up %v", all, c.up)
				}
				pause(10 * time.Second)
				if all = r.take(); len(all) != 1 || all[0].Changed {
					t.Errorf("reported %+v within the interval, want one more of the same", all)
				}
			})
		})
	}
}

func TestProbingTargetsOfALargeTableAreSpreadAndDriftApart(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, _ *reports) {
		var set []Target
		o := every10s
		o.InitialState = InitiallyProbing
		for i := range 300 {
			host := fmt.Sprint("h", i)
			w.set(host, 200, 0)
			set = append(set, w.target(host, o))
		}
		began := time.Now()
		p.Update(set, nil)
		pause(time.Minute)
		perSecond := map[int]int{}
		for _, target := range set {
			asked := w.times(target.Key)
			if d := asked[0].Sub(began); d > 300*time.Millisecond {
				t.Errorf("%s was first probed after %v, want within 300ms", target.Key, d)
			}
			for _, at := range asked[1:] {
				perSecond[int(at.Sub(began)/time.Second)]++
			}
		}
		for s := 20; s < 59; s++ {
			if n := perSecond[s]; n > 80 {
				t.Errorf("%d of 300 probes fell into second %d, want about 30", n, s)
			}
		}
	})
}

func TestUnhealthyTargetsAreProbedInAnIntervalOfTheirOwn(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		o := Options{Interval: 30 * time.Second, UnhealthyInterval: time.Second, FailureThreshold: 1}
		p.Update([]Target{w.target("a", o)}, nil)
		pause(time.Minute)
		if n := len(r.take()); n < 54 || n > 67 {
			t.Errorf("%d probes in a minute of being down, want about 60", n)
		}
		w.set("a", 200, 0)
		pause(2 * time.Second)
		if all := r.take(); len(all) == 0 || !all[len(all)-1].Up {
			t.Fatalf("not up within two seconds: %+v", all)
		}
		pause(2 * time.Minute)
		if n := len(r.take()); n < 3 || n > 5 {
			t.Errorf("%d probes in two minutes of being up, want about 4", n)
		}
	})
}

func TestOptionsThatChangeWhileProbingStillHaveTheTargetProbedAtOnce(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, p *Prober, w *world, r *reports) {
		o := every10s
		o.InitialState = InitiallyProbing
		w.set("a", 200, 5*time.Millisecond)
		p.Update([]Target{w.target("a", o)}, nil)
		pause(3 * time.Millisecond)
		o.Interval = time.Minute
		p.Update([]Target{w.target("a", o)}, nil)
		pause(10 * time.Millisecond)
		if all := r.take(); len(all) != 1 || !all[0].Up || !all[0].Changed {
			t.Errorf("reported %+v, want the first verdict", all)
		}
	})
}
