package metrics

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// fixed is a reader of one snapshot.
type fixed Snapshot

func (f *fixed) Read() Snapshot { return Snapshot(*f) }

var bounds = []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second}

// full is a snapshot that shows every metric at least once, with a different number in each field.
func full() *fixed {
	counts := func(n uint64) Counts {
		return Counts{
			Codes:   [6]uint64{n + 1, n + 2, n + 3, n + 4, n + 5, n + 6},
			Latency: Histogram{Buckets: []uint64{1, 2, 3, 4}, Sum: 1500 * time.Millisecond},
			Retries: n + 7, Sessions: n + 8,
		}
	}
	return &fixed{
		Services: ItemsOf([]Service{{Name: "web", Counts: counts(10), Backends: 2, Ready: 1, Used: 2, Zones: map[string]uint64{"a": 5, "": 2}, Hedges: map[string]uint64{"won": 84}}}),
		Backends: ItemsOf([]Backend{
			{Service: "web", ID: "a", Counts: counts(20), Up: true, Ready: true, Weight: 7, InFlight: 9, Queued: 2, Connections: 3, Connected: 4, Unconnected: 5, QueueTimeouts: 6, Beaten: 85, Limit: 8, Probed: true, ProbeTime: 30 * time.Millisecond},
			{Service: "web", ID: "b", Counts: counts(30), Draining: true, Breaker: BreakerHalfOpen},
		}),
		Routes: []Route{{Name: "api", Source: "file", Service: "web", Requests: 41}},
		Sources: []Source{{
			Name: "etcd", Up: true, Synced: time.UnixMilli(1700000000500), Services: 51, Backends: 52, Routes: 53, Problems: 54,
			Staleness: 1500 * time.Millisecond, Stale: 57, Differences: 58, Restored: true,
			Guard:   Guard{Holding: true, Held: 59, Incidents: 60, Ended: map[string]uint64{"failed": 70}},
			Resyncs: map[string]uint64{"start": 55}, Rejected: map[string]uint64{"bad-url": 56},
		}},
		Certificates: []Certificate{{Name: "cert.pem", NotAfter: time.Unix(1800000000, 0)}},
		Generation:   61, Fingerprint: "abcd", Problems: 62, Ready: true, Connections: 63, Accepted: 64, Exchanges: 65, NoRoute: 66,
		Propagation:      Histogram{Buckets: []uint64{0, 1}, Sum: 3 * time.Millisecond},
		Reloads:          Reloads{Taken: 67, Refused: 68, LastOK: true, LastTaken: time.Unix(1750000000, 0)},
		AccessLogDropped: 69,
		Snapshot:         SnapshotFile{Configured: true, Written: 72, Failed: 73, Last: time.Unix(1760000000, 0), Bytes: 74, Loaded: true, Corrupt: true},
		Failed:           map[string]uint64{"reset": 70},
		Limits:           map[string]uint64{"head_bytes": 71},
		Replicas:         72, Differing: 73, Overrides: 74, Pending: 75,
		Remembered: 76, Sharing: Sharing{On: true, InStep: true, Pending: 77, Written: 78, Overtaken: 79, Dropped: 80},
		Probes: 81, ProbedByOthers: 82, SharedVerdicts: 83,
	}
}

// families is a scrape as Prometheus's own parser reads it.
func families(t *testing.T, f *fixed) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryFieldIsShownUnderItsName(t *testing.T) {
	got := scrape(t, full())
	for _, want := range []string{
		`lb_service_requests_total{code="none",service="web"} 11`,
		`lb_service_requests_total{code="1xx",service="web"} 12`,
		`lb_service_requests_total{code="5xx",service="web"} 16`,
		`lb_service_request_duration_seconds_bucket{service="web",le="0.001"} 1`,
		`lb_service_request_duration_seconds_bucket{service="web",le="0.01"} 3`,
		`lb_service_request_duration_seconds_bucket{service="web",le="1"} 6`,
		`lb_service_request_duration_seconds_bucket{service="web",le="+Inf"} 10`,
		`lb_service_request_duration_seconds_sum{service="web"} 1.5`,
		`lb_service_request_duration_seconds_count{service="web"} 10`,
		`lb_service_retries_total{service="web"} 17`,
		`lb_service_hedges_total{outcome="won",service="web"} 84`,
		`lb_service_sessions_total{service="web"} 18`,
		`lb_service_backends{service="web"} 2`,
		`lb_service_backends_ready{service="web"} 1`,
		`lb_backend_requests_total{backend="a",code="2xx",service="web"} 23`,
		`lb_backend_request_duration_seconds_count{backend="b",service="web"} 10`,
		`lb_backend_retries_total{backend="a",service="web"} 27`,
		`lb_backend_beaten_total{backend="a",service="web"} 85`,
		`lb_backend_sessions_total{backend="a",service="web"} 28`,
		`lb_backend_in_flight{backend="a",service="web"} 9`,
		`lb_backend_connections{backend="a",service="web"} 3`,
		`lb_backend_connections_total{backend="a",service="web"} 4`,
		`lb_backend_connection_failures_total{backend="a",service="web"} 5`,
		`lb_backend_queued{backend="a",service="web"} 2`,
		`lb_backend_queue_timeouts_total{backend="a",service="web"} 6`,
		`lb_backend_up{backend="a",service="web"} 1`,
		`lb_backend_up{backend="b",service="web"} 0`,
		`lb_backend_ready{backend="a",service="web"} 1`,
		`lb_backend_ready{backend="b",service="web"} 0`,
		`lb_backend_draining{backend="a",service="web"} 0`,
		`lb_backend_draining{backend="b",service="web"} 1`,
		`lb_backend_weight{backend="a",service="web"} 7`,
		`lb_backend_breaker_state{backend="a",service="web"} 0`,
		`lb_backend_breaker_state{backend="b",service="web"} 2`,
		`lb_backend_probe_duration_seconds{backend="a",service="web"} 0.03`,
		`lb_route_requests_total{route="api",service="web",source="file"} 41`,
		`lb_discovery_up{source="etcd"} 1`,
		`lb_discovery_last_sync_timestamp_seconds{source="etcd"} 1.7000000005e+09`,
		`lb_discovery_staleness_seconds{source="etcd"} 1.5`,
		`lb_discovery_stale_items{source="etcd"} 57`,
		`lb_discovery_shadow_differences{source="etcd"} 58`,
		`lb_discovery_from_snapshot{source="etcd"} 1`,
		`lb_snapshot_writes_total{result="success"} 72`,
		`lb_snapshot_writes_total{result="failed"} 73`,
		`lb_snapshot_last_write_timestamp_seconds 1.76e+09`,
		`lb_snapshot_bytes 74`,
		`lb_snapshot_loaded 1`,
		`lb_snapshot_corrupt 1`,
		`lb_guard_holding{source="etcd"} 1`,
		`lb_guard_held_backends{source="etcd"} 59`,
		`lb_guard_incidents_total{source="etcd"} 60`,
		`lb_guard_ended_total{reason="failed",source="etcd"} 70`,
		`lb_discovery_services{source="etcd"} 51`,
		`lb_discovery_backends{source="etcd"} 52`,
		`lb_discovery_routes{source="etcd"} 53`,
		`lb_discovery_problems{source="etcd"} 54`,
		`lb_discovery_resyncs_total{reason="start",source="etcd"} 55`,
		`lb_discovery_rejected_total{reason="bad-url",source="etcd"} 56`,
		`lb_discovery_propagation_seconds_count 1`,
		`lb_tls_certificate_expiry_timestamp_seconds{certificate="cert.pem"} 1.8e+09`,
		`lb_table_generation 61`,
		`lb_table_info{fingerprint="abcd"} 1`,
		`lb_table_problems 62`,
		`lb_ready 1`,
		`lb_connections_active 63`,
		`lb_connections_total 64`,
		`lb_requests_in_flight 65`,
		`lb_no_route_total 66`,
		`lb_exchanges_failed_total{reason="reset"} 70`,
		`lb_limits_total{limit="head_bytes"} 71`,
		`lb_fleet_replicas 72`,
		`lb_fleet_replicas_differing 73`,
		`lb_probes_total 81`,
		`lb_probe_shared_backends 82`,
		`lb_probe_shared_verdicts_total 83`,
		`lb_overrides 74`,
		`lb_overrides_pending 75`,
		`lb_sessions_remembered 76`,
		`lb_sessions_shared_in_step 1`,
		`lb_sessions_shared_pending 77`,
		`lb_sessions_shared_written_total 78`,
		`lb_sessions_shared_overtaken_total 79`,
		`lb_sessions_shared_dropped_total 80`,
		`lb_config_reloads_total{result="success"} 67`,
		`lb_config_reloads_total{result="refused"} 68`,
		`lb_config_last_reload_successful 1`,
		`lb_config_last_reload_success_timestamp_seconds 1.75e+09`,
		`lb_access_log_dropped_total 69`,
		`lb_services 1`,
		`lb_backends 2`,
		`lb_routes 1`,
		`go_goroutines `,
		`process_start_time_seconds `,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("the scrape does not show %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestNamesPassTheLinter(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, full()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestAllOfTheTableIsEmittedAndNothingElse(t *testing.T) {
	want := map[string]Metric{}
	for _, m := range Metrics() {
		want[m.Name] = m
	}
	for name, f := range families(t, full()) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		m, ok := want[name]
		if !ok {
			t.Errorf("%s is not in the table", f.GetName())
			continue
		}
		delete(want, f.GetName())
		if kind := strings.ToLower(f.GetType().String()); kind != string(m.Kind) {
			t.Errorf("%s is a %s, the table says %s", m.Name, kind, m.Kind)
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if wanted := slices.Sorted(slices.Values(m.Labels)); !slices.Equal(labels, wanted) {
			t.Errorf("%s has labels %v, the table says %v", m.Name, labels, wanted)
		}
	}
	for name := range want {
		t.Errorf("%s is in the table and not emitted", name)
	}
}

func TestWhatIsUnknownIsAbsent(t *testing.T) {
	got := scrape(t, &fixed{
		Backends: ItemsOf([]Backend{{Service: "web", ID: "a"}}),
		Sources:  []Source{{Name: "etcd"}},
	})
	for _, name := range []string{
		"lb_backend_probe_duration_seconds", "lb_discovery_last_sync_timestamp_seconds",
		"lb_config_last_reload_success_timestamp_seconds", `code="1xx"`,
	} {
		if strings.Contains(got, name) {
			t.Errorf("%s is shown though nothing is known of it", name)
		}
	}
}

func TestAnEmptySnapshotShowsTheBalancerItself(t *testing.T) {
	got := scrape(t, &fixed{})
	for _, want := range []string{"lb_ready 0", "lb_services 0", "lb_table_generation 0", "lb_discovery_propagation_seconds_count 0", "lb_build_info{"} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("the scrape does not show %s", want)
		}
	}
}

func TestSecondsOfSameLabelsDoNotSpoilTheScrape(t *testing.T) {
	f := &fixed{
		Routes: []Route{
			{Name: "api", Source: "consul", Service: "web", Requests: 3},
			{Name: "api", Source: "consul", Service: "web", Requests: 4},
		},
		Certificates: []Certificate{
			{Name: "a.pem", NotAfter: time.Unix(2000000000, 0)},
			{Name: "a.pem", NotAfter: time.Unix(1000000000, 0)},
		},
	}
	got := scrape(t, f)
	for _, want := range []string{
		`lb_route_requests_total{route="api",service="web",source="consul"} 7`,
		`lb_tls_certificate_expiry_timestamp_seconds{certificate="a.pem"} 1e+09`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the scrape does not show %s", want)
		}
	}
}

func TestLabelValuesAreMadeValid(t *testing.T) {
	got := scrape(t, &fixed{Backends: ItemsOf([]Backend{{Service: "w\xffeb", ID: "a\"b\\c\nd"}})})
	if want := `lb_backend_up{backend="a\"b\\c\nd",service="w` + "\uFFFD" + `eb"} 0`; !strings.Contains(got, want) {
		t.Errorf("the scrape does not show %s", want)
	}
}

func TestAHistogramWithTooFewBucketsCountsNothingInTheRest(t *testing.T) {
	got := scrape(t, &fixed{Propagation: Histogram{Buckets: []uint64{2}}})
	for _, want := range []string{`_bucket{le="1"} 2`, `_bucket{le="+Inf"} 2`, `_count 2`} {
		if !strings.Contains(got, "\nlb_discovery_propagation_seconds"+want) {
			t.Errorf("the scrape does not show %s", want)
		}
	}
}

func TestAScrapeIsCompressedWhereThatIsAskedFor(t *testing.T) {
	for accept, want := range map[string]bool{"gzip": true, "deflate, gzip;q=0.5": true, "gzip;q=0": false, "gzip;q=0.0": false, "": false, "br": false} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.Header.Set("Accept-Encoding", accept)
		rec := httptest.NewRecorder()
		Handler(full(), Options{Bounds: bounds}).ServeHTTP(rec, req)
		if got := rec.Header().Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("Accept-Encoding: %q is compressed: %v", accept, got)
		}
		var body io.Reader = rec.Body
		if want {
			z, err := gzip.NewReader(rec.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		text, err := io.ReadAll(body)
		if err != nil || !strings.Contains(string(text), "\nlb_ready 1\n") || !strings.Contains(string(text), "\ngo_goroutines ") {
			t.Errorf("Accept-Encoding: %q gives %v and %.100q", accept, err, text)
		}
	}
}

func TestAScrapeOfAGreatTableTakesLittleMemory(t *testing.T) {
	backends := make([]Backend, 50_000)
	for i := range backends {
		backends[i] = Backend{Service: "web", ID: strconv.Itoa(i)}
	}
	h := Handler(&fixed{Backends: ItemsOf(backends)}, Options{Bounds: bounds})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h.ServeHTTP(&counting{header: http.Header{}}, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("a scrape of %d backends allocates %d bytes", len(backends), got)
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	h := Handler(&fixed{}, Options{})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, "/metrics", nil))
		if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s is answered %d, Allow: %q", method, rec.Code, rec.Header().Get("Allow"))
		}
	}
}

// blocking holds every scrape until released.
type blocking struct{ entered, release chan struct{} }

func (b *blocking) Read() Snapshot {
	b.entered <- struct{}{}
	<-b.release
	return Snapshot{}
}

func TestTooManyScrapesAtATimeAreRefused(t *testing.T) {
	b := &blocking{entered: make(chan struct{}), release: make(chan struct{})}
	h := Handler(b, Options{Bounds: bounds})
	done := make(chan int)
	for range maxScrapes {
		go func() {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			done <- rec.Code
		}()
		<-b.entered
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("the scrape beyond the limit is answered %d", rec.Code)
	}
	close(b.release)
	for range maxScrapes {
		if code := <-done; code != http.StatusOK {
			t.Errorf("a scrape within the limit is answered %d", code)
		}
	}
}

func scrape(t testing.TB, f *fixed) string {
	t.Helper()
	rec := httptest.NewRecorder()
	Handler(f, Options{Bounds: bounds}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("the scrape is answered %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// BenchmarkScrape is a scrape of 10,000 backends in 1,000 services, with the histogram bounds of the balancer.
func BenchmarkScrape(b *testing.B) {
	buckets := make([]uint64, 15)
	wide := make([]time.Duration, 14)
	for i := range wide {
		wide[i] = time.Millisecond << i
	}
	var services []Service
	var backends []Backend
	for i := range 1000 {
		services = append(services, Service{Name: fmt.Sprintf("service-%d", i), Counts: Counts{Latency: Histogram{Buckets: buckets}}})
	}
	for i := range 10000 {
		backends = append(backends, Backend{
			Service: services[i/10].Name, ID: fmt.Sprintf("backend-%d", i),
			Counts: Counts{Latency: Histogram{Buckets: buckets}},
		})
	}
	f := fixed{Services: ItemsOf(services), Backends: ItemsOf(backends)}
	f.Sources = []Source{{Name: "etcd", Rejected: maps.Clone(map[string]uint64{"bad-url": 1})}}
	h := Handler(&f, Options{Bounds: wide})
	b.ReportAllocs()
	for b.Loop() {
		w := &counting{header: http.Header{}}
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		b.ReportMetric(float64(w.n)/1e6, "MB/scrape")
	}
}

// counting is a response that only counts its bytes.
type counting struct {
	header http.Header
	n      int
}

func (c *counting) Header() http.Header         { return c.header }
func (c *counting) WriteHeader(int)             {}
func (c *counting) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }
