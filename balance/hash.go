package balance

import "encoding/binary"

// Hash is a hash of a text that is the same on every machine and in every process, so that all balancers choose alike. It
// takes eight bytes at a time, each step being a bijection of the state, and is no defence against clients that choose
// their keys to meet at one backend; a bound of loads is.
func Hash(s string) uint64 {
	const k = 0x9E3779B97F4A7C15
	h := uint64(len(s)) * k
	for len(s) >= 8 {
		h = stir((h ^ eight(s)) * k)
		s = s[8:]
	}
	if len(s) > 0 {
		var last [8]byte
		copy(last[:], s)
		h = stir((h ^ binary.LittleEndian.Uint64(last[:])) * k)
	}
	return scatter(h)
}

func stir(h uint64) uint64 { return h ^ h>>29 }

func eight(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// HashNumber is a hash of a number: a bijection of which every bit depends on all of the number's.
func HashNumber(n uint64) uint64 { return scatter(n) }
