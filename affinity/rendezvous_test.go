package affinity

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
)

func members(n int) (ids []string, weights []int) {
	for i := range n {
		ids, weights = append(ids, fmt.Sprintf("backend-%d", i)), append(weights, 1)
	}
	return ids, weights
}

func addrs(n int) (all []netip.Addr) {
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	return all
}

func TestRendezvousMovesOnlyTheClientsOfAMemberThatLeft(t *testing.T) {
	ids, weights := members(10)
	before := NewRendezvous(ids, weights)
	left := NewRendezvous(slices.Delete(slices.Clone(ids), 3, 4), weights[:9])
	for _, a := range addrs(2000) {
		was := before.Pick(hashOf(a))
		is := left.Pick(hashOf(a))
		if is >= 3 {
			is++
		}
		if was != 3 && is != was {
			t.Fatalf("%v moved from %d to %d although its member stayed", a, was, is)
		}
		if is == 3 {
			t.Fatalf("%v goes to the member that left", a)
		}
	}
}

func TestRendezvousGivesEachMemberItsWeightsShare(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1, 1}, {5, 1, 1, 3}, {1000, 1, 500, 499}} {
		ids, _ := members(len(weights))
		r := NewRendezvous(ids, weights)
		got, sum := make([]int, len(weights)), 0
		const n = 20_000
		for _, a := range addrs(n) {
			got[r.Pick(hashOf(a))]++
		}
		for _, w := range weights {
			sum += w
		}
		for i, w := range weights {
			if want := float64(n) * float64(w) / float64(sum); math.Abs(float64(got[i])-want) > 5*math.Sqrt(want)+1 {
				t.Errorf("weights %v: member %d has %d clients, want about %.0f", weights, i, got[i], want)
			}
		}
	}
}

func TestRendezvousDoesNotDependOnTheOrderOfMembers(t *testing.T) {
	ids, weights := members(7)
	weights[2] = 4
	rev, revWeights := slices.Clone(ids), slices.Clone(weights)
	slices.Reverse(rev)
	slices.Reverse(revWeights)
	a, b := NewRendezvous(ids, weights), NewRendezvous(rev, revWeights)
	for _, addr := range addrs(500) {
		if x, y := ids[a.Pick(hashOf(addr))], rev[b.Pick(hashOf(addr))]; x != y {
			t.Fatalf("%v goes to %s and to %s", addr, x, y)
		}
	}
}

func TestRendezvousOfNobodyPicksNobody(t *testing.T) {
	if i := NewRendezvous(nil, nil).Pick(hashOf(netip.MustParseAddr("10.0.0.1"))); i != -1 {
		t.Errorf("picked %d of none", i)
	}
}

func TestRendezvousTakesIPv4MappedAddressesForIPv4(t *testing.T) {
	ids, weights := members(50)
	r := NewRendezvous(ids, weights)
	if r.Pick(hashOf(netip.MustParseAddr("10.1.2.3"))) != r.Pick(hashOf(netip.MustParseAddr("::ffff:10.1.2.3"))) {
		t.Error("one client has two members")
	}
}

func BenchmarkRendezvous(b *testing.B) {
	ids, weights := members(100)
	r, a := NewRendezvous(ids, weights), netip.MustParseAddr("10.1.2.3")
	b.ReportAllocs()
	for b.Loop() {
		r.Pick(hashOf(a))
	}
}

// hashOf is the hash of a client that is told by its address.
func hashOf(a netip.Addr) uint64 {
	k := addrKey(a)
	return hashBytes(stringOf(k[:]))
}
