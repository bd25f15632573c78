package main

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/balance"
)

// scenario is a service under constant load, in virtual time.
type scenario struct {
	algorithm balance.Algorithm
	weights   []int
	// workers is how many requests a backend serves at a time; others wait in its queue. 0 is no limit.
	workers int
	// service is the mean time of a request's service; rate is how many come in a second.
	service time.Duration
	rate    float64
	// even has requests come at even distances and take the mean time exactly; else both are drawn by chance
	// (exponentially).
	even bool
	// slow is the backend that is slowdown times slower between from and until; -1 for none.
	slow        int
	slowdown    float64
	from, until time.Duration
	length      time.Duration
	// warm is the time at the beginning that is not counted.
	warm time.Duration
	// keys is the number of different keys, of which some come far more often than others; maxLoad bounds loads.
	keys    int
	maxLoad float64
	seed    uint64
}

// result is what a simulation came to.
type result struct {
	// requests counts by backend; latencies are in order of size, in seconds.
	requests  []int
	latencies []float64
	// bySecond counts the requests to each backend by second.
	bySecond [][]int
	// slowest holds for each second the 99th percentile of latency, in seconds.
	slowest []float64
}

// quantile is the latency that the share q of requests does not exceed.
func (r *result) quantile(q float64) float64 {
	return r.latencies[min(int(q*float64(len(r.latencies))), len(r.latencies)-1)]
}

// event is a request that comes or one that ends.
type event struct {
	at      float64 // seconds
	seq     int     // of events at the same time the first first
	backend int     // -1 for one that comes
	began   float64
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// server is a backend: how many it serves, and since when those wait that it does not.
type server struct {
	inFlight atomic.Int64
	latency  balance.Latency
	serving  int
	waiting  []float64
}

// epoch is when virtual time begins.
var epoch = time.UnixMilli(1_000_000_000_000)

func simulate(sc scenario) (*result, error) {
	rng := rand.New(rand.NewPCG(sc.seed, 1))
	servers := make([]server, len(sc.weights))
	candidates := make([]balance.Candidate, len(servers))
	members := make([]balance.Member, len(servers))
	var total atomic.Int64
	for i := range servers {
		members[i] = balance.Member{ID: "backend-" + string(rune('a'+i)), Weight: sc.weights[i]}
		candidates[i] = balance.Candidate{Weight: sc.weights[i], InFlight: &servers[i].inFlight, Latency: &servers[i].latency, Member: i}
	}
	o := balance.Options{Rand: rng.Uint64, Total: &total, MaxLoad: sc.maxLoad}
	if sc.algorithm.Consistent() {
		var err error
		if o.Table, err = balance.NewTable(sc.algorithm, members, 0); err != nil {
			return nil, err
		}
	}
	picker, err := balance.New(sc.algorithm, candidates, o)
	if err != nil {
		return nil, err
	}
	seconds := int(math.Ceil(sc.length.Seconds()))
	r := &result{requests: make([]int, len(servers)), bySecond: make([][]int, seconds)}
	for i := range r.bySecond {
		r.bySecond[i] = make([]int, len(servers))
	}
	perSecond := make([][]float64, seconds)
	var zipf *rand.Zipf
	if sc.keys > 0 {
		zipf = rand.NewZipf(rng, 1.1, 8, uint64(sc.keys-1))
	}
	draw := func() float64 {
		if sc.even {
			return 1
		}
		return rng.ExpFloat64()
	}
	queue := events{{at: draw() / sc.rate, backend: -1}}
	seq := 0
	push := func(e event) { seq++; e.seq = seq; heap.Push(&queue, e) }
	begin := func(i int, now, since float64) {
		d := sc.service.Seconds() * draw()
		if i == sc.slow && now >= sc.from.Seconds() && now < sc.until.Seconds() {
			d *= sc.slowdown
		}
		servers[i].serving++
		push(event{at: now + d, backend: i, began: since})
	}
	for len(queue) > 0 {
		e := heap.Pop(&queue).(event)
		if e.at >= sc.length.Seconds() {
			if e.backend >= 0 {
				heap.Push(&queue, e)
			}
			break
		}
		now := epoch.Add(time.Duration(e.at * 1e9))
		if e.backend < 0 {
			q := balance.Query{Now: now.UnixMilli()}
			if zipf != nil {
				q.Key = balance.Hash(string(rune('A' + zipf.Uint64())))
			}
			i := picker.Pick(q)
			s := &servers[i]
			s.inFlight.Add(1)
			total.Add(1)
			if e.at >= sc.warm.Seconds() {
				r.requests[i]++
			}
			r.bySecond[int(e.at)][i]++
			if sc.workers == 0 || s.serving < sc.workers {
				begin(i, e.at, e.at)
			} else {
				s.waiting = append(s.waiting, e.at)
			}
			push(event{at: e.at + draw()/sc.rate, backend: -1})
			continue
		}
		s := &servers[e.backend]
		s.serving--
		s.inFlight.Add(-1)
		total.Add(-1)
		took := e.at - e.began
		s.latency.Observe(now.UnixMilli(), time.Duration(took*1e9))
		if e.began >= sc.warm.Seconds() {
			r.latencies = append(r.latencies, took)
		}
		perSecond[int(e.at)] = append(perSecond[int(e.at)], took)
		if len(s.waiting) > 0 {
			since := s.waiting[0]
			s.waiting = s.waiting[1:]
			begin(e.backend, e.at, since)
		}
	}
	// Who is not done yet has waited so long already: else a queue without end would look short.
	unfinished := func(since float64) {
		if since >= sc.warm.Seconds() {
			r.latencies = append(r.latencies, sc.length.Seconds()-since)
		}
	}
	for _, e := range queue {
		if e.backend >= 0 {
			unfinished(e.began)
		}
	}
	for i := range servers {
		for _, since := range servers[i].waiting {
			unfinished(since)
		}
	}
	slices.Sort(r.latencies)
	for _, l := range perSecond {
		slices.Sort(l)
		p := 0.0
		if len(l) > 0 {
			p = l[min(len(l)*99/100, len(l)-1)]
		}
		r.slowest = append(r.slowest, p)
	}
	return r, nil
}
