package register

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/discovery/embedded"
	"github.com/vietddude/load-balancer/discovery/etcd"
	"github.com/vietddude/load-balancer/internal/consultest"
)

// childOf, in the environment, has the test binary be a registration in that etcd, for others to kill.
const childOf = "LB_TEST_REGISTER_IN"

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(childOf); endpoint != "" {
		_, err := Run(context.Background(), Options{
			Record: record("http://127.0.0.1:1"), TTL: time.Second, Places: []Place{{Name: "etcd", Slot: slot(endpoint, time.Second)}},
		})
		fmt.Println(err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func record(url string) announce.Record {
	return announce.Record{Service: "web", Backend: discovery.Backend{ID: "a", URL: url, Weight: 1}}
}

func slot(endpoint string, ttl time.Duration) announce.Slot[announce.Record] {
	s, err := etcd.NewStore(etcd.Options{Endpoints: []string{endpoint}, DialTimeout: time.Second})
	if err != nil {
		panic(err)
	}
	return s.Backend("web", "a", ttl)
}

const webKey = "/lb/services/web/a"

// world is an etcd, and a Run in it.
type world struct {
	t       *testing.T
	ctx     context.Context
	client  *clientv3.Client
	url     string
	signals chan os.Signal
	code    chan int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	e, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &world{t: t, ctx: ctx, client: c, url: e.Endpoint(), signals: make(chan os.Signal, 8), code: make(chan int, 1)}
}

func (w *world) run(change func(*Options)) {
	o := Options{
		Record: record("http://127.0.0.1:1"), TTL: 10 * time.Second, Drain: -1, Signals: w.signals,
		Places: []Place{{Name: "etcd", Slot: slot(w.url, 10*time.Second)}},
	}
	change(&o)
	go func() {
		code, err := Run(w.ctx, o)
		if err != nil {
			w.t.Error(err)
		}
		w.code <- code
	}()
}

func (w *world) value() string {
	r, err := w.client.Get(w.ctx, webKey)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// await waits until the key's value has the part in it, or is empty for an empty part.
func (w *world) await(part string) {
	w.t.Helper()
	watch := w.client.Watch(w.ctx, webKey)
	for v := w.value(); (part == "") != (v == "") || !strings.Contains(v, part); v = w.value() {
		select {
		case <-watch:
		case <-w.ctx.Done():
			w.t.Fatalf("the key is %q, want %q in it", v, part)
		}
	}
}

func (w *world) exit(want int) {
	w.t.Helper()
	select {
	case got := <-w.code:
		if got != want {
			w.t.Errorf("the exit code is %d, want %d", got, want)
		}
	case <-w.ctx.Done():
		w.t.Fatal("the registration does not end")
	}
	if v := w.value(); v != "" {
		w.t.Errorf("the key is left: %s", v)
	}
	if r, err := w.client.Leases(w.ctx); err != nil || len(r.Leases) > 0 {
		w.t.Errorf("leases are left: %v %v", r, err)
	}
}

func shell(script string) func(*Options) {
	return func(o *Options) { o.Command = []string{"sh", "-c", script} }
}

func TestABackendIsAnnouncedWhileItsCheckSucceeds(t *testing.T) {
	w := newWorld(t)
	var sick atomic.Bool
	sick.Store(true)
	b := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer b.Close()
	w.run(func(o *Options) {
		o.Record.URL = b.URL
		o.Check, _ = ParseCheck("/health", 50*time.Millisecond, time.Second)
	})
	if w.value() != "" {
		t.Error("announced before the check succeeded")
	}
	sick.Store(false)
	w.await(b.URL)
	sick.Store(true)
	w.await("")
	sick.Store(false)
	w.await(b.URL)
	w.signals <- syscall.SIGTERM
	w.exit(0)
}

func TestASignalDrainsThenDeregistersThenReachesTheCommand(t *testing.T) {
	w := newWorld(t)
	told := t.TempDir() + "/told"
	w.run(func(o *Options) {
		shell(`trap 'echo > "$0"; exit 7' TERM; while :; do sleep 0.05; done`)(o)
		o.Command = append(o.Command, told)
		o.Drain = 300 * time.Millisecond
	})
	w.await("127.0.0.1")
	w.signals <- syscall.SIGTERM
	w.await(`"state":"drain"`)
	if _, err := os.Stat(told); err == nil {
		t.Error("the command was told before the drain had passed")
	}
	w.await("")
	w.exit(7)
	if _, err := os.Stat(told); err != nil {
		t.Error("the command was not told")
	}
}

func TestOtherSignalsPassOnAtOnce(t *testing.T) {
	w := newWorld(t)
	r, out := io.Pipe()
	w.run(func(o *Options) {
		shell(`trap 'exit 3' HUP; echo ready; while :; do sleep 0.05; done`)(o)
		o.Stdout = out
	})
	if line := make([]byte, 6); true {
		if _, err := io.ReadFull(r, line); err != nil {
			t.Fatal(err)
		}
	}
	w.signals <- syscall.SIGHUP
	w.exit(3)
}

func TestTheEndOfTheCommandEndsTheAnnouncement(t *testing.T) {
	w := newWorld(t)
	w.run(shell("exit 5"))
	w.exit(5)
	w.run(shell("kill -KILL $$"))
	w.exit(128 + 9)
}

func TestASecondSignalDoesNotWaitForTheDrain(t *testing.T) {
	w := newWorld(t)
	w.run(func(o *Options) { o.Drain = time.Hour })
	w.await("127.0.0.1")
	w.signals <- syscall.SIGTERM
	w.await("drain")
	w.signals <- syscall.SIGTERM
	w.exit(0)
}

func TestAKilledRegistrationVanishesWithItsLease(t *testing.T) {
	w := newWorld(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childOf+"="+w.url)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	w.await("127.0.0.1")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	w.await("")
}

func TestSeveralPlacesAreKeptAtOnce(t *testing.T) {
	a := consultest.Start(t, consultest.Options{})
	w := newWorld(t)
	r, err := consul.NewRegistry(consul.Options{Address: a.HTTPAddr})
	if err != nil {
		t.Fatal(err)
	}
	w.run(func(o *Options) {
		o.Places = append(o.Places, Place{Name: "consul", Slot: r.Backend("web", "a", time.Minute)})
		o.Drain = 100 * time.Millisecond
	})
	w.await("127.0.0.1")
	c := a.Client()
	for q := (&api.QueryOptions{WaitTime: time.Second}); ; {
		entries, m, err := c.Health().Service("web", "", true, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 1 {
			break
		}
		q.WaitIndex = m.LastIndex
	}
	w.signals <- syscall.SIGTERM
	w.exit(0)
	if s, _ := c.Agent().Services(); len(s) != 0 {
		t.Errorf("left in Consul: %v", s)
	}
}

func TestACommandThatCannotStartIsAnError(t *testing.T) {
	w := newWorld(t)
	_, err := Run(w.ctx, Options{
		Record: record("http://127.0.0.1:1"), Places: []Place{{Name: "etcd", Slot: slot(w.url, time.Second)}},
		Command: []string{"/no/such/program"},
	})
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatIsNoCheckIsRefused(t *testing.T) {
	for _, text := range []string{"health", "udp"} {
		if _, err := ParseCheck(text, time.Second, time.Second); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if _, err := ParseCheck("/", 0, time.Second); err == nil {
		t.Error("an interval of 0 is taken")
	}
}

func TestTheDefaultIDIsServiceAndAddress(t *testing.T) {
	for url, want := range map[string]string{
		"http://10.0.0.5:8080": "web-10.0.0.5-8080", "10.0.0.5:8080": "web-10.0.0.5-8080", "https://[::1]:8443": "web---1-8443",
	} {
		got := DefaultID("web", url)
		if got != want || discovery.CheckID(got) != nil {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
