package backend

import (
	"slices"
	"sync"
	"testing"
	"time"
)

func TestCodesAreCountedByTheirFirstDigit(t *testing.T) {
	var s Stats
	for _, code := range []int{0, -1, 99, 600, 101, 200, 204, 301, 404, 499, 503} {
		s.Observe(code, 0)
	}
	if got, want := s.Read().Codes, [6]uint64{4, 1, 2, 1, 2, 1}; got != want {
		t.Errorf("codes are %v, want %v", got, want)
	}
}

func TestLatenciesFallIntoTheBucketWhoseBoundTheyDoNotExceed(t *testing.T) {
	var s Stats
	var sum time.Duration
	for _, bound := range LatencyBounds {
		s.Observe(200, bound)
		s.Observe(200, bound+1)
		sum += 2*bound + 1
	}
	r := s.Read()
	for i, n := range r.Buckets {
		want := uint64(2)
		if i == 0 || i == len(LatencyBounds) {
			want = 1
		}
		if n != want {
			t.Errorf("bucket %d has %d, want %d", i, n, want)
		}
	}
	if r.Sum != sum {
		t.Errorf("the sum is %v, want %v", r.Sum, sum)
	}
}

func TestLatencyBoundsAscend(t *testing.T) {
	if !slices.IsSorted(LatencyBounds[:]) {
		t.Errorf("%v", LatencyBounds)
	}
}

func TestNothingIsLostWhenManyCount(t *testing.T) {
	var s Stats
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s.Observe(200, time.Millisecond)
				s.AddRetry()
				s.AddSession()
				s.Read()
			}
		})
	}
	wg.Wait()
	r := s.Read()
	if r.Codes[2] != 4000 || r.Retries != 4000 || r.Sessions != 4000 || r.Sum != 4*time.Second {
		t.Errorf("read %+v after 4,000 of each", r)
	}
}
