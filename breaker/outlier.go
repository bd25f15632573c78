package breaker

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// OutlierOptions say which backends of a service stand out so badly that they are ejected for a while, as Envoy defines
// it. The zero value ejects none. Options are comparable.
type OutlierOptions struct {
	// ConsecutiveErrors is how many failures in a row eject a backend, whatever their cause; 0 means none.
	ConsecutiveErrors int
	// ConsecutiveGateway is how many failures in a row eject it that are no answer of its own: 502, 503 and 504, no
	// connection, resets and timeouts; 0 means none.
	ConsecutiveGateway int
	// SuccessRateStdev ejects a backend whose success rate over Interval lies more than so many standard deviations
	// below the mean of the service's; 0 means none.
	SuccessRateStdev float64
	// LatencyFactor ejects a backend whose mean latency over Interval is more than so many times the median of the
	// service's; 0 means none.
	LatencyFactor float64
	// Interval is the time over which rates and latencies are compared; 0 or less means 10 s.
	Interval time.Duration
	// MinHosts is how many backends must have had MinVolume outcomes in Interval for any to be compared; less than 1
	// means 5 and 100.
	MinHosts, MinVolume int
	// BaseEjection is how long a backend is ejected the first time, and how much longer each further time, up to
	// MaxEjection; each Interval without an ejection takes one time back. 0 or less means 30 s and 5 min.
	BaseEjection, MaxEjection time.Duration
	// MaxEjectionPercent is the greatest share of the service's backends that is ejected at a time, 0 to 100, rounded
	// down to whole backends.
	MaxEjectionPercent int
}

// Enabled reports whether anything is looked for.
func (o *OutlierOptions) Enabled() bool {
	return o.MaxEjectionPercent > 0 && (o.ConsecutiveErrors > 0 || o.ConsecutiveGateway > 0 || o.compares())
}

func (o *OutlierOptions) compares() bool { return o.SuccessRateStdev > 0 || o.LatencyFactor > 0 }

// IntervalOrDefault is Interval with its default.
func (o *OutlierOptions) IntervalOrDefault() time.Duration { return orElse(o.Interval, 10*time.Second) }

func orElse[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// gateway are the causes that ConsecutiveGateway counts.
const gateway = GatewayError | ConnectFailed | Timeout | Reset

// Outlier is what one backend has done since it was last looked at. The zero value is ready. [Outlier.Observe] and
// [Outlier.Ejection] may be called concurrently with everything; the rest is done by [Judge], of which one runs at a
// time for a backend.
type Outlier struct {
	errors, gateways atomic.Uint32 // in a row
	counts           atomic.Uint64 // outcomes (32 bits) | successes (32 bits)
	nanos            atomic.Int64  // of latency, of all outcomes

	ejection atomic.Pointer[Ejection]
	times    int // ejections that lengthen the next; of Judge
}

// Ejection is one time of being ejected.
type Ejection struct {
	Since, Until time.Time
	// Reason is for people.
	Reason string
}

// Ejection is why and how long the backend is ejected, nil if it is not.
func (o *Outlier) Ejection() *Ejection { return o.ejection.Load() }

// Observe counts what became of an exchange, 0 for a success, and reports whether the backend is to be judged at once.
// It takes no lock and allocates nothing.
func (o *Outlier) Observe(opts *OutlierOptions, c Cause, latency time.Duration) (suspect bool) {
	if c&NotTheBackend != 0 {
		return false
	}
	if opts.compares() {
		n := uint64(1) << 32
		if c == 0 {
			n++
		}
		o.counts.Add(n)
		if opts.LatencyFactor > 0 {
			o.nanos.Add(int64(latency))
		}
	}
	if c == 0 {
		// Reading is cheap where nobody writes, and rows are begun rarely.
		if o.errors.Load() != 0 {
			o.errors.Store(0)
		}
		if o.gateways.Load() != 0 {
			o.gateways.Store(0)
		}
		return false
	}
	suspect = o.errors.Add(1) == uint32(opts.ConsecutiveErrors)
	if c&gateway == 0 {
		o.gateways.Store(0)
	} else if o.gateways.Add(1) == uint32(opts.ConsecutiveGateway) {
		suspect = true
	}
	return suspect
}

// forget begins all counts anew.
func (o *Outlier) forget() {
	o.errors.Store(0)
	o.gateways.Store(0)
	o.counts.Store(0)
	o.nanos.Store(0)
}

// Release ends an ejection, if there is one, and forgets what led to it. It reports whether there was one.
func (o *Outlier) Release() bool {
	o.forget()
	return o.ejection.Swap(nil) != nil
}

// suspect is a backend that is to be ejected.
type suspect struct {
	host   *Outlier
	reason string
	weight float64 // how bad it is, among those of the same rule; the worst goes first
}

// Judge ejects and releases among the backends of a service as they are at the given time; compare says that an
// interval has passed, so that rates and latencies are compared and begun anew. It reports whether anything changed.
//
// Failures in a row come first, then rates, then latencies; among those of a rule the worst. So where MaxEjectionPercent
// leaves no room for all, it is the worst that are ejected.
func Judge(opts *OutlierOptions, now time.Time, hosts []*Outlier, compare bool) (changed bool) {
	room := len(hosts) * opts.MaxEjectionPercent / 100
	for _, h := range hosts {
		e := h.ejection.Load()
		if e == nil {
			continue
		}
		if now.Before(e.Until) {
			room--
		} else if h.Release() {
			changed = true
		}
	}
	ejected := map[*Outlier]bool{}
	eject := func(found []suspect) {
		slices.SortStableFunc(found, func(a, b suspect) int { return cmp.Compare(b.weight, a.weight) })
		for _, s := range found {
			if room <= 0 {
				return
			}
			if s.host.ejection.Load() == nil {
				s.host.eject(opts, now, s.reason)
				ejected[s.host] = true
				room--
				changed = true
			}
		}
	}
	eject(inARow(opts, hosts))
	if !compare {
		return changed
	}
	if opts.compares() {
		readings := read(hosts)
		eject(byRate(opts, readings))
		eject(byLatency(opts, readings))
	}
	for _, h := range hosts {
		if h.ejection.Load() == nil && h.times > 0 && !ejected[h] {
			h.times--
		}
	}
	return changed
}

func (o *Outlier) eject(opts *OutlierOptions, now time.Time, reason string) {
	base, most := orElse(opts.BaseEjection, 30*time.Second), orElse(opts.MaxEjection, 5*time.Minute)
	o.times++
	d := min(base*time.Duration(min(o.times, 1000)), max(most, base))
	if d < base*time.Duration(min(o.times, 1000)) {
		o.times = int(d/base) + 1 // no more than lengthens it
	}
	o.ejection.Store(&Ejection{Since: now, Until: now.Add(d), Reason: reason})
}

func inARow(opts *OutlierOptions, hosts []*Outlier) (found []suspect) {
	for _, h := range hosts {
		errors, gateways := int(h.errors.Load()), int(h.gateways.Load())
		switch {
		case opts.ConsecutiveGateway > 0 && gateways >= opts.ConsecutiveGateway:
			found = append(found, suspect{h, fmt.Sprintf("%d failures in a row that were no answer of its own", gateways), float64(gateways)})
		case opts.ConsecutiveErrors > 0 && errors >= opts.ConsecutiveErrors:
			found = append(found, suspect{h, fmt.Sprintf("%d failures in a row", errors), float64(errors)})
		}
	}
	return found
}

// reading is what a backend did in an interval.
type reading struct {
	host                *Outlier
	outcomes, successes int
	latency             time.Duration // in all
}

func (r *reading) rate() float64 { return float64(r.successes) / float64(r.outcomes) }

func (r *reading) mean() time.Duration { return r.latency / time.Duration(r.outcomes) }

// read takes what was counted. Ejected backends have nothing to be compared by.
func read(hosts []*Outlier) (out []reading) {
	for _, h := range hosts {
		counts, nanos := h.counts.Swap(0), h.nanos.Swap(0)
		if h.ejection.Load() == nil {
			out = append(out, reading{h, int(counts >> 32), int(counts & math.MaxUint32), time.Duration(nanos)})
		}
	}
	return out
}

// busy are those with enough outcomes, nil if they are too few to be compared.
func busy(opts *OutlierOptions, all []reading) (out []reading) {
	for _, r := range all {
		if r.outcomes >= orElse(opts.MinVolume, 100) {
			out = append(out, r)
		}
	}
	if len(out) < orElse(opts.MinHosts, 5) {
		return nil
	}
	return out
}

// byRate finds those whose success rate is far below the mean.
//
//	rates 1, 1, 1, 1, 0.7 with a factor of 1.9: mean 0.94, deviation 0.12, so whatever is below 0.712 stands out
func byRate(opts *OutlierOptions, all []reading) (found []suspect) {
	if opts.SuccessRateStdev <= 0 {
		return nil
	}
	all = busy(opts, all)
	mean, variance := 0.0, 0.0
	for i := range all {
		mean += all[i].rate() / float64(len(all))
	}
	for i := range all {
		variance += (all[i].rate() - mean) * (all[i].rate() - mean) / float64(len(all))
	}
	least := mean - opts.SuccessRateStdev*math.Sqrt(variance)
	for i := range all {
		if r := &all[i]; r.rate() < least {
			found = append(found, suspect{r.host,
				fmt.Sprintf("success rate %.1f%%, below %.1f%% (mean %.1f%%)", 100*r.rate(), 100*least, 100*mean), 1 - r.rate()})
		}
	}
	return found
}

// latencyNoise is what a latency may be above the median whatever the factor.
const latencyNoise = 2 * time.Millisecond

// byLatency finds those whose latency is far above the median.
func byLatency(opts *OutlierOptions, all []reading) (found []suspect) {
	if opts.LatencyFactor <= 0 {
		return nil
	}
	all = busy(opts, all)
	if len(all) == 0 {
		return nil
	}
	means := make([]time.Duration, len(all))
	for i := range all {
		means[i] = all[i].mean()
	}
	slices.Sort(means)
	median := means[(len(means)-1)/2]
	most := max(time.Duration(float64(median)*opts.LatencyFactor), median+latencyNoise)
	for i := range all {
		if r := &all[i]; r.mean() > most {
			found = append(found, suspect{r.host,
				fmt.Sprintf("mean latency %v, above %v (median %v)", round(r.mean()), round(most), round(median)), float64(r.mean())})
		}
	}
	return found
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
