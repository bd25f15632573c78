//go:build linux

package load

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vietddude/load-balancer/bench/peers/proc"
	"github.com/vietddude/load-balancer/bench/peers/wire"
)

// openers is how many connections are made at a time; it bounds the connections that a proxy needs to its backends.
const openers = 32

// held are sockets that nothing is sent over any more. What TLS knew of them is forgotten: 10,000 clients would take more
// memory than the proxy.
type held []int

// hold opens the connections and makes one request over each.
func hold(s Spec) (held, Result, error) {
	before, err := proc.ReadCPU(s.Proxy)
	if err != nil {
		return nil, Result{}, err
	}
	start := time.Now()
	ids := make(chan struct{}, s.Conns)
	for range s.Conns {
		ids <- struct{}{}
	}
	close(ids)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards all and errs
		all  held
		errs = map[string]int64{}
	)
	for range openers {
		wg.Go(func() {
			for range ids {
				fd, err := openAndAsk(s)
				mu.Lock()
				if err != nil {
					errs[short(err)]++
				} else {
					all = append(all, fd)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	after, err := proc.ReadCPU(s.Proxy)
	if err != nil {
		return nil, Result{}, err
	}
	return all, Result{Requests: int64(len(all)), Elapsed: time.Since(start), CPU: after.Sub(before), Errors: errs}, nil
}

// openAndAsk opens a connection and makes a request over it.
func openAndAsk(s Spec) (int, error) {
	fd, err := wire.Dial(s.Addr)
	if err != nil {
		return -1, err
	}
	err = ask(s, fd)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func ask(s Spec, fd int) error {
	plain := &socket{fd: fd}
	var c io.ReadWriter = plain
	if s.TLS {
		secure := tls.Client(plain, TLSConfig())
		if err := secure.Handshake(); err != nil {
			return err
		}
		c = secure
	}
	if _, err := c.Write(s.head("")); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return readAnswer(bufio.NewReaderSize(c, 1024))
}

// closed tells how many of the connections the proxy has closed.
func (h held) closed() map[string]int64 {
	errs := map[string]int64{}
	var b [1]byte
	for _, fd := range h {
		n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if n <= 0 && !errors.Is(err, unix.EAGAIN) {
			errs["closed while idle"]++
		}
	}
	return errs
}
