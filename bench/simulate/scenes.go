package main

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// hop is the time on a link within a data centre.
const hop = 200 * time.Microsecond

// churned is what a rate of changes does.
type churned struct {
	share float64 // of the store's CPUs
	worst time.Duration
	// grows says that the store cannot keep up: the lag is as long as the changes last.
	grows bool
}

func (c churned) load() string { return fmt.Sprintf("%.0f %%", 100*c.share) }

func (c churned) lag() string {
	if c.grows {
		return "ever later"
	}
	return round(c.worst).String()
}

// churn has changes come evenly for ten seconds. Each member tells its share of the watchers one after another; with
// proxies it tells those, and each of them, a server of one CPU's worth, tells its balancers.
func (f fleet) churn(perSecond, proxies int) (c churned) {
	const lasts = 10 * time.Second
	watchers, below := f.balancers, 0
	if proxies > 0 {
		watchers, below = proxies, (f.balancers+proxies-1)/proxies
	}
	member, proxy := newQueue(f.cores), newQueue(1)
	share := (watchers + f.members - 1) / f.members // of one member, the fullest
	n := int(lasts.Seconds()) * perSecond
	var lagged [2]time.Duration // after a quarter of the time, and at its end
	for i := range n {
		at := time.Duration(i) * time.Second / time.Duration(perSecond)
		var last time.Duration
		for range share {
			last = max(last, member.serve(at, f.told))
		}
		if below > 0 {
			arrives := last + hop
			for range below {
				last = proxy.serve(arrives, f.told)
			}
		}
		lag := last - at + hop + f.taken
		c.worst = max(c.worst, lag)
		if i == n/4 {
			lagged[0] = lag
		}
		lagged[1] = lag
	}
	c.grows = lagged[1] > 2*lagged[0] && lagged[1] > lasts/20
	c.share = float64(member.busy) / float64(lasts) / float64(f.cores)
	return c
}

// restarted is what a start of the whole fleet at one moment does.
type restarted struct{ first, last, busy time.Duration }

// restart has all balancers list everything in pages, each asking for the next when it has the one before. Their first
// questions come within the spread. Proxies list once, and hand on from memory at the speed of their links.
func (f fleet) restart(spread time.Duration, proxies int) (r restarted) {
	const page = 5000
	askers := f.balancers
	if proxies > 0 {
		askers = proxies
	}
	share := (askers + f.members - 1) / f.members
	cpu, link := newQueue(f.cores), newQueue(1)
	pages := (f.backends + page - 1) / page
	wire := time.Duration(float64(page*f.keyBytes*8) / f.gbit) // Gbit/s are bits a nanosecond
	questions := make(timeline, share)
	for i := range questions {
		questions[i] = question{at: spread * time.Duration(i) / time.Duration(share), left: pages}
	}
	for len(questions) > 0 {
		q := &questions[0] // whoever asks first
		q.at = link.serve(cpu.serve(q.at+hop, page*f.listed), wire) + hop
		if q.left--; q.left > 0 {
			heap.Fix(&questions, 0)
			continue
		}
		if r.first == 0 {
			r.first = q.at
		}
		r.last = max(r.last, q.at)
		heap.Pop(&questions)
	}
	r.busy = cpu.busy / time.Duration(f.cores)
	if proxies > 0 {
		below := (f.balancers + proxies - 1) / proxies
		all := time.Duration(float64(f.backends*f.keyBytes*8) / f.gbit)
		r.first += all
		r.last += all * time.Duration(below)
	}
	return r
}

// question is a page that somebody asks for, with how many there are left.
type question struct {
	at   time.Duration
	left int
}

// timeline are questions, the earliest first.
type timeline []question

func (t timeline) Len() int           { return len(t) }
func (t timeline) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timeline) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timeline) Push(x any)        { *t = append(*t, x.(question)) }
func (t *timeline) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

// spreadOut is by how many balancers a backend is used.
type spreadOut struct {
	mean        float64
	least, most int
}

// spread makes the table of one service by the balancer's own code, once for each balancer with its place in the fleet.
func (f fleet) spread(size int) (s spreadOut) {
	if size == 0 || size >= f.perService {
		return spreadOut{float64(f.balancers), f.balancers, f.balancers}
	}
	svc := discovery.Service{Name: "web"}
	for i := range f.perService {
		svc.Backends = append(svc.Backends, discovery.Backend{ID: fmt.Sprintf("backend-%06d", i), URL: fmt.Sprintf("http://10.0.%d.%d:80", i>>8, i&255), Weight: 1})
	}
	used := map[string]int{}
	for i := range f.balancers {
		for _, id := range subsetOf(svc, size, routing.Here{Index: i, Of: f.balancers}) {
			used[id]++
		}
	}
	s.least = f.balancers
	total := 0
	for _, b := range svc.Backends {
		n := used[b.ID]
		s.least, s.most, total = min(s.least, n), max(s.most, n), total+n
	}
	s.mean = float64(total) / float64(f.perService)
	return s
}

// subsetOf are the backends that a balancer at its place uses of a service.
func subsetOf(svc discovery.Service, size int, here routing.Here) (ids []string) {
	published := make(chan struct{}, 1)
	c := routing.NewCatalog(routing.Options{
		Sources: []string{"store"}, Here: here,
		Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) {
			return routing.Policy{Subset: size}, nil
		},
		Published: func(*routing.Table, *routing.Table) { published <- struct{}{} },
	})
	sink := c.Sink("store")
	sink.Resync("start")
	sink.Service(svc)
	sink.Synced()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(done)
	}()
	<-published
	for _, b := range c.Table().Service(svc.Name).Runtime.Ready().Backends {
		ids = append(ids, b.ID)
	}
	cancel()
	<-done
	return ids
}
