// Package steady tells times that no setting of the machine's clock moves, as numbers that fit an atomic word.
//
// A [time.Time] from [time.Now] has such a reading too, which its methods Sub, Before and After use; what turns one into a
// number by Unix, UnixMilli or UnixNano loses it: a clock that is set forward an hour then ends an hour's waits at once,
// and one that is set back makes them an hour longer.
package steady

import "time"

// start is when the process began, more or less; it is never changed.
var start = time.Now()

// Nanos is the time in nanoseconds since the process began, below zero for what was before. It is that of the steady
// clock if the time has its reading, as those of [time.Now] have, else that of the wall clock.
func Nanos(t time.Time) int64 { return int64(t.Sub(start)) }

// Millis is [Nanos] in milliseconds, rounded down.
func Millis(t time.Time) int64 { return floor(Nanos(t), 1e6) }

// Seconds is [Nanos] in seconds, rounded down.
func Seconds(t time.Time) int64 { return floor(Nanos(t), 1e9) }

// floor divides and rounds down, also below zero.
func floor(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}
