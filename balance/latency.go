package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Latency is how long a backend took to answer, by two averages that weigh what is recent. The zero value knows nothing.
// Its methods may be called concurrently, take no lock and allocate nothing.
//
// The peak jumps up to every answer that was slower, and from there comes down as the mean does (peak-EWMA, as
// Twitter's Finagle has it). The mean takes each answer by the time that has passed since the one before. Both halve every
// [HalfLife] in which nothing is observed, so that a backend which was once slow is tried again.
//
// With a peak of 100 ms, an answer of 10 ms half a life later makes it 100·0.71 + 10·0.29 = 74 ms; an answer of 200 ms
// makes it 200 ms. A backend that was ten times slower than the others and is left alone costs as little as they after
// log₂ 10 = 3.3 half-lives, 14 s.
type Latency struct {
	// peak and mean each hold an average in their upper half, nanoseconds as a float32, and in the lower half the time
	// of its last change in milliseconds, which wraps every 49 days.
	peak, mean atomic.Uint64
}

// HalfLife is the time in which an average halves: 2¹² ms.
const HalfLife = (1 << halfLifeBits) * time.Millisecond

const halfLifeBits = 12

// Observe takes an answer, which came at a time, as [Query].Now has it, after that long.
func (l *Latency) Observe(now int64, took time.Duration) {
	ms := uint32(now)
	sample := nanos(took)
	raise(&l.peak, ms, sample)
	follow(&l.mean, ms, sample)
}

// Failed takes an attempt that failed. It may have a backend look slower, never faster: one that fails at once does not
// draw more requests by it.
func (l *Latency) Failed(now int64, took time.Duration) {
	ms := uint32(now)
	for _, word := range [...]*atomic.Uint64{&l.peak, &l.mean} {
		if old := word.Load(); nanos(took) > at(old, ms) {
			word.CompareAndSwap(old, pack(nanos(took), ms))
		}
	}
}

// Peak is the peak at a time as [Query].Now has it, 0 if nothing is known or what was is long over.
func (l *Latency) Peak(now int64) time.Duration { return time.Duration(at(l.peak.Load(), uint32(now))) }

// Mean is the mean at a time as [Query].Now has it, 0 if nothing is known or what was is long over.
func (l *Latency) Mean(now int64) time.Duration { return time.Duration(at(l.mean.Load(), uint32(now))) }

func nanos(d time.Duration) float32 { return float32(max(d, 1)) }

func pack(v float32, ms uint32) uint64 { return uint64(math.Float32bits(v))<<32 | uint64(ms) }

// at is an average's value at a time.
//
// It is divided by 2^(age/half-life) by subtracting that exponent from the number's bits, where the 8 bits of a float32's
// own exponent lie above 23 of its fraction: a half-life takes 1 from the exponent, and what is less than one runs through
// the fraction, on a chord of the curve that is at most 6 % above it. 100 ms a half-life old are 50 ms; a quarter of one
// old they are 87 ms, by the curve 84.
func at(word uint64, ms uint32) float32 {
	bits, age := uint32(word>>32), age(word, ms)
	if age >= bits>>(23-halfLifeBits) {
		return 0
	}
	return math.Float32frombits(bits - age<<(23-halfLifeBits))
}

// age is the time since an average's last change; none if that is in the future, as it looks when two observe at once.
func age(word uint64, ms uint32) uint32 {
	if d := ms - uint32(word); d < 1<<31 {
		return d
	}
	return 0
}

// raise makes the word the sample if that is higher, else lets it come down towards it.
func raise(word *atomic.Uint64, ms uint32, sample float32) {
	for {
		old := word.Load()
		was := at(old, ms)
		if sample < was {
			follow(word, ms, sample)
			return
		}
		// A peak must not get lost to another observer; each loss is another's progress, and a higher one ends it.
		if word.CompareAndSwap(old, pack(sample, ms)) {
			return
		}
	}
}

// follow lets the word come nearer to the sample by the time that has passed. Of the samples of one millisecond one
// counts, and so it does where several observe at once.
func follow(word *atomic.Uint64, ms uint32, sample float32) {
	old := word.Load()
	since := age(old, ms)
	switch was := at(old, ms); {
	case was == 0:
		word.CompareAndSwap(old, pack(sample, ms))
	case since > 0:
		keep := was / math.Float32frombits(uint32(old>>32))
		word.CompareAndSwap(old, pack(was+sample*(1-keep), ms))
	}
}
