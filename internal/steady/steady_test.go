package steady

import (
	"testing"
	"time"
)

func TestTimesAreToldInTheirOrderAndRoundedDown(t *testing.T) {
	for _, c := range []struct {
		since           time.Duration
		millis, seconds int64
	}{
		{0, 0, 0},
		{1500 * time.Millisecond, 1500, 1},
		{999 * time.Microsecond, 0, 0},
		{-1, -1, -1},
		{-time.Second, -1000, -1},
		{-1500 * time.Millisecond, -1500, -2},
	} {
		at := start.Add(c.since)
		if n, ms, s := Nanos(at), Millis(at), Seconds(at); n != int64(c.since) || ms != c.millis || s != c.seconds {
			t.Errorf("%v after the start: %d ns, %d ms, %d s; want %d, %d and %d", c.since, n, ms, s, c.since, c.millis, c.seconds)
		}
	}
}

func TestATimeWithoutASteadyReadingIsTakenByTheWallClock(t *testing.T) {
	if got := Nanos(start.Round(0).Add(time.Hour)); got != int64(time.Hour) {
		t.Errorf("an hour later by the wall clock is %v after the start", time.Duration(got))
	}
}
