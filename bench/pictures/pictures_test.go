package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vietddude/load-balancer/balance"
)

var docs = filepath.Join("..", "..", "docs", "algorithms")

func TestPicturesAreWhatTheProgramMakes(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("other processors round logarithms otherwise")
	}
	for _, p := range pictures {
		want, err := p.draw()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(docs, p.name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s.svg is another picture; run make pictures", p.name)
		}
	}
}

func TestEveryAlgorithmHasAPicture(t *testing.T) {
	drawn := map[balance.Algorithm]bool{}
	for _, p := range pictures {
		drawn[p.algorithm] = true
	}
	for _, a := range balance.Algorithms {
		if !drawn[a] {
			t.Errorf("%s has none", a)
		}
	}
}

// One of ten backends ten times slower costs a 99th percentile at most 1.3 times that with all fast.
func TestTwoChoicesKeepASlowBackendOutOfTheHundredth(t *testing.T) {
	for _, a := range []balance.Algorithm{balance.P2C, balance.EWMA} {
		for _, workers := range []int{0, 1} {
			for _, load := range []float64{0.2, 0.5, 0.7} {
				ratio, err := slowRatio(a, workers, load)
				if err != nil {
					t.Fatal(err)
				}
				if ratio > 1.3 {
					t.Errorf("%s, %d at a time, %.0f %% busy: %.2f times the percentile with all fast", a, workers, load*100, ratio)
				}
			}
		}
	}
	if ratio, _ := slowRatio(balance.RoundRobin, 0, 0.5); ratio < 3 {
		t.Errorf("round-robin has only %.2f times the percentile: the scenario shows nothing", ratio)
	}
}
