package server_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/internal/consultest"
)

// BenchmarkAnnouncedToServed measures the time from a backend's announcement to the first answer of a client that asks
// for it without a pause. Each time it is another service, reached by its host name.
func BenchmarkAnnouncedToServed(b *testing.B) {
	b.Run("etcd", func(b *testing.B) {
		backend, etcd := startBackend(b, "a"), startEtcd(b)
		lb := startBalancer(b, "{}", discovering(etcd.url))
		lb.ready()
		measureServed(b, lb, func(service string) {
			etcd.put("/lb/services/"+service+"/a", backend.url())
		})
	})
	b.Run("consul", func(b *testing.B) {
		agent := consultest.Start(b, consultest.Options{})
		backend := startBackend(b, "a")
		lb := startBalancer(b, "{}", discovering(agent.URL()))
		lb.ready()
		client := agent.Client().Agent()
		measureServed(b, lb, func(service string) {
			err := client.ServiceRegister(&api.AgentServiceRegistration{
				ID: service, Name: service, Address: "127.0.0.1", Port: backend.port(),
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	})
}

func measureServed(b *testing.B, lb *balancer, announce func(service string)) {
	var all []time.Duration
	for b.Loop() {
		service := fmt.Sprintf("s%d", len(all))
		start := time.Now()
		announce(service)
		for !asks(b, lb, service) {
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "ms-p99")
}

// asks reports whether a service answers by its host name.
func asks(b *testing.B, lb *balancer, service string) bool {
	req, err := http.NewRequest(http.MethodGet, lb.url()+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Host = service
	resp, err := lb.client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}
