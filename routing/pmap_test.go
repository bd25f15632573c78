package routing

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

func TestPersistentMapAgreesWithAMapAndKeepsItsPast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m pmap[int]
		model := map[string]int{}
		type version struct {
			m     pmap[int]
			model map[string]int
		}
		var past []version
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			key := fmt.Sprint(rapid.IntRange(0, 120).Draw(t, "key"))
			if rapid.Bool().Draw(t, "set") {
				m = m.set(key, i)
				model[key] = i
			} else {
				m = m.delete(key)
				delete(model, key)
			}
			if i%50 == 0 {
				past = append(past, version{m, maps.Clone(model)})
			}
		}
		for _, v := range append(past, version{m, model}) {
			if got := maps.Collect(v.m.all()); !maps.Equal(got, v.model) {
				t.Fatalf("holds %v, want %v", got, v.model)
			}
			if v.m.len() != len(v.model) {
				t.Fatalf("claims %d keys, has %d", v.m.len(), len(v.model))
			}
			for i := range 121 {
				got, ok := v.m.get(fmt.Sprint(i))
				want, has := v.model[fmt.Sprint(i)]
				if got != want || ok != has {
					t.Fatalf("get(%d) = %d, %v; want %d, %v", i, got, ok, want, has)
				}
			}
		}
	})
}

// Keys whose hashes agree in all or all but the last bits: real hashes never do, so these are set by hand.
func TestPersistentMapTellsKeysOfOneHashApart(t *testing.T) {
	for _, hash := range []func(i int) uint64{
		func(int) uint64 { return 42 },
		func(i int) uint64 { return 42 | uint64(i%2)<<63 },
		func(i int) uint64 { return uint64(i) << 60 },
	} {
		var root *pnode[int]
		for i := range 5 {
			var added bool
			if root, added = root.set(0, pleaf[int]{hash(i), fmt.Sprint(i), i}); !added {
				t.Fatalf("key %d was taken for another", i)
			}
		}
		root, added := root.set(0, pleaf[int]{hash(3), "3", 33})
		if added {
			t.Error("a key was added twice")
		}
		for i := range 5 {
			want := i
			if i == 3 {
				want = 33
			}
			if got, ok := root.get(hash(i), fmt.Sprint(i)); !ok || got != want {
				t.Errorf("get(%d) = %d, %v; want %d", i, got, ok, want)
			}
		}
		for i := range 5 {
			if _, removed := root.delete(0, hash(i), "none"); removed {
				t.Error("removed a key that was never there")
			}
			var removed bool
			if root, removed = root.delete(0, hash(i), fmt.Sprint(i)); !removed {
				t.Errorf("key %d is not there to delete", i)
			}
		}
		if root != nil {
			t.Error("the emptied map has nodes left")
		}
	}
}
