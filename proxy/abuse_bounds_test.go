package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// watchHeap looks at the memory in use from time to time, without collecting, and returns how much more it was at most.
func watchHeap() (most func() int64) {
	before := heap()
	var peak atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	look := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak.Store(max(peak.Load(), int64(m.HeapInuse+m.StackInuse)))
	}
	go func() {
		defer close(done)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				look()
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-done
		look()
		return peak.Load() - before
	}
}

// gatherBound is what an exchange may hold at most while gigabytes pass, the test's own buffers and garbage included.
const gatherBound = 48 << 20

// endless writes a text again and again, until so much was written or the other side takes no more.
func endless(w io.Writer, text string, total int64) (n int64, err error) {
	piece := []byte(strings.Repeat(text, 256<<10/len(text)))
	for n < total && err == nil {
		var m int
		m, err = w.Write(piece[:min(int64(len(piece)), total-n)])
		n += int64(m)
	}
	return n, err
}

func TestEngineGathersNoHeadOf2GiB(t *testing.T) {
	ofEngine(t)
	const size = 2 << 30
	t.Run("of a client", func(t *testing.T) {
		a := newAbuse(t)
		for name, k := range map[string]struct {
			begin, more string
			status      int
		}{
			"a target":        {"GET /", "aaaaaaaa", 414},
			"a method":        {"", "aaaaaaaa", 501},
			"a value":         {"GET / HTTP/1.1\r\nHost: x\r\nA: ", "bbbbbbbb", 431},
			"a name":          {"GET / HTTP/1.1\r\nHost: x\r\n", "cccccccc", 431},
			"fields":          {"GET / HTTP/1.1\r\nHost: x\r\n", "A: b\r\nC: d\r\n", 431},
			"chunk extension": {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", "aaaaaaaa", 400},
			"trailers":        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", "A: b\r\n", 431},
		} {
			most := watchHeap()
			c, r := dialTo(t, a.clear, k.begin)
			sent, err := endless(c, k.more, size)
			if err == nil {
				t.Errorf("%s: all of %d bytes were taken", name, sent)
			}
			// The answer may have been lost to the reset, as the client does not stop: it must not be another one.
			if p, err := answered(r, "GET"); err == nil && p.StatusCode != k.status && p.StatusCode != 400 {
				t.Errorf("%s: answered %d, want %d", name, p.StatusCode, k.status)
			}
			if m := most(); m > gatherBound {
				t.Errorf("%s: %d MiB more were in use", name, m>>20)
			}
			a.last(t)
		}
	})
	t.Run("of a backend", func(t *testing.T) {
		p := defaultPolicy()
		p.Retry.MaxRetries = 0
		l := newLab(t, p)
		_, addr := startEngine(t, l, EngineOptions{})
		for name, k := range map[string][2]string{
			"a reason": {"HTTP/1.1 200 ", "aaaaaaaa"},
			"a value":  {"HTTP/1.1 200 OK\r\nA: ", "bbbbbbbb"},
			"fields":   {"HTTP/1.1 200 OK\r\n", "A: b\r\nC: d\r\n"},
		} {
			most := watchHeap()
			took := make(chan int64, 1)
			l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, k[0])
				n, _ := endless(c, k[1], size)
				took <- n
			})})
			_, r := dialTo(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if p, err := answered(r, "GET"); err != nil || p.StatusCode != 502 {
				t.Errorf("%s: the client is told %+v, %v", name, p, err)
			}
			if n := <-took; n > 64<<20 {
				t.Errorf("%s: %d MiB were taken", name, n>>20)
			}
			if m := most(); m > gatherBound {
				t.Errorf("%s: %d MiB more were in use", name, m>>20)
			}
		}
	})
}

func TestEngineGathersNoBodyHoweverLarge(t *testing.T) {
	ofEngine(t)
	size := int64(512 << 20)
	if raced || testing.Short() {
		size = 256 << 20 // which is beyond the bound too
	}
	p := defaultPolicy()
	l := newLab(t, p)
	_, addr := startEngine(t, l, EngineOptions{})
	backend := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			if strings.HasPrefix(head, "POST ") {
				io.CopyN(io.Discard, r, size)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			endless(c, "content ", size)
		}
	})
	l.announce("web", []string{backend})
	c, r := dialTo(t, addr, "")
	c.SetDeadline(time.Now().Add(5 * time.Minute))

	most := watchHeap()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	if n, err := endless(c, "content ", size); err != nil {
		t.Fatalf("sending, after %d bytes: %v", n, err)
	}
	if p, err := answered(r, "POST"); err != nil || p.StatusCode != 200 {
		t.Fatalf("the client is told %+v, %v", p, err)
	}
	if m := most(); m > gatherBound {
		t.Errorf("%d MiB more were in use for a request of %d MiB", m>>20, size>>20)
	}

	most = watchHeap()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if m := most(); m > gatherBound {
		t.Errorf("%d MiB more were in use for an answer of %d MiB", m>>20, size>>20)
	}
}

// mostClients is how many clients the limit of open files leaves room for; both of their ends are here.
func mostClients() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 500 {
		return 0
	}
	return int(min(limit.Cur-500, 1<<30)) / 2
}

// slowClients opens connections that each send one byte of a head now and then, spread over a second. It returns how to
// end them.
func slowClients(t testing.TB, addr string, n int) (end func()) {
	t.Helper()
	if most := mostClients(); n > most {
		t.Skipf("%d slow clients need %d open files, and the limit is for %d clients: ulimit -n %d", n, 2*n+500, most, 2*n+500)
	}
	const head = "GET /slow HTTP/1.1\r\nHost: slow\r\nUser-Agent: takes its time\r\nX-Padding: "
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	for part := range 16 {
		wg.Go(func() {
			for i := part; i < n; i += 16 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(c, head[:1])
				conns[i] = c
			}
		})
	}
	wg.Wait()
	stop := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond) // a hundredth of them at each
		defer tick.Stop()
		for k := 0; ; k++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			at := 1 + k/100
			b := byte('y')
			if at < len(head) {
				b = head[at]
			}
			for i := k % 100; i < n; i += 100 {
				if conns[i] != nil {
					conns[i].Write([]byte{b})
				}
			}
		}
	})
	return func() {
		close(stop)
		wg.Wait()
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}
}

// normal has a client ask n times and returns how long the answers took, sorted.
func normal(t testing.TB, addr string, n int) []time.Duration {
	t.Helper()
	c, r := dialTo(t, addr, "")
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	var all []time.Duration
	for range n {
		start := time.Now()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if p, err := answered(r, "GET"); err != nil || p.StatusCode != 200 {
			t.Fatalf("a normal client is told %+v, %v", p, err)
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all
}

func TestEngineServesOthersAmongThousandsOfSlowClientsInBoundedMemory(t *testing.T) {
	ofEngine(t)
	n := 4000
	if raced || testing.Short() {
		n = 1000
	}
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{replies(t, recordedAnswer+"ok")})
	e, addr := startEngine(t, l, EngineOptions{HeadTimeout: time.Hour})
	before := heap()
	end := slowClients(t, addr, n)
	defer end()
	waitFor(t, "all clients to be served", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.conns) == n
	})
	if got := normal(t, addr, 300); len(got) != 300 {
		t.Errorf("%d answers", len(got))
	}
	// A head that has begun holds a buffer and a goroutine's stack.
	if each := (heap() - before) / int64(n); each > 40<<10 {
		t.Errorf("each of %d slow clients holds %d KiB", n, each>>10)
	}
}

// BenchmarkEngineAmongSlowClients tells how long the answers to a normal client take among 10,000 that send a byte a
// second, in p50 and p99, beside those of a client that is alone.
func BenchmarkEngineAmongSlowClients(b *testing.B) {
	l := newLab(b, defaultPolicy())
	l.announce("web", []string{replies(b, recordedAnswer+"ok")})
	_, addr := startEngine(b, l, EngineOptions{HeadTimeout: time.Hour})
	normal(b, addr, 1000)
	alone := normal(b, addr, 20_000)
	n := min(10_000, mostClients())
	b.Logf("%d slow clients", n)
	defer slowClients(b, addr, n)()
	normal(b, addr, 1000)
	for b.Loop() {
		among := normal(b, addr, 20_000)
		for _, p := range []struct {
			name string
			all  []time.Duration
		}{{"alone", alone}, {"among", among}} {
			b.ReportMetric(float64(p.all[len(p.all)/2].Nanoseconds())/1e3, "p50-"+p.name+"-us")
			b.ReportMetric(float64(p.all[len(p.all)*99/100].Nanoseconds())/1e3, "p99-"+p.name+"-us")
		}
	}
}
