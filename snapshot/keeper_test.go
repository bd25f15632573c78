package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// childProcess is what this program does as a child of its own tests; nil in the tests themselves.
var childProcess func()

func TestMain(m *testing.M) {
	if childProcess != nil {
		childProcess()
	}
	goleak.VerifyTestMain(m)
}

// numbered is a catalog whose state names its revision.
type numbered struct{ n atomic.Uint64 }

func (c *numbered) Revision() uint64 { return c.n.Load() }

func (c *numbered) State() routing.State {
	s := discovery.Service{Name: fmt.Sprint("service-", c.n.Load()), Backends: []discovery.Backend{{ID: "b", URL: "http://b.test:80"}}}
	return routing.State{Sources: []routing.SourceState{{Name: "etcd", Services: []discovery.Service{s}}}}
}

// logged counts lines.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// kept runs f beside a keeper of a file, in a bubble.
func kept(t *testing.T, path string, f func(t *testing.T, k *Keeper, c *numbered, l *logged)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &logged{}
		k := New(Options{Path: path, Logger: slog.New(slog.NewTextHandler(l, nil))})
		c := &numbered{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { k.Run(ctx, c); close(ended) }()
		f(t, k, c, l)
		cancel()
		<-ended
	})
}

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// holds is the name of the service in the file.
func holds(t *testing.T, path string) string {
	t.Helper()
	st, _, found, err := load(path)
	if err != nil || !found {
		t.Fatalf("the file is not loaded: found %t, %v", found, err)
	}
	return st.Sources[0].Services[0].Name
}

func TestWhatChangedIsWrittenAtMostOnceASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	kept(t, path, func(t *testing.T, k *Keeper, c *numbered, _ *logged) {
		pass(10 * time.Second)
		if n := k.Stats().Written; n != 0 {
			t.Errorf("it was written %d times though nothing changed", n)
		}
		for range 100 {
			c.n.Add(1)
			pass(50 * time.Millisecond)
		}
		if n := k.Stats().Written; n < 4 || n > 6 {
			t.Errorf("in 5 s it was written %d times", n)
		}
		pass(2 * time.Second)
		written := k.Stats().Written
		if got := holds(t, path); got != "service-100" {
			t.Errorf("the file holds %s", got)
		}
		pass(time.Hour)
		if n := k.Stats().Written; n != written {
			t.Errorf("in an hour without a change it was written %d times", n-written)
		}
		c.n.Add(1)
	})
	if got := holds(t, path); got != "service-101" {
		t.Errorf("after the end the file holds %s", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func TestAFileThatCannotBeWrittenIsToldOnceAndTriedAgain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "not-yet")
	path := filepath.Join(folder, "state")
	kept(t, path, func(t *testing.T, k *Keeper, c *numbered, l *logged) {
		c.n.Add(1)
		pass(time.Hour)
		st := k.Stats()
		if st.Failed < 10 || st.Failed > 200 || st.WriteErr == nil || st.Written != 0 {
			t.Errorf("after an hour: %+v", st)
		}
		if n := l.count("cannot be written"); n != 1 {
			t.Errorf("it is logged %d times", n)
		}
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if st := k.Stats(); st.Written != 1 || st.WriteErr != nil || l.count("written again") != 1 {
			t.Errorf("once it can be written: %+v", st)
		}
	})
}

func TestAFileThatIsDamagedIsSetAsideAndTold(t *testing.T) {
	st := fleet(1)
	good := encode(&st, time.Now(), 0)
	for name, text := range map[string][]byte{
		"half": good[:len(good)/2], "empty": nil, "noise": []byte("not a snapshot, and long enough not to be too short for one head"),
		"a later version": append(append(bytes.Clone(magic[:]), version+1), good[len(magic)+1:]...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			l := &logged{}
			k := New(Options{Path: path, Logger: slog.New(slog.NewTextHandler(l, nil))})
			if _, ok := k.Load(); ok {
				t.Fatal("it is loaded")
			}
			st := k.Stats()
			var corrupt *CorruptError
			if !st.Corrupt || !errors.As(st.LoadErr, &corrupt) || l.count("level=ERROR") != 1 {
				t.Fatalf("it is told as %+v", st)
			}
			if aside, err := os.ReadFile(corrupt.Aside); err != nil || !bytes.Equal(aside, text) || !strings.HasPrefix(corrupt.Aside, path+".corrupt-") {
				t.Errorf("set aside as %s: %v", corrupt.Aside, err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("it is still there")
			}
		})
	}
}

func TestAFileThatIsNoneIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	k := New(Options{Path: path})
	if _, ok := k.Load(); ok || k.Stats().LoadErr != nil {
		t.Errorf("a file that is not there: %+v", k.Stats())
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Load(); ok || k.Stats().LoadErr == nil || k.Stats().Corrupt {
		t.Errorf("a folder in its place: %+v", k.Stats())
	}
}

func TestALoadedStateIsTheOneWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	st := fullState()
	if err := save(path, encode(&st, time.Unix(1_800_000_000, 0), 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+tempInfix+"1", []byte("left by another"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := New(Options{Path: path})
	got, ok := k.Load()
	if !ok || !reflect.DeepEqual(got, st) || !k.Stats().Loaded.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("loaded: %t, as %+v", ok, k.Stats())
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
