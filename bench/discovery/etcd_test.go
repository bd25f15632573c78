//go:build linux

package discovery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/bench/peers/backend"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

// The size of the catalog.
const (
	etcdServices = 10_000
	etcdEach     = 10
)

// etcdStore is an etcd that announces a great catalog, and the service live, whose one backend answers.
type etcdStore struct {
	b      *testing.B
	url    string
	client *clientv3.Client
	addr   string // of the backend that answers
}

func startEtcd(b *testing.B) *etcdStore { return startStore(b, etcdServices*etcdEach) }

// startStore is startEtcd with another number of backends.
func startStore(b *testing.B, backends int) *etcdStore {
	b.Helper()
	srv, err := embedded.Start(b.Context(), embedded.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(srv.Close)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{srv.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	s := &etcdStore{b: b, client: client, url: "etcd://" + srv.Endpoint()[len("http://"):] + "/lb", addr: liveBackend(b)}
	fill(b, client, backends)
	s.put("/lb/services/live/one", "http://"+s.addr)
	return s
}

// fill announces the first n backends.
func fill(b *testing.B, client *clientv3.Client, n int) {
	b.Helper()
	var ops []clientv3.Op
	for i := range n {
		if ops = append(ops, clientv3.OpPut(key(i), value(i))); len(ops) < 100 && i < n-1 {
			continue
		}
		if _, err := client.Txn(b.Context()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
		ops = ops[:0]
	}
}

func key(i int) string {
	return fmt.Sprintf("/lb/services/service-%05d/backend-%d", i/etcdEach, i%etcdEach)
}

// value is an address that nothing listens on.
func value(i int) string { return fmt.Sprintf("http://10.%d.%d.%d:8080", i>>16&255, i>>8&255, i&255) }

func (s *etcdStore) put(key, value string) {
	s.b.Helper()
	if _, err := s.client.Put(s.b.Context(), key, value); err != nil {
		s.b.Fatal(err)
	}
}

// liveBackend is the address of a server that answers, until the benchmark ends.
func liveBackend(b *testing.B) string {
	b.Helper()
	s, err := backend.New(1)
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve() }() // for as long as the process
	return s.Addrs()[0]
}

// BenchmarkEtcdCatalog serves a catalog of 100,000 backends in 10,000 services.
func BenchmarkEtcdCatalog(b *testing.B) {
	s := startEtcd(b)
	for b.Loop() {
		lb := startBalancer(b, "--discovery", s.url, "--service", "live")
		b.ReportMetric(lb.untilReady().Seconds(), "s-to-ready")
		b.ReportMetric(lb.memory("VmHWM"), "MB-peak")
		b.ReportMetric(100*lb.rest(20*time.Second), "%core-rest")
		b.ReportMetric(lb.memory("VmRSS"), "MB-RSS")
		start := time.Now()
		lb.expectBackends(etcdServices*etcdEach + 1)
		b.ReportMetric(time.Since(start).Seconds(), "s-scrape")
		b.ReportMetric(lb.memory("VmHWM"), "MB-peak-scraped")
	}
}

// BenchmarkEtcdOneChange changes single backends of it, 200 times.
func BenchmarkEtcdOneChange(b *testing.B) {
	s := startEtcd(b)
	lb := startBalancer(b, "--discovery", s.url)
	lb.untilReady()
	for b.Loop() {
		before := lb.propagation()
		var served []time.Duration
		for i := range 200 {
			name := fmt.Sprintf("new-%d-%d", b.N, i)
			start := time.Now()
			s.put("/lb/services/"+name+"/one", "http://"+s.addr)
			ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
			if err := lb.served(ctx, name); err != nil {
				b.Fatalf("%s is not served: %v", name, err)
			}
			cancel()
			served = append(served, time.Since(start))
		}
		slices.Sort(served)
		b.ReportMetric(1000*quantile(before, lb.propagation(), 0.99), "ms-event-to-table-p99")
		b.ReportMetric(ms(served[len(served)/2]), "ms-put-to-served-p50")
		b.ReportMetric(ms(served[len(served)*99/100]), "ms-put-to-served-p99")
	}
}

// BenchmarkEtcdChurn makes 2,000 changes a second for a minute while clients are served, and compares their latencies
// with those before.
func BenchmarkEtcdChurn(b *testing.B) {
	const perSecond, writing, lasting = 2000, 16, 60 * time.Second
	s := startEtcd(b)
	lb := startBalancer(b, "--discovery", s.url, "--service", "live")
	lb.untilReady()
	for b.Loop() {
		rest := lb.traffic(1000, 20*time.Second)
		before := lb.propagation()
		ctx, cancel := context.WithTimeout(b.Context(), lasting+2*time.Second)
		var writers sync.WaitGroup
		var written atomic.Int64
		for range writing {
			writers.Go(func() {
				pace := time.NewTicker(time.Second * writing / perSecond)
				defer pace.Stop()
				for ctx.Err() == nil {
					<-pace.C
					i := rand.IntN(etcdServices * etcdEach)
					if _, err := s.client.Put(ctx, key(i), value(rand.IntN(1<<24))); err == nil {
						written.Add(1)
					}
				}
			})
		}
		cpu, start, first := lb.cpu(), time.Now(), written.Load()
		busy := lb.traffic(1000, lasting-2*time.Second)
		took := time.Since(start)
		cpu, n := lb.cpu()-cpu, written.Load()-first
		cancel()
		writers.Wait()
		b.ReportMetric(float64(n)/took.Seconds(), "changes/s")
		b.ReportMetric(100*float64(cpu)/float64(took), "%core")
		// What the load itself costs is the same at rest.
		b.ReportMetric(100*(float64(cpu)/float64(took)-float64(rest.CPU.Total)/float64(rest.Elapsed)), "%core-of-changes")
		b.ReportMetric(ms(rest.P99), "ms-p99-rest")
		b.ReportMetric(ms(busy.P99), "ms-p99-churn")
		b.ReportMetric(1000*quantile(before, lb.propagation(), 0.99), "ms-event-to-table-p99")
	}
}

// BenchmarkSnapshotStart starts a balancer whose store is away from its snapshot of 100 to 100,000 backends, ten in a
// service, and measures the time from the process's start to the first answer.
func BenchmarkSnapshotStart(b *testing.B) {
	for _, n := range []int{100, 10_000, etcdServices * etcdEach} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := startStore(b, n)
			config := filepath.Join(b.TempDir(), "config.yaml")
			text := fmt.Sprintf("snapshot: {path: %q}\n", filepath.Join(b.TempDir(), "table.snapshot"))
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
			args := []string{"--config", config, "--service", "live", "--discovery"}
			first := startBalancer(b, append(args, s.url)...)
			first.untilReady()
			first.stop()
			for b.Loop() {
				var took []time.Duration
				for range 5 {
					lb := startBalancer(b, append(args, "etcd://"+freeAddr(b)+"/lb")...)
					ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
					if err := lb.served(ctx, "live"); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(lb.started))
					cancel()
					lb.stop()
				}
				slices.Sort(took)
				b.ReportMetric(ms(took[len(took)/2]), "ms-start-to-answer")
			}
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
