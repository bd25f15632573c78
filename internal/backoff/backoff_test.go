package backoff

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsGrowFromMinToMaxWithinTheirJitter(t *testing.T) {
	b := Backoff{Min: 10 * time.Millisecond, Max: 75 * time.Millisecond}
	for i, whole := range []time.Duration{10, 20, 40, 75, 75} {
		whole *= time.Millisecond
		if d := b.Next(); d < whole/2 || d > whole {
			t.Errorf("wait %d is %v, want %v to %v", i, d, whole/2, whole)
		}
	}
	b.Reset()
	if d := b.Next(); d > 10*time.Millisecond {
		t.Errorf("after Reset the wait is %v, want at most Min", d)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := Backoff{Min: time.Hour, Max: time.Hour}
		start := time.Now()
		if b.Wait(ctx) {
			t.Error("the wait claims to have passed, its context ended first")
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("returned after %v, want 1s", d)
		}
	})
}
