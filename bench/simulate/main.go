// Command simulate tells what becomes of a fleet that no machine here can hold: 1,000 balancers that watch 1,000,000
// backends. Nothing of it uses a network or a clock: stores, links and balancers are queues in virtual time, whose costs
// are what was measured of the real ones (bench/discovery), and tables and subsets are made by the balancer's own code.
//
//	go run ./bench/simulate
//	go run ./bench/simulate --balancers 300 --backends 200000 --told 40us
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// fleet is what is simulated.
type fleet struct {
	balancers, backends, perService int
	members, cores                  int // of the store
	gbit                            float64
	told, listed                    time.Duration
	keyBytes                        int
	proxies                         int
	taken                           time.Duration
	perBackend                      int
	subset                          int
}

func main() {
	f := fleet{}
	flag.IntVar(&f.balancers, "balancers", 1000, "balancers that watch")
	flag.IntVar(&f.backends, "backends", 1_000_000, "backends that are announced")
	flag.IntVar(&f.perService, "per-service", 1000, "backends of each service")
	flag.IntVar(&f.members, "members", 3, "members of the store")
	flag.IntVar(&f.cores, "cores", 8, "CPUs of each member")
	flag.Float64Var(&f.gbit, "gbit", 10, "Gbit/s of each member's link")
	flag.DurationVar(&f.told, "told", 40*time.Microsecond, "CPU time of a member for a change that one watcher is told")
	flag.DurationVar(&f.listed, "listed", 3700*time.Nanosecond, "CPU time of a member for a key that is listed")
	flag.IntVar(&f.keyBytes, "key-bytes", 120, "bytes of a key and its value on the wire")
	flag.IntVar(&f.proxies, "proxies", 20, "caching proxies in the variant that has them")
	flag.DurationVar(&f.taken, "taken", 6*time.Millisecond, "time of a balancer from an event to its table, coalescing included")
	flag.IntVar(&f.perBackend, "memory", 1500, "bytes of a balancer for each backend")
	flag.IntVar(&f.subset, "subset", 20, "backends that each balancer uses of a service in the variant that has subsets")
	flag.Parse()
	if flag.NArg() > 0 || f.balancers < 1 || f.backends < 1 || f.perService < 1 || f.members < 1 || f.cores < 1 || f.gbit <= 0 {
		fmt.Fprintln(os.Stderr, "simulate: sizes are whole numbers from 1; there are no arguments; see --help")
		os.Exit(2)
	}
	f.report(os.Stdout)
}

func (f fleet) report(w io.Writer) {
	fmt.Fprintf(w, "%d balancers, %d backends in services of %d; a store of %d members with %d CPUs and %g Gbit/s each\n\n",
		f.balancers, f.backends, f.perService, f.members, f.cores, f.gbit)

	fmt.Fprintf(w, "| changes | CPU of the store | the last balancer has it after | with %d proxies: CPU | after |\n| --- | --- | --- | --- | --- |\n", f.proxies)
	for _, perSecond := range []int{1, 10, 100, 500, 1000} {
		direct, tree := f.churn(perSecond, 0), f.churn(perSecond, f.proxies)
		fmt.Fprintf(w, "| %d/s | %s | %s | %s | %s |\n", perSecond, direct.load(), direct.lag(), tree.load(), tree.lag())
	}

	fmt.Fprintf(w, "\n| all restart at once | first ready | last ready | store busy |\n| --- | --- | --- | --- |\n")
	for _, v := range []struct {
		name    string
		spread  time.Duration
		proxies int
	}{
		{"as they are", 0, 0},
		{"listing spread over a minute", time.Minute, 0},
		{fmt.Sprintf("through %d proxies that cache", f.proxies), 0, f.proxies},
	} {
		r := f.restart(v.spread, v.proxies)
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", v.name, round(r.first), round(r.last), round(r.busy))
	}

	whole, part := f.spread(0), f.spread(f.subset)
	fmt.Fprintf(w, "\n| each backend | balancers that probe and keep connections | least | most |\n| --- | --- | --- | --- |\n")
	fmt.Fprintf(w, "| without subsets | %.0f | %d | %d |\n| subsets of %d | %.1f | %d | %d |\n",
		whole.mean, whole.least, whole.most, f.subset, part.mean, part.least, part.most)
	fmt.Fprintf(w, "\nmemory of a balancer: %.1f GB; probes of one each 10 s: %.0f/s without subsets, %.0f/s with\n",
		float64(f.backends*f.perBackend)/1e9, float64(f.backends)/10, float64(f.backends)/float64(f.perService)*float64(min(f.subset, f.perService))/10)
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
