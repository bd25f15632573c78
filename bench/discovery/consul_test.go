//go:build linux

package discovery_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/internal/consultest"
)

// The size of the catalog.
const (
	consulServices = 2_000
	consulEach     = 5
)

// fillConsul registers the catalog, on nodes of its own as agents elsewhere would have it.
func fillConsul(b *testing.B, client *api.Client) {
	b.Helper()
	for i := range consulServices {
		var ops api.TxnOps
		for j := range consulEach {
			node := fmt.Sprintf("node-%d", j)
			if i == 0 {
				reg := &api.CatalogRegistration{Node: node, Address: fmt.Sprintf("10.0.0.%d", j+1)}
				if _, err := client.Catalog().Register(reg, nil); err != nil {
					b.Fatal(err)
				}
			}
			name := fmt.Sprintf("service-%04d", i)
			ops = append(ops,
				&api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node, Service: api.AgentService{
					ID: fmt.Sprintf("%s-%d", name, j), Service: name, Address: fmt.Sprintf("10.0.%d.%d", i>>8, i&255), Port: 8000 + j,
				}}},
				&api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
					Node: node, CheckID: fmt.Sprintf("%s-%d", name, j), Name: "alive", Status: api.HealthPassing,
					ServiceID: fmt.Sprintf("%s-%d", name, j), ServiceName: name,
				}}},
			)
		}
		if ok, resp, _, err := client.Txn().Txn(ops, nil); err != nil || !ok {
			b.Fatalf("transaction: %v %v", err, resp)
		}
	}
}

// counter is a way to an agent that counts what is asked of it.
type counter struct {
	addr    string
	queries atomic.Int64
}

func countQueries(b *testing.B, agent string) *counter {
	b.Helper()
	c := &counter{addr: freeAddr(b)}
	target := &url.URL{Scheme: "http", Host: agent}
	through := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	srv := &http.Server{Addr: c.addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.queries.Add(1)
		through.ServeHTTP(w, r)
	})}
	go func() { _ = srv.ListenAndServe() }()
	b.Cleanup(func() { _ = srv.Close() })
	return c
}

// BenchmarkConsulCatalog serves a catalog of 2,000 services of 5 instances, and changes it.
func BenchmarkConsulCatalog(b *testing.B) {
	agent := consultest.Start(b, consultest.Options{})
	client := agent.Client()
	fillConsul(b, client)
	addr := liveBackend(b)
	host, port, _ := strings.Cut(addr, ":")
	for b.Loop() {
		way := countQueries(b, agent.HTTPAddr)
		lb := startBalancer(b, "--discovery", "consul://"+way.addr)
		b.ReportMetric(lb.untilReady().Seconds(), "s-to-ready")
		b.ReportMetric(float64(way.queries.Load()), "queries-to-ready")
		b.ReportMetric(float64(lb.connectionsTo(way.addr)), "connections")
		lb.expectBackends(consulServices * consulEach)
		time.Sleep(3 * time.Second)
		b.ReportMetric(100*lb.rest(20*time.Second), "%core-rest")
		b.ReportMetric(lb.memory("VmRSS"), "MB-RSS")

		const changes = 100
		var served []time.Duration
		asked := way.queries.Load()
		for i := range changes {
			name := fmt.Sprintf("new-%d", i)
			var p int
			_, _ = fmt.Sscan(port, &p)
			start := time.Now()
			if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: name, Address: host, Port: p}); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
			if err := lb.served(ctx, name); err != nil {
				b.Fatalf("%s is not served: %v", name, err)
			}
			cancel()
			served = append(served, time.Since(start))
			time.Sleep(50 * time.Millisecond) // a change on its own, not part of churn
		}
		b.ReportMetric(float64(way.queries.Load()-asked)/changes, "queries/change")
		slices.Sort(served)
		b.ReportMetric(ms(served[len(served)/2]), "ms-registered-to-served-p50")
		b.ReportMetric(ms(served[len(served)*99/100]), "ms-registered-to-served-p99")
		for i := range changes {
			_ = client.Agent().ServiceDeregister(fmt.Sprintf("new-%d", i))
		}
	}
}
