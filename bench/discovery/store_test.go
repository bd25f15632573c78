//go:build linux

package discovery_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/bench/peers/proc"
	"github.com/vietddude/load-balancer/integration/programs"
)

// BenchmarkEtcdServer measures what balancers cost an etcd of its own process: CPU time for each change that each of
// many watchers is told, and for each key that is listed. The simulation of fleets (bench/simulate) counts with these.
func BenchmarkEtcdServer(b *testing.B) {
	const watchers, changes, keys, lists = 200, 500, 100_000, 10
	endpoint, pid := startEtcdProcess(b)
	client := etcdClientOf(b, endpoint)
	fill(b, client, keys)
	for b.Loop() {
		before := storeCPU(b, pid)
		for range lists {
			listAll(b, client)
		}
		b.ReportMetric(float64(storeCPU(b, pid)-before)/1e3/(lists*keys), "µs/key-listed")

		ctx, cancel := context.WithCancel(b.Context())
		var told, ready sync.WaitGroup
		for range watchers {
			ready.Add(1)
			told.Go(func() {
				ch := etcdClientOf(b, endpoint).Watch(ctx, "/lb/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
				<-ch
				ready.Done()
				for n := 0; n < changes; {
					resp, ok := <-ch
					if n += len(resp.Events); !ok {
						return
					}
				}
			})
		}
		ready.Wait()
		before = storeCPU(b, pid)
		for i := range changes {
			if _, err := client.Put(ctx, key(i), value(keys+i)); err != nil {
				b.Fatal(err)
			}
		}
		told.Wait()
		b.ReportMetric(float64(storeCPU(b, pid)-before)/1e3/(watchers*changes), "µs/change-told")
		cancel()
		rss, err := proc.Memory([]int{pid}, "VmRSS")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(rss)/1e6, "MB-etcd")
	}
}

// startEtcdProcess runs a server until the benchmark ends.
func startEtcdProcess(b *testing.B) (endpoint string, pid int) {
	b.Helper()
	binary, err := programs.Pinned("etcd", false)(b.Context())
	if err != nil {
		b.Skip(err)
	}
	client, peer := "http://"+freeAddr(b), "http://"+freeAddr(b)
	cmd := exec.Command(binary, "--data-dir="+b.TempDir(), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(b.TempDir(), "etcd.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(client + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return client, cmd.Process.Pid
			}
		}
		if time.Now().After(deadline) {
			b.Fatal("etcd does not answer")
		}
	}
}

func etcdClientOf(b *testing.B, endpoint string) *clientv3.Client {
	b.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{strings.TrimSpace(endpoint)}, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// listAll reads all keys as the balancer does, in pages at one revision.
func listAll(b *testing.B, client *clientv3.Client) {
	b.Helper()
	const page = 5000
	from, rev := "/lb/", int64(0)
	for {
		resp, err := client.Get(b.Context(), from, clientv3.WithRange(clientv3.GetPrefixRangeEnd("/lb/")), clientv3.WithLimit(page), clientv3.WithRev(rev))
		if err != nil {
			b.Fatal(err)
		}
		if rev = resp.Header.Revision; !resp.More {
			return
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func storeCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	c, err := proc.ReadCPU([]int{pid})
	if err != nil {
		b.Fatal(err)
	}
	return c.Total
}
