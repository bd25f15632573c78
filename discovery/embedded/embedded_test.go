package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, s *Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func bound(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAStockClientPutsGetsAndWatches(t *testing.T) {
	c, ctx := client(t, start(t, Options{})), bound(t)
	events := c.Watch(ctx, "k", clientv3.WithCreatedNotify())
	<-events
	if _, err := c.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Get(ctx, "k"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
		t.Errorf("got %v, %v; want v", r, err)
	}
	if r := <-events; len(r.Events) != 1 || string(r.Events[0].Kv.Value) != "v" {
		t.Errorf("watched %+v, want the put", r)
	}
}

func TestKeysGoWithTheirLease(t *testing.T) {
	c, ctx := client(t, start(t, Options{})), bound(t)
	l, err := c.Grant(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Put(ctx, "k", "v", clientv3.WithLease(l.ID))
	if err != nil {
		t.Fatal(err)
	}
	for w := range c.Watch(ctx, "k", clientv3.WithRev(r.Header.Revision+1)) {
		if len(w.Events) == 1 && w.Events[0].Type == clientv3.EventTypeDelete {
			return
		}
	}
	t.Error("the key stays though its lease of 1 s has ended")
}

func TestItListensOnLoopbackUnlessTold(t *testing.T) {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(start(t, Options{}).Endpoint(), "http://"))
	if err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("listens on %s:%s (%v), want 127.0.0.1 and a real port", host, port, err)
	}
}

func TestAGivenPortIsKept(t *testing.T) {
	first := start(t, Options{})
	first.Close()
	addr := strings.TrimPrefix(first.Endpoint(), "http://")
	if s := start(t, Options{ClientAddr: addr}); s.Endpoint() != first.Endpoint() {
		t.Errorf("the endpoint is %s, want %s", s.Endpoint(), first.Endpoint())
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	for what, o := range map[string]Options{"client": {ClientAddr: addr}, "peer": {PeerAddr: addr}} {
		_, err := Start(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), what+" address "+addr+" is in use") {
			t.Errorf("error is %v, want one that names the %s address %s", err, what, addr)
		}
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{ClientAddr: "2379"}, "host:port"},
		{Options{ClientAddr: "127.0.0.1:99999"}, "0 to 65535"},
		{Options{ClientAddr: "127.0.0.1:http"}, "0 to 65535"},
		{Options{ClientAddr: "etcd.example:2379"}, "IP address"},
		{Options{ClientAddr: "192.0.2.1:2379"}, "192.0.2.1:2379"},
		{Options{PeerAddr: "x"}, "peer"},
		{Options{LogLevel: "loud"}, "loud"},
		{Options{Dir: filepath.Join(file, "below")}, "data folder"},
		{Options{TLS: TLS{CertFile: file, KeyFile: file}}, file},
		{Options{TLS: TLS{ClientCAFile: file}}, "certificate"},
	} {
		if s, err := Start(t.Context(), c.o); err == nil {
			s.Close()
			t.Errorf("%+v: started, want an error", c.o)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error is %q, want %q in it", c.o, err, c.want)
		}
	}
}

func TestATemporaryFolderIsRemovedAtClose(t *testing.T) {
	s := start(t, Options{})
	if _, err := os.Stat(s.dir); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v, want it gone", s.dir, err)
	}
}

func TestAGivenFolderKeepsTheData(t *testing.T) {
	dir, ctx := filepath.Join(t.TempDir(), "new", "data"), bound(t)
	s := start(t, Options{Dir: dir})
	if _, err := client(t, s).Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	r, err := client(t, start(t, Options{Dir: dir})).Get(ctx, "k")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
		t.Errorf("got %v, %v after a restart; want v", r, err)
	}
}

func TestAFolderIsUsedByOneServerAtATime(t *testing.T) {
	dir := t.TempDir()
	start(t, Options{Dir: dir})
	s, err := Start(t.Context(), Options{Dir: dir})
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("error is %v, want one that says that the folder is in use", err)
	}
}

func TestAnEndedContextStartsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

func TestAContextThatEndsLaterChangesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	if _, err := client(t, s).Get(bound(t), "k"); err != nil {
		t.Error(err)
	}
}

func TestCloseMayBeCalledTwiceAndAtOnce(t *testing.T) {
	s := start(t, Options{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(s.Close)
	}
	wg.Wait()
	if c, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoint(), "http://")); err == nil {
		c.Close()
		t.Error("the port still answers after Close")
	}
}

func TestCloseIsNotHeldUpByAWatch(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	<-c.Watch(bound(t), "k", clientv3.WithCreatedNotify())
	began := time.Now()
	s.Close()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("Close took %v", d)
	}
}

func TestLogsGoToTheLoggerAlone(t *testing.T) {
	var out lockedBuffer
	s := start(t, Options{LogLevel: "info", Logger: slog.New(slog.NewTextHandler(&out, nil))})
	s.Close()
	if !strings.Contains(out.String(), "starting an etcd server") {
		t.Errorf("the server's messages are missing:\n%s", out.String())
	}
}

func TestAnUneventfulServerLogsNothing(t *testing.T) {
	var out lockedBuffer
	s := start(t, Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	<-client(t, s).Watch(bound(t), "k", clientv3.WithCreatedNotify())
	s.Close()
	if got := out.String(); got != "" {
		t.Errorf("logged\n%s", got)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
