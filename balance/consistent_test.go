package balance

import (
	"fmt"
	"math/big"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

var consistentOnes = []Algorithm{Maglev, Ring}

func members(n int) []Member {
	ms := make([]Member, n)
	for i := range ms {
		ms[i] = Member{ID: fmt.Sprint("backend-", i), Weight: 1}
	}
	return ms
}

func mustTable(t testing.TB, a Algorithm, ms []Member) *Table {
	t.Helper()
	table, err := NewTable(a, ms, 0)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// moved is the share of keys that two tables lead to members of different names. For Maglev every slot is looked at, so
// that the share is exact.
func moved(a, b *Table, as, bs []Member, keys int) float64 {
	n, same := keys, 0
	name := func(ms []Member, i int) string {
		if i < 0 {
			return ""
		}
		return ms[i].ID
	}
	if a.algorithm == Maglev {
		n = int(a.slots.n)
	}
	for k := range n {
		i, j := 0, 0
		if a.algorithm == Maglev {
			i, j = a.slots.at(uint64(k)), b.slots.at(uint64(k))
		} else {
			i, j = a.Owner(Hash(fmt.Sprint(k))), b.Owner(Hash(fmt.Sprint(k)))
		}
		if name(as, i) == name(bs, j) {
			same++
		}
	}
	return float64(n-same) / float64(n)
}

func TestAMemberThatComesOrGoesMovesLittleMoreThanItsShareOfMaglevsKeys(t *testing.T) {
	for _, n := range []int{3, 10, 100, 327, 1000, 10_000} {
		all := members(n)
		full := mustTable(t, Maglev, all)
		tries, total := max(min(n, 6, 1000/n), 1), 0.0
		for try := range tries {
			drop := (2*try + 1) * n / tries / 2
			fewer := slices.Delete(slices.Clone(all), drop, drop+1)
			share := moved(full, mustTable(t, Maglev, fewer), all, fewer, 0)
			total += share
			// Its own share may be up to slack times the mean.
			if share > 1.3/float64(n) {
				t.Errorf("of %d members number %d moves %.3f/%d of the keys", n, drop, share*float64(n), n)
			}
		}
		if mean := total / float64(tries); mean > 1.2/float64(n) {
			t.Errorf("of %d members one moves %.3f/%d of the keys in the mean, want at most 1.2", n, mean*float64(n), n)
		}
	}
}

func TestAMemberThatComesOrGoesMovesOnlyItsOwnKeysOfTheRing(t *testing.T) {
	for _, n := range []int{2, 10, 100} {
		all := members(n)
		full, fewer := mustTable(t, Ring, all), mustTable(t, Ring, all[1:])
		for k := range 20_000 {
			key := Hash(fmt.Sprint(k))
			if o := full.Owner(key); o != 0 && fewer.Owner(key) != o-1 {
				t.Fatalf("of %d members a key of %d moved to %d when 0 went", n, o, fewer.Owner(key)+1)
			}
		}
	}
}

func TestWeightsOfTheRingMoveNoOthersPoints(t *testing.T) {
	ms := members(20)
	for i := range ms {
		ms[i].Weight = 10 + i
	}
	before := mustTable(t, Ring, ms)
	heavier := slices.Clone(ms)
	heavier[3].Weight += 5
	after := mustTable(t, Ring, heavier)
	for k := range 20_000 {
		key := Hash(fmt.Sprint(k))
		if a, b := before.Owner(key), after.Owner(key); a != b && b != 3 {
			t.Fatalf("a key of %d moved to %d when 3 became heavier", a, b)
		}
	}
}

func TestSharesOfATableFollowTheWeights(t *testing.T) {
	for _, a := range consistentOnes {
		for _, ws := range [][]int{{1, 1, 1, 1}, {5, 1, 1}, {1000, 1, 500, 10, 0}} {
			ms, total := members(len(ws)), sum(ws)
			for i := range ms {
				ms[i].Weight = ws[i]
			}
			table := mustTable(t, a, ms)
			const keys = 100_000
			got := make([]int, len(ws))
			for k := range keys {
				got[table.Owner(Hash(fmt.Sprint(k)))]++
			}
			for i, w := range ws {
				share, want := float64(got[i])/keys, float64(w)/float64(total)
				if share < want*0.7-0.003 || share > want*1.3+0.003 {
					t.Errorf("%s with weights %v: member %d has %.4f of the keys, want about %.4f", a, ws, i, share, want)
				}
			}
		}
	}
}

func TestNoMemberOfMaglevHasMuchMoreThanItsShare(t *testing.T) {
	for _, n := range []int{10, 1000} {
		table := mustTable(t, Maglev, members(n))
		got := make([]int, n)
		for s := range table.slots.n {
			got[table.slots.at(s)]++
		}
		if most := float64(slices.Max(got)) / float64(table.slots.n) * float64(n); most > slack*1.05 {
			t.Errorf("of %d members one has %.3f times its share of the slots", n, most)
		}
	}
}

func TestATableDependsOnlyOnIDsAndWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(consistentOnes).Draw(t, "algorithm")
		ids := rapid.SliceOfNDistinct(rapid.StringN(1, 20, -1), 1, 12, rapid.ID[string]).Draw(t, "ids")
		ms := make([]Member, len(ids))
		for i, id := range ids {
			ms[i] = Member{ID: id, Weight: rapid.IntRange(0, 5).Draw(t, "weight")}
		}
		one, _ := NewTable(a, ms, 4099)
		other := rapid.Permutation(ms).Draw(t, "order")
		two, _ := NewTable(a, other, 4099)
		for k := range 200 {
			key := Hash(fmt.Sprint(k))
			i, j := one.Owner(key), two.Owner(key)
			if i < 0 != (j < 0) || i >= 0 && (ms[i].ID != other[j].ID || ms[i].Weight == 0) {
				t.Fatalf("key %d is %d's of %v, and %d's of %v", k, i, ms, j, other)
			}
		}
	})
}

func TestSlotsOfTheComment(t *testing.T) {
	// The orders of the comment, filled by the rule that a member whose slot is taken loses its turn.
	orders := [][]int{{3, 0, 4, 1, 5, 2, 6}, {0, 2, 4, 6, 1, 3, 5}, {3, 4, 5, 6, 0, 1, 2}}
	fillBy := func(who ...int) []int {
		slots := slices.Repeat([]int{-1}, 7)
		for turn := range 7 {
			for _, m := range who {
				if s := orders[m][turn]; slots[s] < 0 {
					slots[s] = m
				}
			}
		}
		return slots
	}
	full, without := fillBy(0, 1, 2), fillBy(0, 2)
	if want := []int{1, 0, 1, 0, 2, 2, 1}; !slices.Equal(full, want) {
		t.Errorf("slots are %v, want %v", full, want)
	}
	for s := range full {
		if full[s] != 1 && without[s] != full[s] {
			t.Errorf("slot %d moved from %d to %d when 1 went", s, full[s], without[s])
		}
	}
}

func TestSizesArePrime(t *testing.T) {
	for _, n := range sizes {
		if !big.NewInt(int64(n)).ProbablyPrime(20) {
			t.Errorf("%d is no prime", n)
		}
	}
	if got := slotCount(5, 1000); got != 1009 {
		t.Errorf("about 1000 slots are %d, want the next prime", got)
	}
}

func TestNewTableRefusesWhatMakesNoSense(t *testing.T) {
	if _, err := NewTable(Random, members(2), 0); err == nil {
		t.Error("a table for random")
	}
	for _, size := range []int{-1, MaxSize + 1} {
		if _, err := NewTable(Maglev, members(2), size); err == nil {
			t.Errorf("a table of %d places", size)
		}
	}
}

func TestATableOfNobodyHasNoOwner(t *testing.T) {
	for _, a := range consistentOnes {
		if got := mustTable(t, a, []Member{{"a", 0}}).Owner(7); got != -1 {
			t.Errorf("%s: a key belongs to %d", a, got)
		}
	}
}

// pickerOf picks among some of the members of a table.
func pickerOf(t testing.TB, table *Table, o Options, who ...int) (Picker, []Candidate) {
	t.Helper()
	cs := make([]Candidate, len(who))
	for i, m := range who {
		cs[i] = Candidate{Weight: 1, Member: m, InFlight: new(atomic.Int64)}
	}
	o.Table = table
	p, err := New(table.algorithm, cs, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, cs
}

func TestAFlapMovesOnlyTheKeysOfWhoFlaps(t *testing.T) {
	for _, a := range consistentOnes {
		table := mustTable(t, a, members(10))
		all, _ := pickerOf(t, table, Options{}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		some, _ := pickerOf(t, table, Options{}, 0, 1, 2, 4, 5, 6, 7, 8, 9)
		taken := make([]int, 10)
		for k := range 10_000 {
			q := Query{Key: Hash(fmt.Sprint(k))}
			before, after := all.Pick(q), some.Pick(q)
			if after >= 3 {
				after++
			}
			if before != 3 && before != after {
				t.Fatalf("%s: a key of %d moved to %d when 3 was not ready", a, before, after)
			}
			if before == 3 {
				taken[after]++
			}
		}
		for i, n := range taken {
			if i != 3 && n == 0 {
				t.Errorf("%s: none of 3's keys went to %d: %v", a, i, taken)
			}
		}
	}
}

func TestAnotherAttemptGoesToTheNextOfTheKey(t *testing.T) {
	for _, a := range consistentOnes {
		p, _ := pickerOf(t, mustTable(t, a, members(5)), Options{}, 0, 1, 2, 3, 4)
		for k := range 1000 {
			key := Hash(fmt.Sprint(k))
			var got []int
			for skip := range 4 {
				got = append(got, p.Pick(Query{Key: key, Skip: skip}))
			}
			slices.Sort(got)
			if len(slices.Compact(got)) != 4 {
				t.Fatalf("%s: four attempts of one key went to %v", a, got)
			}
		}
	}
}

func TestBoundedLoadsAreNeverExceeded(t *testing.T) {
	for _, a := range consistentOnes {
		var total atomic.Int64
		p, cs := pickerOf(t, mustTable(t, a, members(10)), Options{MaxLoad: 1.25, Total: &total}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		for n := range 500 { // all of one key, and none ends
			i := p.Pick(Query{Key: 42})
			total.Add(1)
			got := cs[i].InFlight.Add(1)
			if bound := int64(1.25*float64(n+1)/10) + 1; got > bound {
				t.Fatalf("%s: candidate %d has %d of %d under way, bound %d", a, i, got, n+1, bound)
			}
		}
	}
}

func TestABackendThatStartsSlowlyTakesAPartOfItsKeysAndKeepsThem(t *testing.T) {
	for _, a := range consistentOnes {
		table := mustTable(t, a, members(4))
		taken := map[uint64]bool{}
		for _, part := range []uint32{Whole / 10, Whole / 2, 0} {
			cs := make([]Candidate, 4)
			for i := range cs {
				cs[i] = Candidate{Weight: 1, Member: i}
			}
			cs[2].Part = part
			p, err := New(a, cs, Options{Table: table})
			if err != nil {
				t.Fatal(err)
			}
			own, got := 0, 0
			for k := range 20_000 {
				key := Hash(fmt.Sprint(k))
				if table.Owner(key) == 2 {
					own++
				}
				is := p.Pick(Query{Key: key}) == 2
				if taken[key] && !is {
					t.Fatalf("%s: a key that went to it goes elsewhere as it takes more", a)
				}
				if taken[key] = is; is {
					got++
				}
			}
			want := float64(own)
			if part > 0 {
				want *= float64(part) / Whole
			}
			if float64(got) < want*0.8 || float64(got) > want*1.3 {
				t.Errorf("%s: with a part of %d/%d it takes %d of its %d keys", a, part, Whole, got, own)
			}
		}
	}
}

func TestCandidatesThatTheTableDoesNotKnowServeWhenNobodyElseDoes(t *testing.T) {
	for _, a := range consistentOnes {
		p, _ := pickerOf(t, mustTable(t, a, members(3)), Options{}, -1, -1)
		got := make([]int, 2)
		for k := range 200 {
			got[p.Pick(Query{Key: Hash(fmt.Sprint(k))})]++
		}
		if got[0] < 50 || got[1] < 50 {
			t.Errorf("%s: picked %v times", a, got)
		}
	}
}

func TestHashOfTexts(t *testing.T) {
	// The same for ever and everywhere: balancers of different versions share backends.
	for text, want := range map[string]uint64{"": 0xe220a8397b1dcdaf, "a": 0x19c20ee8ffa00582, "backend-1": 0xa116edf99ef5226b, "0123456789abcdef": 0xd279087a914e8fb} {
		if got := Hash(text); got != want {
			t.Errorf("hash of %q is %#x, want %#x", text, got, want)
		}
	}
	seen := map[uint64]string{}
	for i := range 50_000 {
		for _, s := range []string{fmt.Sprint(i), fmt.Sprintf("%08d", i), fmt.Sprintf("client-%d/path", i)} {
			h := Hash(s)
			if other, twice := seen[h]; twice && other != s {
				t.Fatalf("%q and %q have one hash", s, other)
			}
			seen[h] = s
		}
	}
}

func BenchmarkNewTable(b *testing.B) {
	for _, a := range consistentOnes {
		for _, n := range []int{10, 100, 1000, 10_000} {
			ms := members(n)
			b.Run(fmt.Sprintf("%s/%d", a, n), func(b *testing.B) {
				for range b.N {
					b.ReportMetric(float64(mustTable(b, a, ms).Bytes())/1024, "KiB")
				}
			})
		}
	}
}
