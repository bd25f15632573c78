package breaker

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var outliers = OutlierOptions{
	ConsecutiveErrors: 5, ConsecutiveGateway: 3, SuccessRateStdev: 1.9, LatencyFactor: 3, Interval: 10 * time.Second,
	MinHosts: 5, MinVolume: 10, BaseEjection: 30 * time.Second, MaxEjection: 100 * time.Second, MaxEjectionPercent: 50,
}

func newHosts(n int) []*Outlier {
	out := make([]*Outlier, n)
	for i := range out {
		out[i] = &Outlier{}
	}
	return out
}

// feed has a backend answer so many times well and then fail so many times.
func feed(h *Outlier, o *OutlierOptions, good, bad int, latency time.Duration) {
	for range bad / 2 { // no row gets long
		h.Observe(o, ServerError, latency)
		h.Observe(o, ServerError, latency)
		h.Observe(o, 0, latency)
	}
	for range good - bad/2 {
		h.Observe(o, 0, latency)
	}
}

func ejected(hosts []*Outlier) (out []int) {
	for i, h := range hosts {
		if h.Ejection() != nil {
			out = append(out, i)
		}
	}
	return out
}

func wantEjected(t *testing.T, hosts []*Outlier, want ...int) {
	t.Helper()
	got := ejected(hosts)
	if len(got) != len(want) {
		t.Fatalf("ejected are %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("ejected are %v, want %v", got, want)
		}
	}
}

func TestFailuresInARowEjectAndASuccessStartsOver(t *testing.T) {
	now := time.Now()
	hosts := newHosts(4)
	for i, c := range []Cause{ServerError, ServerError, ServerError, ServerError} {
		if hosts[0].Observe(&outliers, c, 0) {
			t.Errorf("suspect after %d failures", i+1)
		}
	}
	Judge(&outliers, now, hosts, false)
	wantEjected(t, hosts)
	hosts[0].Observe(&outliers, NotTheBackend, 0) // neither
	if !hosts[0].Observe(&outliers, ServerError, 0) {
		t.Error("not suspect after five failures")
	}
	for range 4 {
		hosts[1].Observe(&outliers, ServerError, 0)
	}
	hosts[1].Observe(&outliers, 0, 0)
	hosts[1].Observe(&outliers, ServerError, 0)
	if !Judge(&outliers, now, hosts, false) {
		t.Error("no change was told")
	}
	wantEjected(t, hosts, 0)
	if r := hosts[0].Ejection().Reason; r != "5 failures in a row" {
		t.Errorf("the reason is %q", r)
	}
}

func TestGatewayFailuresAreCountedApart(t *testing.T) {
	hosts := newHosts(4)
	for _, c := range []Cause{GatewayError, ConnectFailed, ServerError, Timeout, Reset} { // a row of 2 and one of 2, but 5 errors
		hosts[0].Observe(&outliers, c, 0)
	}
	for _, c := range []Cause{GatewayError, ConnectFailed, Timeout} {
		hosts[1].Observe(&outliers, c, 0)
	}
	o := outliers
	o.ConsecutiveErrors = 0
	Judge(&o, time.Now(), hosts, false)
	wantEjected(t, hosts, 1)
}

func TestEjectionsGrowAndShrinkAgain(t *testing.T) {
	now := time.Now()
	hosts := newHosts(2)
	fail := func() {
		for range 5 {
			hosts[0].Observe(&outliers, ServerError, 0)
		}
		Judge(&outliers, now, hosts, false)
	}
	length := func() time.Duration { return hosts[0].Ejection().Until.Sub(now) }
	for _, want := range []time.Duration{30, 60, 90, 100, 100} {
		fail()
		if got := length(); got != want*time.Second {
			t.Errorf("ejected for %v, want %v", got, want*time.Second)
		}
		now = now.Add(want*time.Second - 1)
		if Judge(&outliers, now, hosts, true) {
			t.Error("released too early")
		}
		now = now.Add(1)
		if !Judge(&outliers, now, hosts, false) {
			t.Error("not released in time")
		}
		wantEjected(t, hosts)
	}
	for range 10 {
		now = now.Add(10 * time.Second)
		Judge(&outliers, now, hosts, true)
	}
	fail()
	if got := length(); got != 30*time.Second {
		t.Errorf("ejected for %v after a long calm, want 30s", got)
	}
}

func TestNoMoreThanTheAllowedShareIsEjectedAndTheWorstIs(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 10: 5} {
		hosts := newHosts(n)
		for i, h := range hosts {
			for range 5 + i {
				h.Observe(&outliers, ServerError, 0)
			}
		}
		Judge(&outliers, time.Now(), hosts, false)
		got := ejected(hosts)
		if len(got) != want || want > 0 && got[0] != n-want {
			t.Errorf("of %d failing backends %v are ejected, want the last %d", n, got, want)
		}
	}
}

func TestARateFarBelowTheMeanEjects(t *testing.T) {
	hosts := newHosts(6)
	for i, h := range hosts {
		bad := 0
		if i == 2 {
			bad = 20
		}
		feed(h, &outliers, 100-bad, bad, time.Millisecond)
	}
	Judge(&outliers, time.Now(), hosts, false)
	wantEjected(t, hosts)
	Judge(&outliers, time.Now(), hosts, true)
	wantEjected(t, hosts, 2)
	if r := hosts[2].Ejection().Reason; !strings.HasPrefix(r, "success rate 80.0%, below 82.5% (mean 96.7%)") {
		t.Errorf("the reason is %q", r)
	}
}

func TestFewBackendsOrOutcomesAreNotCompared(t *testing.T) {
	for name, c := range map[string]struct{ hosts, volume int }{"hosts": {4, 100}, "volume": {6, 9}} {
		t.Run(name, func(t *testing.T) {
			hosts := newHosts(c.hosts)
			for i, h := range hosts {
				if i == 0 {
					feed(h, &outliers, c.volume/2, c.volume/2, time.Second)
				} else {
					feed(h, &outliers, c.volume, 0, time.Millisecond)
				}
			}
			Judge(&outliers, time.Now(), hosts, true)
			wantEjected(t, hosts)
		})
	}
}

func TestALatencyFarAboveTheMedianEjects(t *testing.T) {
	hosts := newHosts(6)
	for i, h := range hosts {
		latency := 10 * time.Millisecond
		switch i {
		case 1:
			latency = 29 * time.Millisecond
		case 4:
			latency = 31 * time.Millisecond
		}
		feed(h, &outliers, 20, 0, latency)
	}
	Judge(&outliers, time.Now(), hosts, true)
	wantEjected(t, hosts, 4)
	if r := hosts[4].Ejection().Reason; r != "mean latency 31ms, above 30ms (median 10ms)" {
		t.Errorf("the reason is %q", r)
	}
}

func TestMicrosecondsMakeNoOutlier(t *testing.T) {
	hosts := newHosts(6)
	for i, h := range hosts {
		latency := 50 * time.Microsecond
		if i == 0 {
			latency = 900 * time.Microsecond
		}
		feed(h, &outliers, 20, 0, latency)
	}
	Judge(&outliers, time.Now(), hosts, true)
	wantEjected(t, hosts)
}

func TestTheShareAndTheTimesHoldWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := outliers
		o.MaxEjectionPercent = rapid.IntRange(0, 100).Draw(t, "percent")
		o.MinHosts, o.MinVolume = rapid.IntRange(1, 5).Draw(t, "hosts"), rapid.IntRange(1, 5).Draw(t, "volume")
		hosts := newHosts(rapid.IntRange(1, 8).Draw(t, "n"))
		now := time.Now()
		t.Repeat(map[string]func(*rapid.T){
			"observe": func(t *rapid.T) {
				h := rapid.IntRange(0, len(hosts)-1).Draw(t, "host")
				c := rapid.SampledFrom([]Cause{0, ServerError, GatewayError, Timeout, NotTheBackend}).Draw(t, "cause")
				for range rapid.IntRange(1, 6).Draw(t, "times") {
					hosts[h].Observe(&o, c, time.Duration(rapid.IntRange(0, 50).Draw(t, "ms"))*time.Millisecond)
				}
			},
			"judge": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
				Judge(&o, now, hosts, rapid.Bool().Draw(t, "compare"))
				for _, h := range hosts {
					if e := h.Ejection(); e != nil && (!now.Before(e.Until) || e.Until.Sub(e.Since) > o.MaxEjection || e.Reason == "") {
						t.Fatalf("ejected %+v at %v", e, now)
					}
				}
			},
			"": func(t *rapid.T) {
				if n := len(ejected(hosts)); n*100 > o.MaxEjectionPercent*len(hosts) {
					t.Fatalf("%d of %d are ejected, more than %d%%", n, len(hosts), o.MaxEjectionPercent)
				}
			},
		})
	})
}

func TestObservingAllocatesNothing(t *testing.T) {
	h := &Outlier{}
	if n := testing.AllocsPerRun(1000, func() { h.Observe(&outliers, 0, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkOutlier(b *testing.B) {
	h := &Outlier{}
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(&outliers, 0, time.Millisecond)
	}
}
