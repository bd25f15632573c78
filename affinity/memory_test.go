package affinity

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func keyOf(i int) (k key) {
	binary.BigEndian.PutUint64(k[:], uint64(i))
	return k
}

func testMemory(t testing.TB, limit int) *memory {
	m := newMemory(limit, time.Hour)
	t.Cleanup(m.stop)
	return m
}

func TestMemoryDropsTheLeastRecentlyUsedFirst(t *testing.T) {
	m := testMemory(t, 3)
	for i := range 3 {
		m.put(keyOf(i), bound{backend: "b", expires: t0.Add(time.Hour), issued: t0})
	}
	m.put(keyOf(0), bound{backend: "b", expires: t0.Add(time.Hour), issued: t0})
	m.put(keyOf(3), bound{backend: "b", expires: t0.Add(time.Hour), issued: t0})
	for i, want := range []bool{true, false, true, true} {
		if _, ok := m.get(keyOf(i), t0); ok != want {
			t.Errorf("session %d remembered: %v, want %v", i, ok, want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	for _, limit := range []int{1, 10, 4096, 10_000} {
		m := testMemory(t, limit)
		for i := range 3 * limit {
			m.put(keyOf(i), bound{backend: "b", expires: t0.Add(time.Hour), issued: t0})
		}
		if n := m.active.Load(); n > int64(limit) || n < int64(limit)*9/10 {
			t.Errorf("limit %d: %d remembered", limit, n)
		}
	}
}

func TestMemoryKeepsItsSessionsWhenTheLimitChanges(t *testing.T) {
	m := testMemory(t, 100)
	for i := range 100 {
		m.put(keyOf(i), bound{backend: fmt.Sprint(i), expires: t0.Add(time.Hour), issued: t0})
	}
	var wg sync.WaitGroup
	wg.Go(func() { // exchanges go on meanwhile
		for i := range 1000 {
			m.put(keyOf(i%100), bound{backend: fmt.Sprint(i % 100), expires: t0.Add(time.Hour), issued: t0})
		}
	})
	for _, limit := range []int{100_000, 200, 100_000} {
		m.setLimit(limit)
	}
	wg.Wait()
	for i := range 100 {
		if b, ok := m.get(keyOf(i), t0); !ok || b.backend != fmt.Sprint(i) {
			t.Errorf("session %d: %v, %v", i, b, ok)
		}
	}
	m.setLimit(10)
	if n := m.active.Load(); n != 10 {
		t.Errorf("%d remembered after the limit fell to 10", n)
	}
}

// The oracle is a map and a list under one lock.
func TestMemoryIsAnLRU(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		m := newMemory(limit, time.Hour)
		defer m.stop()
		order, where := list.New(), map[int]*list.Element{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, 12).Draw(t, "key")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				m.put(keyOf(i), bound{backend: "b", expires: t0.Add(time.Hour), issued: t0})
				if e := where[i]; e != nil {
					order.Remove(e)
				}
				where[i] = order.PushFront(i)
			case 2:
				limit = rapid.IntRange(1, 8).Draw(t, "limit")
				m.setLimit(limit)
			}
			for order.Len() > limit {
				delete(where, order.Remove(order.Back()).(int))
			}
			for k := range 13 {
				if _, ok := m.get(keyOf(k), t0); ok != (where[k] != nil) {
					t.Fatalf("session %d remembered: %v, want %v", k, ok, !ok)
				}
			}
			if int(m.active.Load()) != order.Len() {
				t.Fatalf("%d counted, want %d", m.active.Load(), order.Len())
			}
		}
	})
}

func TestMemoryMayBeUsedConcurrently(t *testing.T) {
	m := testMemory(t, 5000)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				k := keyOf(g*10_000 + i%50)
				m.put(k, bound{backend: fmt.Sprint(g), expires: t0.Add(time.Hour), issued: t0})
				if b, ok := m.get(k, t0); !ok || b.backend != fmt.Sprint(g) {
					t.Errorf("got %v, %v, want %d", b, ok, g)
					return
				}
				if i%500 == 0 {
					m.clean(t0)
				}
			}
		})
	}
	wg.Wait()
	if n := m.active.Load(); n != 200 {
		t.Errorf("%d remembered, want 200", n)
	}
}
