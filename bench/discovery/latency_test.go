//go:build linux

package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/internal/consultest"
)

// BenchmarkConsulChange measures how long single changes take from the beginning of the change, the agent's own work
// included, to the traffic of a client that asks once a millisecond. Changes stand alone: between two there is quiet.
func BenchmarkConsulChange(b *testing.B) {
	for _, c := range []struct {
		name    string
		rounds  int
		measure func(*changes, int) time.Duration
	}{
		{"ServiceAppears", 60, (*changes).appears},
		{"SecondInstance", 60, (*changes).second},
		{"TurnsCritical", 20, (*changes).critical},
		{"AfterFreeze", 5, (*changes).frozen},
		{"RestartedEmpty", 9, (*changes).restarted},
	} {
		b.Run(c.name, func(b *testing.B) {
			agent := consultest.Start(b, consultest.Options{})
			lb := startBalancer(b, "--discovery", agent.URL())
			lb.untilReady()
			s := &changes{b: b, agent: agent, client: agent.Client(), lb: lb, one: startNamed(b, "one"), other: startNamed(b, "other")}
			for b.Loop() {
				var all []time.Duration
				for round := range c.rounds {
					time.Sleep(300*time.Millisecond + rand.N(200*time.Millisecond))
					all = append(all, c.measure(s, round))
				}
				slices.Sort(all)
				b.ReportMetric(ms(all[len(all)/2]), "ms-median")
				b.ReportMetric(ms(all[len(all)-1]), "ms-worst")
			}
		})
	}
}

// changes is an agent, a balancer that follows it, and two backends.
type changes struct {
	b          *testing.B
	agent      *consultest.Agent
	client     *api.Client
	lb         *balancer
	one, other *net.TCPAddr
}

// startNamed runs a server that answers with its name, and returns where it listens.
func startNamed(b *testing.B, name string) *net.TCPAddr {
	b.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	b.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr)
}

// register announces an instance whose check passes.
func (s *changes) register(service, id string, at *net.TCPAddr) {
	s.b.Helper()
	err := s.client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: service, Address: at.IP.String(), Port: at.Port,
		Check: &api.AgentServiceCheck{CheckID: "of-" + id, TTL: "1h", Status: api.HealthPassing},
	})
	if err != nil {
		s.b.Fatal(err)
	}
}

// answerer is who answers for a service, empty for none.
func (s *changes) answerer(service string) string {
	s.b.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.lb.client+"/", nil)
	if err != nil {
		s.b.Fatal(err)
	}
	req.Host = service
	resp, err := s.lb.http.Do(req)
	if err != nil {
		s.b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

// until asks for a service once a millisecond until somebody answers.
func (s *changes) until(service, by string) {
	s.b.Helper()
	ctx, cancel := context.WithTimeoutCause(s.b.Context(), time.Minute, errors.New("a minute has passed"))
	defer cancel()
	for s.answerer(service) != by {
		if ctx.Err() != nil {
			s.b.Fatalf("%s does not answer for %s: %v", by, service, context.Cause(ctx))
		}
		time.Sleep(time.Millisecond)
	}
}

// pair announces a service with both backends, and waits until both answer.
func (s *changes) pair(service string) {
	s.b.Helper()
	s.register(service, service+"-one", s.one)
	s.register(service, service+"-other", s.other)
	s.until(service, "one")
	s.until(service, "other")
}

func (s *changes) appears(round int) time.Duration {
	service := fmt.Sprintf("appears-%d", round)
	start := time.Now()
	s.register(service, service, s.one)
	s.until(service, "one")
	return time.Since(start)
}

func (s *changes) second(round int) time.Duration {
	service := fmt.Sprintf("second-%d", round)
	s.register(service, service+"-one", s.one)
	s.until(service, "one")
	time.Sleep(300 * time.Millisecond) // a change on its own
	start := time.Now()
	s.register(service, service+"-other", s.other)
	s.until(service, "other")
	return time.Since(start)
}

// critical is the time to the last answer of an instance that turned critical; one that is silent for a second answers
// no more.
func (s *changes) critical(round int) time.Duration {
	service := fmt.Sprintf("critical-%d", round)
	s.pair(service)
	time.Sleep(300 * time.Millisecond) // a change on its own
	start := time.Now()
	if err := s.client.Agent().UpdateTTL("of-"+service+"-other", "", api.HealthCritical); err != nil {
		s.b.Fatal(err)
	}
	last := start
	for time.Since(last) < time.Second {
		if s.answerer(service) == "other" {
			last = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	return last.Sub(start)
}

func (s *changes) frozen(round int) time.Duration {
	s.agent.Freeze()
	time.Sleep(20 * time.Second) // the fault itself
	s.agent.Thaw()
	return s.appears(1000 + round)
}

// restarted is the time from the registration with the new agent, which is made as soon as that takes it, to the first
// answer of an instance at another address than the one that the old agent had.
func (s *changes) restarted(round int) time.Duration {
	const service = "restarted"
	at, name := s.one, "one"
	if round%2 == 1 {
		at, name = s.other, "other"
	}
	s.agent.Restart()
	start := time.Now()
	s.register(service, service, at)
	s.until(service, name)
	return time.Since(start)
}
