package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// churnTime is how long backends come and go under load: what LB_CHURN says, which has wrk and etcdctl do it if they are
// on the PATH, else a moment.
func churnTime(t *testing.T) (d time.Duration, long bool) {
	t.Helper()
	text := os.Getenv("LB_CHURN")
	if text == "" {
		return 2 * time.Second, false
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > 10*time.Minute {
		t.Fatalf("LB_CHURN=%s: want a time from 1s to 10m, such as 60s", text)
	}
	return d, true
}

// leaves has a backend end as it should: it finishes what it was asked, and is asked nothing more.
func (b *testBackend) leaves(t *testing.T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		t.Errorf("backend %s: %v", b.name, err)
	}
	<-b.done
}

// etcdKeys is how backends are announced: by etcdctl, as people do, or by a client.
func etcdKeys(t *testing.T, e *etcdStore, tool bool) (put func(key, value string), del func(key string)) {
	program, err := exec.LookPath("etcdctl")
	if !tool || err != nil {
		return func(k, v string) { e.put(k, v) }, e.delete
	}
	run := func(args ...string) {
		cmd := exec.Command(program, append([]string{"--endpoints", e.server.Endpoint()}, args...)...)
		cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("etcdctl %s: %v: %s", args, err, out)
		}
	}
	return func(k, v string) { run("put", k, v) }, func(k string) { run("del", k) }
}

var (
	wrkTotal = regexp.MustCompile(`(\d+) requests in `)
	wrkWrong = regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx).*$`)
)

func TestBackendsThatComeAndGoUnderFullLoadCostNoRequest(t *testing.T) {
	d, long := churnTime(t)
	etcd := startEtcd(t)
	put, del := etcdKeys(t, etcd, long)
	var standing []*testBackend
	next := 0
	come := func() {
		b := startBackend(t, fmt.Sprintf("b%d", next))
		next++
		put("/lb/services/web/"+b.name, b.url())
		standing = append(standing, b)
	}
	come()
	come()
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	await(t, "both answer", func() bool { return len(lb.spread(10)) == 2 })

	ended := make(chan struct{})
	var end func()
	if wrk, err := exec.LookPath("wrk"); long && err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), d+30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, wrk, "-t2", "-c64", "--latency", fmt.Sprintf("-d%ds", int(d.Seconds())), lb.url()+"/")
		go func() {
			defer close(ended)
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil || wrkTotal.FindSubmatch(out) == nil {
				t.Errorf("wrk: %v", err)
			}
			if wrong := wrkWrong.Find(out); wrong != nil {
				t.Errorf("wrk tells of %s", wrong)
			}
		}()
		end = func() { <-ended }
	} else {
		l := startLoad(lb, 8, lb.url()+"/")
		time.AfterFunc(d, func() { close(ended) })
		end = func() { l.end(t) }
	}
	changes := 0
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ended:
			tick.Stop()
			end()
			t.Logf("%d backends came and %d went in %v", next, next-len(standing), d)
			if changes == 0 {
				t.Error("nothing changed")
			}
			return
		}
		changes++
		if len(standing) < 4 {
			come()
			continue
		}
		// One that goes is deregistered first, and ends when nobody asks it any more, as deployments have it.
		old := standing[0]
		standing = standing[1:]
		del("/lb/services/web/" + old.name)
		await(t, old.name+" left the table", func() bool {
			_, table := lb.get(lb.admin() + "/api/v1/table")
			return !strings.Contains(table, old.url())
		})
		old.leaves(t)
	}
}

// TestBackendProcess is no test but the process of a backend, which tells its address on its output.
func TestBackendProcess(t *testing.T) {
	if os.Getenv("LB_TEST_BACKEND") == "" {
		t.Skip("a process of another test")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("at %s\n", ln.Addr())
	go func() { // it ends with the one that started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	t.Fatal(http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "process") })))
}

// backendProcess is a backend in a process of its own, which ends with the test.
type backendProcess struct {
	addr string
	cmd  *exec.Cmd
}

func startBackendProcess(t testing.TB) *backendProcess {
	t.Helper()
	p := &backendProcess{cmd: exec.Command(os.Args[0], "-test.run=^TestBackendProcess$", "-test.v")}
	p.cmd.Env = append(os.Environ(), "LB_TEST_BACKEND=1")
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = p.cmd.Wait()
	})
	for text := ""; p.addr == ""; {
		var b [256]byte
		n, err := out.Read(b[:])
		if err != nil {
			t.Fatalf("the backend's process: %v: %s", err, text)
		}
		text += string(b[:n])
		if _, rest, ok := strings.Cut(text, "at "); ok && strings.Contains(rest, "\n") {
			p.addr, _, _ = strings.Cut(rest, "\n")
		}
	}
	return p
}

// kill ends the process at once (SIGKILL) and returns when it is gone.
func (p *backendProcess) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

func TestABackendProcessThatIsKilledUnderLoadCostsNoGET(t *testing.T) {
	steady := startBackend(t, "steady")
	etcd := startEtcd(t)
	etcd.put("/lb/services/web/steady", steady.url())
	lb := startBalancer(t, "{}", discovering(etcd.url))
	lb.ready()
	l := startLoad(lb, 8, lb.url()+"/")
	for i := range 3 {
		p := startBackendProcess(t)
		key := fmt.Sprintf("/lb/services/web/process%d", i)
		etcd.put(key, p.addr)
		await(t, "the process answers", func() bool { return lb.spread(4)["process"] > 0 })
		l.more(t, 200)
		p.kill(t)
		l.more(t, 200) // its address is announced still, and refuses
		etcd.delete(key)
	}
	l.end(t)
}
