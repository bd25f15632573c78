package etcd

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

// The store that the benchmarks of scale are about.
const (
	manyServices = 10_000
	perService   = 10
)

// valueOf is the value of one of many backends: an object with all that is usual, or an address.
func valueOf(service, i int, object bool) string {
	addr := fmt.Sprintf("10.%d.%d.%d:8080", service>>8, service&255, i+1)
	if !object {
		return addr
	}
	return fmt.Sprintf(`{"url":"http://%s","weight":%d,"zone":"z%d","meta":{"version":"1.4.%d"}}`, addr, i+1, i%3, service%5)
}

// manyKeys are the keys of many backends.
func manyKeys(object bool) []keyValue {
	kvs := make([]keyValue, 0, manyServices*perService)
	for s := range manyServices {
		for i := range perService {
			kvs = append(kvs, keyValue{fmt.Sprintf("/lb/services/service-%05d/backend-%02d", s, i), []byte(valueOf(s, i, object)), 1, 1})
		}
	}
	return kvs
}

// keeper is a sink that keeps all services, as the catalog does.
type keeper struct {
	nowhere
	services map[string]discovery.Service
	synced   chan struct{}
}

func newKeeper() *keeper {
	return &keeper{services: map[string]discovery.Service{}, synced: make(chan struct{}, 16)}
}

func (k *keeper) Service(s discovery.Service) { k.services[s.Name] = s }

func (k *keeper) Synced() {
	select {
	case k.synced <- struct{}{}:
	default:
	}
}

// BenchmarkDecodingAndAnnouncingManyBackends is what a listing of 100,000 backends in 10,000 services costs once it has
// been read, and what is held then.
func BenchmarkDecodingAndAnnouncingManyBackends(b *testing.B) {
	for name, object := range map[string]bool{"addresses": false, "objects": true} {
		b.Run(name, func(b *testing.B) {
			kvs := manyKeys(object)
			var held uint64
			for b.Loop() {
				var before, after runtime.MemStats
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&before)
				b.StartTimer()
				c, sink := newCore("/lb/", ours(), nil), newKeeper()
				c.replace(kvs)
				c.announce(sink, time.Now())
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				held = after.HeapAlloc - before.HeapAlloc
				runtime.KeepAlive(c)
				runtime.KeepAlive(sink)
				b.StartTimer()
			}
			b.ReportMetric(float64(held)/(manyServices*perService), "heldB/backend")
		})
	}
}

// fill writes many backends into a store.
func fill(b *testing.B, s *store) {
	kvs := manyKeys(true)
	for len(kvs) > 0 {
		n := min(len(kvs), 100)
		ops := make([]clientv3.Op, n)
		for i, kv := range kvs[:n] {
			ops[i] = clientv3.OpPut(kv.key, string(kv.value))
		}
		if _, err := s.Txn(b.Context()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
		kvs = kvs[n:]
	}
}

// BenchmarkStartWithManyBackends is the time from the start of a source to the end of its first listing, of a real etcd
// in the same process.
func BenchmarkStartWithManyBackends(b *testing.B) {
	s := newStore(b, embedded.Options{})
	fill(b, s)
	src, err := New(Options{Endpoints: []string{s.addr()}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		sink := newKeeper()
		stop := discoverytest.Start(b, src, sink)
		<-sink.synced
		b.StopTimer()
		stop()
		if len(sink.services) != manyServices {
			b.Fatalf("%d services were announced", len(sink.services))
		}
		b.StartTimer()
	}
}
