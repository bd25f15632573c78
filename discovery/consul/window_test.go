package consul

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// read is the reply about one service whose instances carry these indexes.
func read(index uint64, modified ...uint64) result {
	r := result{meta: meta{index: index}}
	for _, m := range modified {
		e := instanceOf("a")
		e.Service.CreateIndex, e.Service.ModifyIndex = 1, m
		r.entries = append(r.entries, e)
	}
	return r
}

func TestAWindowIsClosedWhenAllWritesInItAreAccountedFor(t *testing.T) {
	checked := read(43, 42)
	checked.entries[0].Checks = api.HealthChecks{{CreateIndex: 41, ModifyIndex: 43}}
	for name, c := range map[string]struct {
		to    uint64
		reads []result
		want  bool
	}{
		"nothing read":                {to: 41},
		"one registration":            {to: 41, reads: []result{read(41, 41)}, want: true},
		"a removal":                   {to: 41, reads: []result{read(41)}, want: true},
		"two of two":                  {to: 42, reads: []result{read(41, 41), read(42, 42)}, want: true},
		"one of two":                  {to: 42, reads: []result{read(42, 42)}},
		"checks":                      {to: 43, reads: []result{checked}, want: true},
		"more than is told apart":     {to: 40 + maxWindow + 1, reads: []result{read(41, 41)}},
		"what is beyond does no harm": {to: 41, reads: []result{read(50, 41, 50)}, want: true},
		"an entry without parts":      {to: 41, reads: []result{{entries: []*api.ServiceEntry{nil, {}}, meta: meta{index: 41}}}, want: true},
	} {
		w := window{from: 40, to: 40}
		w.moved(c.to, time.Now())
		for _, r := range c.reads {
			w.explain(r)
		}
		if got, _ := w.close(); got != c.want || w.open() {
			t.Errorf("%s: accounted for: %v, want %v; open: %v", name, got, c.want, w.open())
		}
	}
}

func TestWhatWasReadAheadAccountsForTheNextWindow(t *testing.T) {
	w := window{from: 40, to: 40}
	w.moved(41, time.Now())
	w.explain(read(42, 41, 42))
	if whole, _ := w.close(); !whole {
		t.Fatal("the first window is not accounted for")
	}
	w.moved(42, time.Now())
	if whole, _ := w.close(); !whole {
		t.Error("the second window is not accounted for")
	}
	w.moved(43, time.Now())
	if whole, _ := w.close(); whole {
		t.Error("the third window is accounted for by nothing")
	}
}

func TestAWindowTellsWhetherItsLastWriteIsAccountedFor(t *testing.T) {
	w := window{from: 40, to: 40}
	w.moved(42, time.Now())
	w.explain(read(42, 42))
	if whole, last := w.close(); whole || !last {
		t.Errorf("of two writes the last is known: all %v, last %v", whole, last)
	}
	w.moved(44, time.Now())
	w.explain(read(43, 43))
	if whole, last := w.close(); whole || last {
		t.Errorf("of two writes the first is known: all %v, last %v", whole, last)
	}
}
