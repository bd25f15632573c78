package file_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is a file in the grammar of these tests.
type content struct {
	Services []discovery.Service
	Routes   []discovery.Route
	Problems []discovery.Problem
}

func parse(name string, data []byte) ([]discovery.Service, []discovery.Route, []discovery.Problem, error) {
	var c content
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return c.Services, c.Routes, c.Problems, nil
}

func write(t *testing.T, path string, c content) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, string(text))
}

// replace writes a file as editors do: beside it, and then over it.
func replace(t *testing.T, path, text string) {
	t.Helper()
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func service(name string, addrs ...string) discovery.Service {
	s := discovery.Service{Name: name}
	for i, addr := range addrs {
		s.Backends = append(s.Backends, discoverytest.Backend(fmt.Sprint("b", i), addr))
	}
	return s
}

func has(name string, urls ...string) func(discoverytest.State) bool {
	return func(s discoverytest.State) bool {
		return s.InStep && strings.Join(s.URLs(name), " ") == strings.Join(urls, " ")
	}
}

func failing(s discoverytest.State) bool { return s.Err != nil }

// follow runs a source of a file in a directory of its own.
func follow(t *testing.T, path string) (*discoverytest.Recorder, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	src, err := file.New(file.Options{Path: path, Parse: parse})
	if err != nil {
		t.Fatal(err)
	}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	return rec, ctx
}

func TestAChangedFileIsAnnouncedWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lb.json")
	write(t, path, content{
		Services: []discovery.Service{service("web", "10.0.0.1:80"), service("api", "10.0.0.2:80")},
		Routes:   []discovery.Route{{Name: "r", Path: "/x", Service: "web"}, {Name: "old", Path: "/y", Service: "api"}},
		Problems: []discovery.Problem{{Key: "lb.json:3:1", Code: discovery.CodeBadURL, Detail: "no port"}},
	})
	rec, ctx := follow(t, path)
	s := rec.Await(ctx, has("web", "http://10.0.0.1:80"))
	if len(s.Services) != 2 || len(s.Routes) != 2 || s.Problems["lb.json:3:1"].Code != discovery.CodeBadURL {
		t.Errorf("not all was announced:\n%v", s)
	}
	write(t, path, content{
		Services: []discovery.Service{service("web", "10.0.0.1:80", "10.0.0.3:80")},
		Routes:   []discovery.Route{{Name: "r", Path: "/z", Service: "web"}},
	})
	s = rec.Await(ctx, has("web", "http://10.0.0.1:80", "http://10.0.0.3:80"))
	if len(s.Services) != 1 || len(s.Routes) != 1 || s.Routes["r"].Path != "/z" || len(s.Problems) != 0 {
		t.Errorf("what the file does not say any more is announced still:\n%v", s)
	}
	if got := fmt.Sprint(s.Resyncs); got != "[start changed]" {
		t.Errorf("resyncs are %s, want [start changed]", got)
	}
}

func TestABadFileChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lb.json")
	write(t, path, content{Services: []discovery.Service{service("web", "10.0.0.1:80")}})
	rec, ctx := follow(t, path)
	rec.Await(ctx, has("web", "http://10.0.0.1:80"))
	replace(t, path, `{"Services": [`)
	s := rec.Await(ctx, failing)
	if len(s.URLs("web")) != 1 || len(s.Resyncs) != 1 || !strings.Contains(s.Err.Error(), path) {
		t.Errorf("web must stay and the error name the file:\n%v", s)
	}
	write(t, path, content{Services: []discovery.Service{service("web", "10.0.0.1:80")}}) // as it was before
	rec.Await(ctx, has("web", "http://10.0.0.1:80"))
}

func TestAMissingFileIsPickedUpWhenItIsMade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lb.json")
	rec, ctx := follow(t, path)
	s := rec.Await(ctx, failing)
	if !errors.Is(s.Err, os.ErrNotExist) || len(s.Resyncs) != 0 {
		t.Errorf("a missing file is an outage, not an empty listing:\n%v", s)
	}
	write(t, path, content{Services: []discovery.Service{service("web", "10.0.0.1:80")}})
	s = rec.Await(ctx, has("web", "http://10.0.0.1:80"))
	if s.Resyncs[0] != "start" {
		t.Errorf("resyncs are %q, want the first to be start", s.Resyncs)
	}
}

func TestARemovedFileChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lb.json")
	write(t, path, content{Services: []discovery.Service{service("web", "10.0.0.1:80")}})
	rec, ctx := follow(t, path)
	rec.Await(ctx, has("web", "http://10.0.0.1:80"))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if s := rec.Await(ctx, failing); len(s.URLs("web")) != 1 {
		t.Errorf("web must stay:\n%v", s)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	t.Parallel()
	rec, ctx := follow(t, t.TempDir())
	if s := rec.Await(ctx, failing); !strings.Contains(s.Err.Error(), "directory") {
		t.Errorf("the error is %v, want what is wrong with it", s.Err)
	}
}

func TestNewReportsWhatCannotWork(t *testing.T) {
	for _, o := range []file.Options{{Parse: parse}, {Path: "x"}, {Path: "x", Parse: parse, Name: "a b"}} {
		if _, err := file.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]string{
		"file:///etc/lb.yaml": "/etc/lb.yaml", "file://localhost/etc/lb.yaml": "/etc/lb.yaml", "file:///a%20b": "/a b",
		"file:lb.yaml": "lb.yaml", "file:./conf/lb.yaml": "./conf/lb.yaml",
	} {
		if o, err := file.ParseURL(raw); err != nil || o.Path != want {
			t.Errorf("%s is %q (%v), want %q", raw, o.Path, err, want)
		}
	}
	for raw, want := range map[string]string{
		"file://etc/lb.yaml": "three slashes", "file://": "names no file", "file:///": "names no file", "file:///etc/": "names no file",
		"consul://x": "scheme", "file:///x?y=z": "more than a path", "file://u:hunter2@h/x": "more than a path", "file:///x#y": "more than a path", "file:%zz": "cannot be read", "/etc/lb.yaml": "scheme",
	} {
		if o, err := file.ParseURL(raw); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s is %q with the error %v, want %q in it", raw, o.Path, err, want)
		}
	}
}
