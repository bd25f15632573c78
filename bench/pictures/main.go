// Command pictures draws what docs/algorithms.md shows: how each algorithm spreads load, and what becomes of it when one
// backend slows down tenfold. Everything is simulated in virtual time with a fixed seed, by the pickers themselves.
//
//	go run ./bench/pictures            writes docs/algorithms/*.svg
//	go run ./bench/pictures -table     prints the table of 99th percentiles instead
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vietddude/load-balancer/balance"
)

func main() {
	dir := flag.String("dir", filepath.Join("docs", "algorithms"), "where pictures are written")
	table := flag.Bool("table", false, "print 99th percentiles with and without a slow backend")
	flag.Parse()
	if err := run(*dir, *table); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string, table bool) error {
	if table {
		text, err := percentiles()
		fmt.Print(text)
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range pictures {
		svg, err := p.draw()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.name+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// picture is one of the documentation's.
type picture struct {
	name, title string
	algorithm   balance.Algorithm
	keys        int
	maxLoad     float64
}

// keyCount is how many different keys requests have for algorithms that are consistent.
const keyCount = 1000

var pictures = []picture{
	{name: "round-robin", title: "round-robin", algorithm: balance.RoundRobin},
	{name: "weighted-round-robin", title: "weighted-round-robin", algorithm: balance.WeightedRoundRobin},
	{name: "least-connections", title: "least-connections", algorithm: balance.LeastConnections},
	{name: "random", title: "random", algorithm: balance.Random},
	{name: "p2c", title: "p2c", algorithm: balance.P2C},
	{name: "ewma", title: "ewma", algorithm: balance.EWMA},
	{name: "least-time", title: "least-time", algorithm: balance.LeastTime},
	{name: "maglev", title: "maglev, 1,000 keys, some far more often than others", algorithm: balance.Maglev, keys: keyCount},
	{name: "maglev-bounded", title: "maglev, the same keys, max_load 1.25", algorithm: balance.Maglev, keys: keyCount, maxLoad: 1.25},
	{name: "ring", title: "ring, the same keys", algorithm: balance.Ring, keys: keyCount},
}

// The scenario of the pictures: ten backends, the last of twice the weight, 1,000 requests a second of 10 ms each in the
// mean, of which the fifth backend takes ten times as long for 20 seconds.
const (
	backends = 10
	slowOne  = 4
	heavy    = backends - 1
	slowFrom = 20 * time.Second
	slowTill = 40 * time.Second
	length   = 60 * time.Second
)

func (p picture) scenario() scenario {
	weights := slices.Repeat([]int{1}, backends)
	weights[heavy] = 2
	return scenario{
		algorithm: p.algorithm, weights: weights, service: 10 * time.Millisecond, rate: 1000,
		slow: slowOne, slowdown: 10, from: slowFrom, until: slowTill, length: length,
		keys: p.keys, maxLoad: p.maxLoad, seed: 1,
	}
}

// percentiles is a table in Markdown: the 99th percentile with one of ten backends ten times slower over that with all
// fast, by load.
func percentiles() (string, error) {
	loads := []float64{0.2, 0.5, 0.7}
	text := "| algorithm |"
	line := "\n| --- |"
	kinds := []struct {
		name    string
		workers int
	}{{"many at a time", 0}, {"one at a time", 1}}
	for _, k := range kinds {
		for _, l := range loads {
			text += fmt.Sprintf(" %s, %.0f %% busy |", k.name, l*100)
			line += " --- |"
		}
	}
	text += line + "\n"
	for _, a := range []balance.Algorithm{balance.RoundRobin, balance.Random, balance.LeastConnections, balance.P2C, balance.EWMA, balance.LeastTime} {
		text += "| `" + string(a) + "` |"
		for _, k := range kinds {
			for _, l := range loads {
				ratio, err := slowRatio(a, k.workers, l)
				if err != nil {
					return "", err
				}
				if ratio > 20 {
					text += " grows without end |"
				} else {
					text += fmt.Sprintf(" %.2f |", ratio)
				}
			}
		}
		text += "\n"
	}
	return text, nil
}

// slowRatio is the 99th percentile of latency while one of ten backends is ten times slower, over that with all fast.
func slowRatio(a balance.Algorithm, workers int, load float64) (float64, error) {
	sc := scenario{
		algorithm: a, weights: slices.Repeat([]int{1}, backends), workers: workers, service: 10 * time.Millisecond,
		rate: load * backends * 100, slow: -1, slowdown: 10, until: time.Hour, length: 80 * time.Second, warm: 20 * time.Second, seed: 1,
	}
	fast, err := simulate(sc)
	if err != nil {
		return 0, err
	}
	sc.slow = slowOne
	slow, err := simulate(sc)
	if err != nil {
		return 0, err
	}
	return slow.quantile(0.99) / fast.quantile(0.99), nil
}
