package probe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// telling is what members share who all share one service, and say of its backend "b" at the URL "u" what is given: "up",
// "down", or "" for nothing.
func telling(said map[string]string) map[string]Entry {
	told := map[string]Entry{}
	for id, word := range said {
		told[id] = Entry{"web": {}}
		switch word {
		case "up":
			told[id]["web"]["b"] = Verdict{URL: "u"}
		case "down":
			told[id]["web"]["b"] = Verdict{URL: "u", Down: "refused at " + id}
		}
	}
	return told
}

func subjectOf(id string, by int) *Subject { return &Subject{Service: "web", ID: id, URL: "u", By: by} }

func TestWithoutAStoreABalancerGoesByItsOwnProbes(t *testing.T) {
	var s *Shared
	if d := s.Decide(subjectOf("b", 2), nil); !d.Probe || d.Tell || d.Known {
		t.Errorf("before the first probe: %+v", d)
	}
	if d := s.Decide(subjectOf("b", 2), &Verdict{URL: "u", Down: "refused"}); !d.Probe || !d.Known || !d.Down || d.Why != "refused" || d.By != nil {
		t.Errorf("after it: %+v", d)
	}
}

func TestAMajorityTakesABackendDown(t *testing.T) {
	const all = 99 // all members probe
	for _, c := range []struct {
		others map[string]string
		own    string
		down   bool
		by     string
	}{
		{map[string]string{"x": "down"}, "up", false, "me x"},
		{map[string]string{"x": "down"}, "down", true, "me x"},
		{map[string]string{"x": "down"}, "", true, "x"},
		{map[string]string{"x": "up", "y": "down"}, "down", true, "me x y"},
		{map[string]string{"x": "up", "y": "down"}, "up", false, "me x y"},
		{map[string]string{"x": "up", "y": "down"}, "", false, "x y"},
		{map[string]string{"a": "", "y": "down"}, "", true, "y"},
		{map[string]string{"a": ""}, "down", true, "me"},
	} {
		said := maps.Clone(c.others)
		said["me"] = "up" // what the store has of our own is older than what we know
		var own *Verdict
		if c.own != "" {
			v := telling(map[string]string{"me": c.own})["me"]["web"]["b"]
			own = &v
		}
		d := NewShared("me", telling(said)).Decide(subjectOf("b", all), own)
		if !d.Probe || !d.Tell || d.Down != c.down || strings.Join(d.By, " ") != c.by || (d.Why != "") != c.down {
			t.Errorf("%v and own %q: %+v, want down %v by %s", c.others, c.own, d, c.down, c.by)
		}
	}
}

func TestAVerdictOnAnotherAddressOrServiceIsNone(t *testing.T) {
	told := map[string]Entry{
		"me": {"web": {}},
		"x":  {"web": {"b": {URL: "another", Down: "refused"}}},
		"y":  {"api": {"b": {URL: "u", Down: "refused"}}},
	}
	if d := NewShared("me", told).Decide(subjectOf("b", 1), nil); d.Known || !d.Probe {
		t.Errorf("%+v", d)
	}
}

func TestABalancerThatIsNotInTheListProbesOnlyWhatNobodyTellsOf(t *testing.T) {
	s := NewShared("me", telling(map[string]string{"x": "up"}))
	if d := s.Decide(subjectOf("b", 5), nil); d.Probe || d.Tell || !d.Known || d.Down {
		t.Errorf("of what is told: %+v", d)
	}
	if d := s.Decide(subjectOf("c", 5), nil); !d.Probe || d.Tell {
		t.Errorf("of what is not: %+v", d)
	}
}

func TestAMemberThatLeavesMovesOnlyItsOwn(t *testing.T) {
	said := map[string]string{}
	for i := range 10 {
		said[fmt.Sprint("lb-", i)] = ""
	}
	const backends, by = 1000, 2
	probers := func(told map[string]Entry) (of [backends][]string, load map[string]int) {
		load = map[string]int{}
		for _, id := range slices.Sorted(maps.Keys(told)) {
			s := NewShared(id, told)
			for b := range backends {
				if s.Decide(subjectOf(fmt.Sprint("b", b), by), nil).Tell {
					of[b] = append(of[b], id)
					load[id]++
				}
			}
		}
		return of, load
	}
	before, load := probers(telling(said))
	for id, n := range load {
		if n < 140 || n > 260 {
			t.Errorf("%s probes %d of %d backends, far from 200", id, n, backends)
		}
	}
	delete(said, "lb-3")
	after, _ := probers(telling(said))
	for b := range backends {
		if len(before[b]) != by || len(after[b]) != by {
			t.Fatalf("b%d is probed by %v, then by %v", b, before[b], after[b])
		}
		for _, id := range before[b] {
			if id != "lb-3" && !slices.Contains(after[b], id) {
				t.Errorf("b%d was probed by %v, and by %v when lb-3 had left", b, before[b], after[b])
			}
		}
	}
}

func TestASubjectHeedsAChangedListAndNumber(t *testing.T) {
	sub := subjectOf("b", 1)
	alone := NewShared("me", telling(map[string]string{"me": ""}))
	if !alone.Decide(sub, nil).Tell {
		t.Error("the only member does not probe")
	}
	said := map[string]string{"me": ""}
	for i := range 50 {
		said[fmt.Sprint(i)] = ""
	}
	many := NewShared("me", telling(said))
	for by := range 52 {
		sub.By = by
		if got, want := many.Decide(sub, nil).Tell, many.Decide(subjectOf("b", by), nil).Tell; got != want {
			t.Fatalf("with %d: %v, afresh %v", by, got, want)
		}
	}
}

// TestTheFleetAsAWhole lets balancers come, go, tell and find out in any order, each of them hearing of it whenever it likes, and
// compares with what must hold in each state.
func TestTheFleetAsAWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := []string{"a", "b", "c", "d", "e"}
		said := map[string]string{}
		for _, id := range ids {
			if rapid.Bool().Draw(t, "there") {
				said[id] = rapid.SampledFrom([]string{"", "up", "down"}).Draw(t, "says")
			}
		}
		by := rapid.IntRange(1, 6).Draw(t, "by")
		told := telling(said)
		probers := 0
		for id := range said {
			s := NewShared(id, told)
			own := rapid.SampledFrom([]*Verdict{nil, {URL: "u"}, {URL: "u", Down: "refused"}}).Draw(t, "own")
			d := s.Decide(subjectOf("b", by), own)
			if d.Tell {
				probers++
			}
			// The oracle: votes of others, and the own one if it probes.
			ups, downs := 0, 0
			for other, word := range said {
				if other != id && word == "up" {
					ups++
				} else if other != id && word == "down" {
					downs++
				}
			}
			probe := d.Tell || ups+downs == 0
			if probe && own != nil && own.Down != "" {
				downs++
			} else if probe && own != nil {
				ups++
			}
			if d.Probe != probe || d.Known != (ups+downs > 0) || d.Down != (downs > ups) || len(d.By) != ups+downs || !slices.IsSorted(d.By) {
				t.Fatalf("%s of %v with own %v: %+v", id, said, own, d)
			}
		}
		if want := min(by, len(said)); probers != want {
			t.Fatalf("%d of %d probe, want %d", probers, len(said), want)
		}
	})
}

func TestAnEntryComesBackAsItWas(t *testing.T) {
	e := Entry{"web": {"a": {URL: "http://a"}, "b": {URL: "http://b", Down: "GET \"/\": <refused>"}}, "api": {}}
	text, left := e.Encode()
	back, err := DecodeEntry(text)
	if err != nil || left != 0 || !back.Equal(e) {
		t.Errorf("%s came back as %v (%v), %d left out", text, back, err, left)
	}
	if e, err := DecodeEntry([]byte("null")); err != nil || e == nil {
		t.Errorf("nothing is %v (%v)", e, err)
	}
	for _, text := range []string{"", "[]", "{", `{"web": 1}`, strings.Repeat(" ", MaxEntry) + "{}"} {
		if e, err := DecodeEntry([]byte(text)); err == nil {
			t.Errorf("%.20q is taken for %v", text, e)
		}
	}
}

func TestAnEntryIsBoundedAndLeavesOutAlwaysTheSame(t *testing.T) {
	e := Entry{}
	for s := range 3 {
		all := map[string]Verdict{}
		for b := range 10_000 {
			all[fmt.Sprintf("backend-%05d", b)] = Verdict{URL: "http://10.0.0.1:8080", Down: strings.Repeat("\n", b%3)}
		}
		e[fmt.Sprint("service-", s)] = all
	}
	text, left := e.Encode()
	again, _ := e.Encode()
	back, err := DecodeEntry(text)
	n := 0
	for _, all := range back {
		n += len(all)
	}
	if err != nil || len(text) > MaxEntry || len(text) < MaxEntry*9/10 || n+left != 30_000 || string(again) != string(text) {
		t.Errorf("%d bytes (%v), %d verdicts in it and %d left out", len(text), err, n, left)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(`{"web":{"a":{"url":"http://a","down":"refused"}}}`))
	f.Add([]byte(`{"web":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := DecodeEntry(text)
		if err != nil {
			return
		}
		_ = NewShared("me", map[string]Entry{"x": e, "me": {}}).Decide(subjectOf("a", 2), nil)
		out, left := e.Encode()
		if back, err := DecodeEntry(out); left == 0 && (err != nil || len(back) != len(e)) {
			t.Errorf("%q came back as %q (%v)", text, out, err)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	told := map[string]Entry{}
	for i := range 100 {
		told[fmt.Sprint("lb-", i)] = Entry{"web": {}}
	}
	s, sub := NewShared("lb-1", told), subjectOf("b", 2)
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(sub, nil)
	}
}
