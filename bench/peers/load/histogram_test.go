//go:build linux

package load

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantilesAreThoseOfTheSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "values")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var a, b Histogram
		for i, v := range values {
			if i%2 == 0 {
				a.Add(time.Duration(v))
			} else {
				b.Add(time.Duration(v))
			}
		}
		a.Merge(&b)
		slices.Sort(values)
		want := values[max(int(q*float64(len(values)))-1, 0)]
		got := int64(a.Quantile(q))
		if math.Abs(float64(got-want)) > float64(want)/steps {
			t.Fatalf("quantile %v of %v is %d, want about %d", q, values, got, want)
		}
	})
}

func TestAnEmptyHistogramHasNoQuantiles(t *testing.T) {
	if got := new(Histogram).Quantile(0.5); got != 0 {
		t.Errorf("got %v", got)
	}
}

func TestEveryDurationHasABucket(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, steps - 1, steps, 2*steps - 1, 2 * steps, math.MaxInt64} {
		h.Add(d)
	}
	if got := h.Quantile(1); got < math.MaxInt64/steps*(steps-1) {
		t.Errorf("the greatest is told as %v", got)
	}
}
