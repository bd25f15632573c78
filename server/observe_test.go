package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/backend"
	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/metrics"
	"github.com/vietddude/load-balancer/routing"
)

// observeWorld is a catalog in which etcd announces the service web with three backends, and a problem.
func observeWorld(t *testing.T) *routing.Catalog {
	t.Helper()
	published := make(chan *routing.Table, 16)
	c := routing.NewCatalog(routing.Options{
		Sources: []string{"etcd", "consul"},
		Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) {
			return routing.Policy{Algorithm: "round-robin", Breaker: breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}}, nil
		},
		Published: func(next, _ *routing.Table) { published <- next },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	sink := c.Sink("etcd")
	sink.Resync("start")
	sink.Service(discovery.Service{Name: "web", Seen: time.Now(), Backends: []discovery.Backend{
		{ID: "a", URL: "http://10.0.0.1:80", Weight: 3}, {ID: "b", URL: "http://10.0.0.2:80", Weight: 1}, {ID: "c", URL: "http://10.0.0.3:80", Weight: 1, Draining: true},
	}})
	sink.Reject(discovery.Problem{Key: "k", Code: discovery.CodeBadURL, Detail: "no port"})
	sink.Synced()
	c.Sink("consul").Failed(errors.New("refused"))
	timeout := time.After(10 * time.Second)
	for c.Table().Service("web") == nil {
		select {
		case <-published:
		case <-timeout:
			t.Fatal("no table after 10 s")
		}
	}
	return c
}

func TestObserverShowsTheTableToPrometheus(t *testing.T) {
	c := observeWorld(t)
	web := c.Table().Service("web")
	a, b := web.Backend("a").State, web.Backend("b").State
	web.Runtime.Stats.Observe(204, 3*time.Millisecond)
	web.Runtime.Stats.AddRetry()
	web.Runtime.Stats.AddHedge(backend.HedgeWon)
	a.Stats.AddBeaten()
	a.Stats.Observe(0, time.Millisecond)
	a.Begin()
	a.SetLastProbe(backend.ProbeResult{Latency: 20 * time.Millisecond})
	now := time.Now()
	permit, _ := b.Breaker.Allow(now)
	b.Breaker.Done(permit, now, breaker.Failure)
	// The service's default routes, one for each form of its host name, share a name and a counter.
	c.Table().Match(&routing.Request{Host: "web", Path: "/"}).Requests.Add(5)
	scrape := scrapeObserver(t, observeOptions{
		Catalog:     c,
		Ready:       func() bool { return true },
		Connections: func() (int64, uint64) { return 11, 12 },
		Exchanges:   func() int64 { return 13 },
		NoRoute:     func() uint64 { return 14 },
		Reloads:     func() metrics.Reloads { return metrics.Reloads{Taken: 15, Refused: 16} },
		Certificates: func() []metrics.Certificate {
			return []metrics.Certificate{{Name: "cert.pem", NotAfter: time.Unix(1800000000, 0)}}
		},
		AccessLogDropped: func() uint64 { return 17 },
	})
	for _, want := range []string{
		`lb_service_requests_total{code="2xx",service="web"} 1`,
		`lb_service_request_duration_seconds_bucket{service="web",le="0.0025"} 0`,
		`lb_service_request_duration_seconds_bucket{service="web",le="0.005"} 1`,
		`lb_service_request_duration_seconds_sum{service="web"} 0.003`,
		`lb_service_retries_total{service="web"} 1`,
		`lb_service_hedges_total{outcome="won",service="web"} 1`,
		`lb_service_hedges_total{outcome="over-budget",service="web"} 0`,
		`lb_backend_beaten_total{backend="a",service="web"} 1`,
		`lb_service_backends{service="web"} 3`,
		`lb_backend_requests_total{backend="a",code="none",service="web"} 1`,
		`lb_backend_in_flight{backend="a",service="web"} 1`,
		`lb_backend_weight{backend="a",service="web"} 3`,
		`lb_backend_up{backend="a",service="web"} 1`,
		`lb_backend_ready{backend="a",service="web"} 1`,
		`lb_backend_probe_duration_seconds{backend="a",service="web"} 0.02`,
		`lb_backend_breaker_state{backend="b",service="web"} 1`,
		`lb_backend_breaker_state{backend="a",service="web"} 0`,
		`lb_backend_draining{backend="c",service="web"} 1`,
		`lb_backend_ready{backend="c",service="web"} 0`,
		`lb_route_requests_total{route="web",service="web",source="default"} 5`,
		`lb_discovery_up{source="etcd"} 1`,
		`lb_discovery_up{source="consul"} 0`,
		`lb_discovery_backends{source="etcd"} 3`,
		`lb_discovery_problems{source="etcd"} 1`,
		`lb_discovery_rejected_total{reason="bad-url",source="etcd"} 1`,
		`lb_discovery_rejected_total{reason="bad-key",source="etcd"} 0`,
		`lb_discovery_resyncs_total{reason="start",source="etcd"} 1`,
		`lb_discovery_resyncs_total{reason="compaction",source="consul"} 0`,
		`lb_discovery_propagation_seconds_count `,
		`lb_services 1`, `lb_routes 2`, `lb_backends 3`, `lb_ready 1`,
		`lb_connections_active 11`, `lb_connections_total 12`, `lb_requests_in_flight 13`, `lb_no_route_total 14`,
		`lb_config_reloads_total{result="success"} 15`, `lb_config_reloads_total{result="refused"} 16`,
		`lb_config_last_reload_successful 0`,
		`lb_tls_certificate_expiry_timestamp_seconds{certificate="cert.pem"} 1.8e+09`,
		`lb_access_log_dropped_total 17`,
	} {
		if !strings.Contains(scrape, "\n"+want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	if strings.Contains(scrape, `lb_discovery_last_sync_timestamp_seconds{source="consul"}`) {
		t.Error("consul, which was never in step, has a time of its last sync")
	}
	if t.Failed() {
		t.Log(scrape)
	}
}

func TestObserverWithoutPartsShowsZeros(t *testing.T) {
	c := routing.NewCatalog(routing.Options{Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) { return routing.Policy{}, nil }})
	scrape := scrapeObserver(t, observeOptions{Catalog: c})
	for _, want := range []string{"lb_ready 0", "lb_services 0", "lb_connections_active 0", "lb_table_generation 0", "lb_config_last_reload_successful 1"} {
		if !strings.Contains(scrape, "\n"+want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
}

func scrapeObserver(t *testing.T, o observeOptions) string {
	t.Helper()
	rec := httptest.NewRecorder()
	metrics.Handler(newObserver(o), metrics.Options{Bounds: observeBounds()}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("the scrape is answered %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}
