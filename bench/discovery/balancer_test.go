//go:build linux

package discovery_test

import (
	"bufio"
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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/bench/peers/load"
	"github.com/vietddude/load-balancer/bench/peers/proc"
)

// program builds a command of this module once. The balancer is the file that BALANCER names, if it does: so two builds are
// compared.
func program(b *testing.B, pkg string) string {
	b.Helper()
	if file := os.Getenv("BALANCER"); file != "" && pkg == "cmd/loadbalancer" {
		return file
	}
	out := filepath.Join(builds(), filepath.Base(pkg))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "github.com/vietddude/load-balancer/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// builds is the folder of what was built; TestMain removes it.
var builds = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "bench-discovery")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(builds())
	os.Exit(code)
}

// balancer is a running loadbalancer process.
type balancer struct {
	b             *testing.B
	cmd           *exec.Cmd
	client, admin string // addresses
	started       time.Time
	http          *http.Client
}

// startBalancer starts one and returns when it listens, which is before it is ready.
func startBalancer(b *testing.B, args ...string) *balancer {
	b.Helper()
	lb := &balancer{b: b, client: freeAddr(b), admin: freeAddr(b), http: &http.Client{Timeout: 30 * time.Second}}
	lb.cmd = exec.Command(program(b, "cmd/loadbalancer"), append([]string{"--listen", lb.client, "--admin", lb.admin}, args...)...)
	lb.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	logs, err := os.Create(filepath.Join(b.TempDir(), "balancer.log"))
	if err != nil {
		b.Fatal(err)
	}
	lb.cmd.Stdout, lb.cmd.Stderr = logs, logs
	lb.started = time.Now()
	if err := lb.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		lb.stop()
		logs.Close()
		if b.Failed() {
			text, _ := os.ReadFile(logs.Name())
			b.Logf("the balancer's log:\n%.4000s", text)
		}
	})
	return lb
}

// stop ends the process; further calls do nothing.
func (lb *balancer) stop() {
	if lb.cmd.ProcessState != nil {
		return
	}
	_ = lb.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = lb.cmd.Process.Kill() })
	_ = lb.cmd.Wait()
	kill.Stop()
	lb.http.CloseIdleConnections()
}

// untilReady waits until there is a table and returns when that was since the start. Nothing that is long is asked for.
func (lb *balancer) untilReady() time.Duration {
	lb.b.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		resp, err := lb.http.Get("http://" + lb.admin + "/readyz")
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return time.Since(lb.started)
		}
	}
	lb.b.Fatal("the balancer is not ready after a minute")
	return 0
}

// expectBackends fails unless the table holds so many.
func (lb *balancer) expectBackends(n int) {
	lb.b.Helper()
	if got := lb.metrics("lb_backends ")["lb_backends"]; got != strconv.Itoa(n) {
		lb.b.Fatalf("the balancer has %s backends, want %d", got, n)
	}
}

// metrics are the series that begin with a prefix.
func (lb *balancer) metrics(prefix string) map[string]string {
	lb.b.Helper()
	resp, err := lb.http.Get("http://" + lb.admin + "/metrics")
	if err != nil {
		lb.b.Fatal(err)
	}
	defer resp.Body.Close()
	found := map[string]string{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			series, value, _ := strings.Cut(lines.Text(), " ")
			found[series] = value
		}
	}
	if err := lines.Err(); err != nil {
		lb.b.Fatal(err)
	}
	return found
}

// propagation is the upper bound of the bucket that holds a quantile of the times from event to table, between two
// readings of the histogram.
func (lb *balancer) propagation() map[string]string {
	return lb.metrics("lb_discovery_propagation_seconds_bucket")
}

func quantile(before, after map[string]string, q float64) (bound float64) {
	const head, tail = `lb_discovery_propagation_seconds_bucket{le="`, `"}`
	count := func(m map[string]string, series string) float64 {
		n, _ := strconv.ParseFloat(m[series], 64)
		return n
	}
	total := count(after, head+"+Inf"+tail) - count(before, head+"+Inf"+tail)
	bound = -1
	for series := range after {
		le, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimPrefix(series, head), tail), 64)
		if err == nil && count(after, series)-count(before, series) >= q*total && (bound < 0 || le < bound) {
			bound = le
		}
	}
	return bound
}

// cpu is the CPU time that the process has used.
func (lb *balancer) cpu() time.Duration {
	c, err := proc.ReadCPU([]int{lb.cmd.Process.Pid})
	if err != nil {
		lb.b.Fatal(err)
	}
	return c.Total
}

// memory is what the process holds, now or at its peak, in MB.
func (lb *balancer) memory(key string) float64 {
	n, err := proc.Memory([]int{lb.cmd.Process.Pid}, key)
	if err != nil {
		lb.b.Fatal(err)
	}
	return float64(n) / 1e6
}

// rest reports the share of a core that the process uses while nothing happens.
func (lb *balancer) rest(for_ time.Duration) float64 {
	before, start := lb.cpu(), time.Now()
	time.Sleep(for_)
	return float64(lb.cpu()-before) / float64(time.Since(start))
}

// connectionsTo counts the process's TCP connections to a port of the loopback.
func (lb *balancer) connectionsTo(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	inodes := map[string]bool{}
	for _, file := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", lb.cmd.Process.Pid, file))
		if err != nil {
			lb.b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", n)) && f[3] == "01" {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", lb.cmd.Process.Pid))
	open := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && inodes[to] {
			open++
		}
	}
	return open
}

// traffic makes constant load in a process of its own and returns what it saw.
func (lb *balancer) traffic(rate float64, how time.Duration) load.Result {
	lb.b.Helper()
	spec, err := json.Marshal(load.Spec{
		Kind: load.Loop, Addr: lb.client, Path: "/100", Method: http.MethodGet, Conns: 32, Rate: rate,
		Warmup: time.Second, Duration: how, Proxy: []int{lb.cmd.Process.Pid},
	})
	if err != nil {
		lb.b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), how+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(lb.b, "bench/peers"), "load")
	cmd.Stdin = strings.NewReader(string(spec))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		lb.b.Fatalf("load: %v", err)
	}
	var res load.Result
	if err := json.Unmarshal(out, &res); err != nil {
		lb.b.Fatalf("load: %v: %s", err, out)
	}
	delete(res.Errors, "closed while idle") // as it should be: an open loop leaves connections unused beyond the idle timeout
	for what, n := range res.Errors {
		lb.b.Errorf("load: %d times %s", n, what)
	}
	return res
}

// served asks for a service by its name once a millisecond until it is answered.
func (lb *balancer) served(ctx context.Context, service string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+lb.client+"/100", nil)
		if err != nil {
			return err
		}
		req.Host = service
		resp, err := lb.http.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		time.Sleep(time.Millisecond)
	}
}

func freeAddr(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
