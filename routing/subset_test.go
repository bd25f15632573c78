package routing

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func named(n int) []*Backend {
	all := make([]*Backend, n)
	for i := range all {
		all[i] = &Backend{Backend: be(fmt.Sprintf("b%05d", i))}
	}
	return all
}

func TestAllBackendsAreUsedWithoutASubset(t *testing.T) {
	all := named(10)
	for _, size := range []int{0, 10, 11} {
		if got := subset(all, size, Here{Of: 3}); len(got) != 10 {
			t.Errorf("a size of %d of 10 uses %d", size, len(got))
		}
	}
}

func TestEachWholeLotCoversEachBackendOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 300).Draw(t, "backends")
		size := rapid.IntRange(1, n-1).Draw(t, "size")
		lot := rapid.IntRange(0, 1000).Draw(t, "lot")
		all := named(n)
		count := (n + size - 1) / size
		covered := map[string]int{}
		for i := range count {
			own := subset(all, size, Here{Index: lot*count + i, Of: (lot + 1) * count})
			if !slices.IsSortedFunc(own, func(a, b *Backend) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) }) {
				t.Fatalf("the subset %v is out of order", ids(own))
			}
			for _, b := range own {
				covered[b.ID]++
			}
		}
		for _, b := range all {
			if covered[b.ID] != 1 {
				t.Fatalf("%d balancers of the lot use %s", covered[b.ID], b.ID)
			}
		}
	})
}

func TestSubsetsAreOfAboutOneSize(t *testing.T) {
	for _, n := range []int{100, 1000, 10_000} {
		for _, size := range []int{20, 50} {
			count := (n + size - 1) / size
			for lot := range uint64(3) {
				has := make([]int, count)
				for _, k := range deal(named(n), count, lot) {
					has[k]++
				}
				// A backend's load goes by the size of the subsets that it is in: from 1/1.2 to 1/0.6 of the mean.
				if lo, hi := slices.Min(has), slices.Max(has); float64(lo) < 0.6*float64(size) || float64(hi) > 1.2*float64(size) {
					t.Errorf("%d backends in subsets of %d: sizes from %d to %d", n, size, lo, hi)
				}
			}
		}
	}
}

func TestABackendThatGoesMovesFewOthers(t *testing.T) {
	for _, n := range []int{100, 1000, 10_000} {
		all, size := named(n), 20
		count := (n + size - 1) / size
		moved, tries := 0, 0
		for lot := range uint64(4) {
			before := deal(all, count, lot)
			for try := range 5 {
				drop := (2*try + 1) * n / 10
				after := deal(slices.Delete(slices.Clone(all), drop, drop+1), count, lot)
				moved += different(slices.Delete(slices.Clone(before), drop, drop+1), after)
				tries++
			}
		}
		if mean := float64(moved) / float64(tries); mean > 20 {
			t.Errorf("of %d backends one that goes moves %.1f others in each lot", n, mean)
		}
	}
}

func TestOneBalancerMoreInALotMovesFewBackends(t *testing.T) {
	all := named(1000)
	moved := different(deal(all, 50, 0), deal(all, 51, 0))
	if moved > 1000/8 {
		t.Errorf("%d of 1000 backends moved as 50 balancers became 51", moved)
	}
}

func different(a, b []int) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestABalancerThatJoinsAtTheEndChangesNobodysSubset(t *testing.T) {
	all := named(200)
	for i := range 30 {
		if !slices.Equal(subset(all, 20, Here{Index: i, Of: 30}), subset(all, 20, Here{Index: i, Of: 31})) {
			t.Errorf("the subset of balancer %d changed", i)
		}
	}
}

func TestBalancersWithoutAnIndexCoverAllInTheMean(t *testing.T) {
	all := named(200)
	covered := map[string]int{}
	for i := range 1000 {
		for _, b := range subset(all, 20, Here{ID: fmt.Sprint("host-", i, ":8080")}) {
			covered[b.ID]++
		}
	}
	for _, b := range all { // 100 each, ± 7 standard deviations
		if n := covered[b.ID]; n < 34 || n > 166 {
			t.Errorf("%d of 1000 balancers use %s, want about 100", n, b.ID)
		}
	}
}

func TestJumpIsConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, n := rapid.Uint64().Draw(t, "key"), rapid.IntRange(1, 5000).Draw(t, "n")
		a, b := jump(key, n), jump(key, n+1)
		if a < 0 || a >= n || b != a && b != n {
			t.Fatalf("among %d it is %d, among one more %d", n, a, b)
		}
	})
}
