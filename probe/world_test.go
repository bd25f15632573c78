package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(benchServer) != "" {
		serveBench()
		return
	}
	goleak.VerifyTestMain(m)
}

var errRefused = errors.New("connection refused")

// world is a network of pipes for tests in a bubble: every address answers as status says.
type world struct {
	mu       sync.Mutex
	statuses map[string]int           // by host; 0 refuses the connection
	delays   map[string]time.Duration // before the response
	dials    map[string]int
	asked    map[string][]time.Time
	under    int // connections being asked now
	most     int
	servers  sync.WaitGroup
}

func newWorld() *world {
	return &world{
		statuses: map[string]int{}, delays: map[string]time.Duration{}, dials: map[string]int{},
		asked: map[string][]time.Time{},
	}
}

func (w *world) set(host string, status int, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses[host], w.delays[host] = status, delay
}

func (w *world) times(host string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.asked[host]...)
}

func (w *world) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials[host]++
	if w.statuses[host] == 0 {
		w.asked[host] = append(w.asked[host], time.Now())
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errRefused}
	}
	client, server := net.Pipe()
	w.servers.Go(func() { w.serve(host, server) })
	return client, nil
}

func (w *world) serve(host string, conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		w.mu.Lock()
		w.asked[host] = append(w.asked[host], time.Now())
		w.under++
		w.most = max(w.most, w.under)
		status, delay := w.statuses[host], w.delays[host]
		w.mu.Unlock()
		time.Sleep(delay)
		w.mu.Lock()
		w.under--
		w.mu.Unlock()
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\nok", status); err != nil {
			return
		}
	}
}

// reports keeps what a prober reports.
type reports struct {
	mu  sync.Mutex
	all []report
}

type report struct {
	key string
	Result
}

func (r *reports) add(key string, res Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, report{key, res})
}

// take returns what was reported since the last call.
func (r *reports) take() []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// inBubble runs f with a prober that runs in a world of its own, and ends all of it.
func inBubble(t *testing.T, c Config, f func(t *testing.T, p *Prober, w *world, r *reports)) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(), &reports{}
		c.Dial = w.dial
		if c.Report == nil {
			c.Report = r.add
		}
		p := New(c)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.Run(ctx)
		}()
		f(t, p, w, r)
		cancel()
		<-ended
		w.servers.Wait() // all connections were closed, or this never returns
	})
}

func (w *world) target(host string, o Options) Target {
	return Target{Key: host, URL: "http://" + host + ":80", Options: o}
}
