//go:build linux

package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	peers "github.com/vietddude/load-balancer/bench/peers/load"
)

// BenchmarkABackendKilledUnderFiveThousandGETsASecond kills one process of three two seconds into an open loop of six. It
// tells how many GETs failed, when the dead backend was avoided for refusing connections, and when breaker or probes (every
// 500 ms, two to fail) had it out of the ready set.
func BenchmarkABackendKilledUnderFiveThousandGETsASecond(b *testing.B) {
	for b.Loop() {
		killOneOfThree(b)
	}
}

func killOneOfThree(b *testing.B) {
	text := "backends:\n"
	var all []*backendProcess
	for i := range 3 {
		p := startBackendProcess(b)
		all = append(all, p)
		text += fmt.Sprintf("- {id: b%d, url: \"http://%s\"}\n", i, p.addr)
	}
	lb := startBalancer(b, text+`
health_check: {interval: 500ms, timeout: 250ms, path: /, failure_threshold: 2}
circuit_breaker: {failure_threshold: 5, reset_timeout: 30s}
`, nil)
	lb.ready()
	spec, err := json.Marshal(peers.Spec{
		Kind: peers.Loop, Addr: lb.server.Addrs().Listeners[0].String(), Path: "/", Method: "GET",
		Conns: 64, Rate: 5000, Warmup: time.Second, Duration: 5 * time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	loaded := make(chan error, 1)
	go func() { loaded <- peers.Run(bytes.NewReader(spec), &out) }()
	time.Sleep(2 * time.Second) // under load, before the fault
	state := lb.server.Table().Service("default").Backend("b1").State
	if now := time.Now(); !state.Available(now) || state.Avoided(now) {
		b.Fatal("b1 takes nothing before it is killed")
	}
	killed := time.Now()
	if err := all[1].cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	until := func(what string, holds func(now time.Time) bool) float64 {
		for now := time.Now(); !holds(now); now = time.Now() {
			if now.Sub(killed) > 20*time.Second {
				b.Fatalf("20 s later it is not %s", what)
			}
			time.Sleep(100 * time.Microsecond) // the step of looking
		}
		return float64(time.Since(killed).Microseconds()) / 1000
	}
	avoided := until("avoided", state.Avoided)
	ejected := until("out of the ready set", func(now time.Time) bool { return !state.Available(now) })
	if err := <-loaded; err != nil {
		b.Fatal(err)
	}
	var res peers.Result
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		b.Fatal(err)
	}
	failed := int64(0)
	for _, n := range res.Errors {
		failed += n
	}
	b.ReportMetric(float64(res.Requests), "answered")
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric(avoided, "ms-to-avoided")
	b.ReportMetric(ejected, "ms-to-out")
	b.ReportMetric(float64(res.P99.Microseconds())/1000, "p99-ms")
	if failed > 0 {
		b.Errorf("errors: %v", res.Errors)
	}
}
