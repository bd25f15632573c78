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
		s.heard(map[string]etcd.KeyValue{key: {Key: key, Value: []byte(`{"draining":true}`), Rev: rev}}, []string{key})
		return catalog.Override("web", "a").Draining
	}
	s.heard(nil, nil)
	s.written[steered{"web", "a"}] = 100
	if hear(99) {
		t.Error("what was overwritten here is taken")
	}
	s.anew()
	if !hear(5) {
		t.Error("what stands in the store that began anew is passed over")
	}
}
