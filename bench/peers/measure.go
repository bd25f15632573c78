//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vietddude/load-balancer/bench/peers/backend"
	"github.com/vietddude/load-balancer/bench/peers/load"
	"github.com/vietddude/load-balancer/bench/peers/proc"
)

const (
	readyTimeout  = 15 * time.Second
	helperTimeout = 15 * time.Second
	// holdTimeout bounds opening connections that are held, all with their handshakes.
	holdTimeout = 2 * time.Minute
	// settle is how long memory is left alone before it is read.
	settle = 2 * time.Second
	// maxConns is how many connections a proxy must bear, those to backends included.
	maxConns = keptConnections + 2_000
	// minFiles is how many descriptors a process needs for that.
	minFiles = maxConns + 200
)

// mode says who runs where.
type mode struct {
	name        string
	proxy, load cpus
}

// modes returns those that a list names, of the CPUs that there are.
func modes(list string, on cpus) ([]mode, error) {
	all := []mode{{name: "pinned"}, {name: "shared", proxy: on, load: on}}
	if len(on) > 1 {
		all[0].proxy, all[0].load = on[:1], on[1:]
	}
	found, err := selected(all, func(m mode) string { return m.name }, list, "mode")
	for _, m := range found {
		if m.proxy == nil {
			return nil, errors.New("to pin the proxy takes two CPUs, one of which is for the load; use --mode shared")
		}
	}
	return found, err
}

// bench measures, one after the other.
type bench struct {
	dir              string // scratch
	stand            *stand
	mode             mode
	warmup, duration time.Duration
	files            int // the most that a process may open
}

// measure runs a proxy that is started for it, and fills in the sample.
func (b *bench) measure(ctx context.Context, p peer, sc scenario, s *sample) error {
	dir, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	i, err := b.installation(dir, sc)
	if err != nil {
		return err
	}
	proxy, err := startPeer(p, i, b.mode.proxy)
	if err != nil {
		return err
	}
	running := true
	stop := func() {
		if running {
			proxy.stop()
			running = false
		}
	}
	defer stop()
	addr := i.Clear
	if sc.spec.TLS {
		addr = i.TLS
	}
	if err := ready(ctx, proxy, addr, sc); err != nil {
		return err
	}
	pids, err := proc.Tree(proxy.pid())
	if err != nil {
		return err
	}
	asked, err := b.load(pids, addr, sc, s)
	if err != nil {
		return err
	}
	if err := proxy.ended(); err != nil {
		return err
	}
	peak, err := proc.Memory(pids, "VmHWM")
	if err != nil {
		return err
	}
	s.Memory = float64(peak) / (1 << 20)
	stop()
	if !sc.session {
		return nil
	}
	return compareLog(i.AccessLog, asked, s)
}

func (b *bench) installation(dir string, sc scenario) (installation, error) {
	addrs, err := freeAddrs(3)
	if err != nil {
		return installation{}, err
	}
	return installation{
		Run: dir, Clear: addrs[0], TLS: addrs[1], Admin: addrs[2],
		Backends: b.stand.backends, Discovery: b.stand.discovery(),
		Cert: b.stand.cert.cert, Key: b.stand.cert.key, Pair: b.stand.cert.pair,
		AccessLog: filepath.Join(dir, "access.log"),
		Cores:     len(b.mode.proxy), Files: b.files, MaxConns: maxConns,
		Session: sc.session,
	}, nil
}

// freeAddrs returns addresses of 127.0.0.1 that nobody listens on now.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

func startPeer(p peer, i installation, on cpus) (*child, error) {
	config, err := p.write(i)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", p.name, err)
	}
	cmd := exec.Command(p.binary, p.args(config, i)...)
	cmd.Dir = i.Run
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + i.Run}
	if i.Session {
		log, err := os.OpenFile(i.AccessLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout = log
	}
	return start(p.name, cmd, on, i.Run)
}

// ready waits until the proxy gives the right answer: what is wrong need not be measured.
func ready(ctx context.Context, proxy *child, addr string, sc scenario) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: load.TLSConfig(), DisableKeepAlives: true}
	for {
		err := ask(ctx, transport, addr, sc)
		if err == nil {
			return nil
		}
		if dead := proxy.ended(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w: %s", readyTimeout, err, proxy.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ask makes one request of a scenario and looks at the answer.
func ask(ctx context.Context, rt http.RoundTripper, addr string, sc scenario) error {
	scheme := "http"
	if sc.spec.TLS {
		scheme = "https"
	}
	body := bytes.NewReader(bytes.Repeat([]byte("x"), sc.spec.Body))
	req, err := http.NewRequestWithContext(ctx, sc.spec.Method, scheme+"://"+addr+sc.spec.Path, body)
	if err != nil {
		return err
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", res.StatusCode)
	case !bytes.Equal(got, backend.Content(sc.spec.Path)):
		return fmt.Errorf("the body (%d bytes) is not the backend's", len(got))
	case sc.session && len(res.Cookies()) != 1:
		return fmt.Errorf("%d cookies are set instead of one", len(res.Cookies()))
	}
	return nil
}

// load makes the load and returns how many requests were answered in all.
func (b *bench) load(pids []int, addr string, sc scenario, s *sample) (int64, error) {
	ours := append([]int{os.Getpid(), b.stand.helper.pid()}, pids...)
	machine, err := proc.ReadMachine()
	if err != nil {
		return 0, err
	}
	used, err := proc.ReadCPU(ours)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	before, err := proc.Memory(pids, "VmRSS")
	if err != nil {
		return 0, err
	}
	h, err := startHelper(roleLoad, b.mode.load, b.dir)
	if err != nil {
		return 0, err
	}
	defer h.stop()
	if err := json.NewEncoder(h.in).Encode(sc.load(addr, pids, b.warmup, b.duration)); err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	bound := b.warmup + b.duration + helperTimeout
	if sc.idle() {
		bound = holdTimeout
	}
	var res load.Result
	if err := h.result(&res, bound); err != nil {
		return 0, err
	}
	if sc.idle() && res.Requests > 0 {
		time.Sleep(settle)
		after, err := proc.Memory(pids, "VmRSS")
		if err != nil {
			return 0, err
		}
		s.PerConn = float64(after-before) / 1024 / float64(res.Requests)
		h.in.Close()
		var end load.Result
		if err := h.result(&end, helperTimeout); err != nil {
			return 0, err
		}
		for kind, n := range end.Errors {
			res.Errors[kind] += n
		}
	}
	h.in.Close()
	<-h.done
	now, err := proc.ReadCPU(ours)
	if err != nil {
		return 0, err
	}
	all, err := proc.ReadMachine()
	if err != nil {
		return 0, err
	}
	own := now.Sub(used).Total + h.cmd.ProcessState.UserTime() + h.cmd.ProcessState.SystemTime()
	others := all.Busy - machine.Busy + all.Steal - machine.Steal - own
	s.Others = max(0, others.Seconds()/time.Since(began).Seconds())
	return res.Requests, b.fill(s, res)
}

// fill computes a sample's figures.
func (b *bench) fill(s *sample, res load.Result) error {
	s.Errors = res.Errors
	if res.Requests == 0 {
		return fmt.Errorf("no request succeeded while it was measured; errors: %s", errorText(res.Errors))
	}
	n := float64(res.Requests)
	s.Requests = res.Requests
	s.CPU = micros(res.CPU.Total) / n
	if sum := res.CPU.User + res.CPU.System; sum > 0 {
		s.Kernel = float64(res.CPU.System) / float64(sum)
	}
	s.Rate = n / res.Elapsed.Seconds()
	s.P50, s.P99 = micros(res.P50), micros(res.P99)
	s.Busy = res.CPU.Total.Seconds() / res.Elapsed.Seconds() / float64(len(b.mode.proxy))
	return nil
}

// compareLog counts it as errors when an access log has fewer lines than there were requests.
func compareLog(file string, requests int64, s *sample) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := int64(0)
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		lines += int64(bytes.Count(buf[:n], []byte("\n")))
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if missing := requests - lines; missing > 0 {
		s.Errors["lines missing in the access log"] = missing
	}
	return nil
}
