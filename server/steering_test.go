package server

import (
	"log/slog"
	"testing"

	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/routing"
)

func TestAStoreThatBeginsAnewIsHeardThoughItsRevisionsAreSmaller(t *testing.T) {
	store, err := etcd.NewStore(etcd.Options{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	catalog := routing.NewCatalog(routing.Options{})
	s := newSteering(store, catalog, slog.New(slog.DiscardHandler))
	key := overrideKeys + "web/a"
	hear := func(rev int64) bool {
		s.heard(map[string]etcd.KeyValue{key: {Key: key, Value: []byte(`{"draining":true}`), Rev: rev}}, []string{key}, rev)
		return catalog.Override("web", "a").Draining
	}
	s.heard(nil, nil, 1)
	s.written[steered{"web", "a"}] = 100
	if hear(99) {
		t.Error("what was overwritten here is taken")
	}
	s.anew()
	if !hear(5) {
		t.Error("what stands in the store that began anew is passed over")
	}
}

func TestWhatWasRemovedBeforeItWasWrittenHereIsNotTakenBack(t *testing.T) {
	store, err := etcd.NewStore(etcd.Options{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	catalog := routing.NewCatalog(routing.Options{})
	s := newSteering(store, catalog, slog.New(slog.DiscardHandler))
	drained := func() bool { return catalog.Override("web", "a").Draining }
	key := overrideKeys + "web/a"
	s.heard(nil, nil, 1)
	if err := catalog.SetOverride("web", "a", routing.Override{Draining: true}); err != nil {
		t.Fatal(err)
	}
	s.written[steered{"web", "a"}] = 10
	s.heard(map[string]etcd.KeyValue{}, []string{key}, 9) // another replica's removal, heard late
	if !drained() {
		t.Error("an override is taken back by a removal that it has overwritten")
	}
	s.heard(map[string]etcd.KeyValue{key: {Key: key, Value: []byte(`{"draining":true}`), Rev: 10}}, []string{key}, 10)
	if !drained() {
		t.Error("what was written here is not in force")
	}
	s.heard(map[string]etcd.KeyValue{}, []string{key}, 11)
	if drained() {
		t.Error("a removal that came later is passed over")
	}
}
