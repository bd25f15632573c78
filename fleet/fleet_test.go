package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func member(id, fingerprint string) Replica {
	return Replica{ID: id, Version: "v1", Started: start, Fingerprint: fingerprint, Admin: "10.0.0.1:9901", Listen: []string{"[::]:8080"}}
}

func TestAViewIsSortedAndKnowsItsOwnRank(t *testing.T) {
	v := NewView([]Replica{member("c", "x"), member("a", "x"), member("b", "x"), member("a", "x")}, "b")
	if len(v.Members) != 3 || v.Self != 1 || v.Size() != 3 {
		t.Errorf("%d members, self %d", len(v.Members), v.Self)
	}
	if v := NewView(nil, "b"); v.Self != -1 || v.Size() != 1 {
		t.Errorf("an empty view has self %d and size %d", v.Self, v.Size())
	}
}

func TestThoseBesideTheMajorityDiffer(t *testing.T) {
	for _, c := range []struct{ prints, want string }{
		{"x x x", ""}, {"x y x", "b"}, {"x y", "a b"}, {"x y z", "a b c"}, {"x", ""}, {"x x y y z", "a b c d e"},
	} {
		var ms []Replica
		for i, p := range strings.Fields(c.prints) {
			ms = append(ms, member(string(rune('a'+i)), p))
		}
		if got := NewView(ms, "").Differing(); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: %v differ, want %s", c.prints, got, c.want)
		}
	}
}

func TestLagIsThatOfTheWorstSource(t *testing.T) {
	at := start.Add(time.Minute)
	m := member("a", "x")
	m.Sources = []Source{{Name: "etcd", Up: true}, {Name: "consul", Synced: &at}}
	if lag, never := m.Lag(start.Add(3 * time.Minute)); lag != 2*time.Minute || never {
		t.Errorf("lag %v %v", lag, never)
	}
	m.Sources = append(m.Sources, Source{Name: "file"})
	if lag, never := m.Lag(start.Add(3 * time.Minute)); lag != 3*time.Minute || !never {
		t.Errorf("lag %v %v", lag, never)
	}
}

func TestAnEntryIsReadAsItWasWritten(t *testing.T) {
	m := member("a", "x")
	m.Written = start
	got, err := Decode("a", m.Encode())
	if err != nil || !got.Equal(m) || !got.Written.Equal(start) {
		t.Errorf("%+v %v", got, err)
	}
	for id, text := range map[string]string{"a": "{", "a b": "{}", "b": `{"generation": "x"}`, "c": strings.Repeat(" ", maxEntry+1)} {
		if _, err := Decode(id, []byte(text)); err == nil {
			t.Errorf("%q: %.20q is taken", id, text)
		}
	}
}

func TestTheReportMarksWhoDiffers(t *testing.T) {
	at := start.Add(time.Hour)
	late := member("b", "y")
	late.Sources = []Source{{Name: "etcd", Synced: &at}}
	var b strings.Builder
	if err := NewView([]Replica{member("a", "x"), late, member("c", "x")}, "").Report(&b, start.Add(90*time.Minute)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !strings.Contains(lines[2], "differs") || !strings.Contains(lines[2], "30m") || strings.Contains(lines[1]+lines[3], "differs") {
		t.Errorf("the report is\n%s", b.String())
	}
}
