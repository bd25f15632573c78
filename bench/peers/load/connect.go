//go:build linux

package load

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/bench/peers/proc"
)

// exchangeTimeout bounds one request with its connection.
const exchangeTimeout = 10 * time.Second

// connect makes a new connection for each request until the time is over.
func connect(s Spec) (Result, error) {
	start := time.Now()
	from := start.Add(s.Warmup)
	end := from.Add(s.Duration)
	results := make(chan worker)
	for range s.Conns {
		go func() {
			w := worker{spec: s, from: from, end: end, errors: map[string]int64{}}
			w.run()
			results <- w
		}()
	}
	time.Sleep(time.Until(from))
	before, err := proc.ReadCPU(s.Proxy)
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	time.Sleep(time.Until(end))
	after, err := proc.ReadCPU(s.Proxy)
	if err != nil {
		return Result{}, err
	}
	res := Result{CPU: after.Sub(before), Elapsed: time.Since(began), Errors: map[string]int64{}}
	var latency Histogram
	for range s.Conns {
		w := <-results
		res.Requests += w.requests
		latency.Merge(&w.latency)
		for why, n := range w.errors {
			res.Errors[why] += n
		}
	}
	res.P50, res.P99 = latency.Quantile(0.5), latency.Quantile(0.99)
	return res, nil
}

// worker makes one connection after the other. It counts those that end between from and end.
type worker struct {
	spec      Spec
	from, end time.Time
	requests  int64
	latency   Histogram
	errors    map[string]int64
}

func (w *worker) run() {
	request := w.spec.head("Connection: close\r\n")
	config := TLSConfig()
	for {
		began := time.Now()
		if !began.Before(w.end) {
			return
		}
		err := w.exchange(config, request)
		now := time.Now()
		switch {
		case now.Before(w.from) || now.After(w.end):
		case err != nil:
			w.errors[short(err)]++
		default:
			w.requests++
			w.latency.Add(now.Sub(began))
		}
		if err != nil {
			time.Sleep(time.Millisecond) // a proxy that is down is not to be asked a million times
		}
	}
}

// exchange makes a connection, sends a request over it, and waits for the answer and the end.
func (w *worker) exchange(config *tls.Config, request []byte) error {
	raw, err := net.DialTimeout("tcp", w.spec.Addr, exchangeTimeout)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return err
	}
	c := raw
	if w.spec.TLS {
		c = tls.Client(raw, config)
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	if err := readAnswer(bufio.NewReaderSize(c, 1024)); err != nil {
		return err
	}
	// The proxy closes first, so that it is its side whose port stays occupied for a minute, and not one of the few
	// that this side can choose from.
	_, err = io.Copy(io.Discard, raw)
	return err
}

// readAnswer reads one answer, which must be a 200.
func readAnswer(r *bufio.Reader) error {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// short is the end of an error's text, without the addresses that make each one different.
func short(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "closed by the proxy"
	}
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	return s
}
