package affinity

import "math"

// Rendezvous chooses a member for a client's hash, see [Sessions.Hash], such that a member that joins or leaves moves only those clients that it
// gains or loses, each member getting its weight's share: every member has a score for the client, and the highest wins
// (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker 2005: score = -weight / ln u, with u uniform
// in (0,1) from a hash of member and client). The choice depends on IDs, weights and the client alone, so all balancers
// agree on it. It may be used concurrently.
type Rendezvous struct {
	hashes  []uint64
	weights []float64 // nil if all are equal
}

// NewRendezvous returns the choice among members with these IDs and weights, which are 1 and up.
func NewRendezvous(ids []string, weights []int) *Rendezvous {
	r := &Rendezvous{hashes: make([]uint64, len(ids))}
	for i, id := range ids {
		r.hashes[i] = hashBytes(id)
		if weights[i] != weights[0] && r.weights == nil {
			r.weights = make([]float64, len(ids))
		}
	}
	for i := range r.weights {
		r.weights[i] = float64(max(weights[i], 1))
	}
	return r
}

// Pick returns the index of the client's member, -1 if there are none. It does not allocate.
func (r *Rendezvous) Pick(h uint64) int {
	if r.weights != nil {
		return r.pickWeighted(h)
	}
	best, top := -1, uint64(0)
	for i, m := range r.hashes {
		if score := mix(m ^ h); best < 0 || score > top {
			best, top = i, score
		}
	}
	return best
}

func (r *Rendezvous) pickWeighted(h uint64) int {
	best, top := -1, 0.0
	for i, m := range r.hashes {
		u := (float64(mix(m^h)>>11) + 0.5) / (1 << 53)
		if score := -r.weights[i] / math.Log(u); best < 0 || score > top {
			best, top = i, score
		}
	}
	return best
}

// hashBytes is FNV-1a (64 bits) with a finisher: the same on every machine and in every process.
func hashBytes(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finisher of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
