package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/breaker"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostile is text that a page must not take for markup.
const hostile = `</script><img src=x onerror="alert(1)">`

// world is a real catalog, in which etcd announces the service web with the backends a, b and c, behind a handler.
type world struct {
	t         *testing.T
	catalog   *routing.Catalog
	handler   http.Handler
	published chan struct{}
	checks    []Check
	token     string
}

func newWorld(t *testing.T, options ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, published: make(chan struct{}, 1)}
	w.catalog = routing.NewCatalog(routing.Options{
		Sources: []string{"etcd", "consul"},
		Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) {
			return routing.Policy{Algorithm: "round-robin", Breaker: breaker.Options{FailureThreshold: 1, ResetTimeout: time.Hour}}, nil
		},
		Published: func(_, _ *routing.Table) {
			select {
			case w.published <- struct{}{}:
			default:
			}
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.catalog.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	w.announce()
	o := Options{
		Catalog: w.catalog,
		Checks:  func() []Check { return w.checks },
		Metrics: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte("lb_up 1\n")) }),
		Info:    Info{Version: "v1", Revision: "abc", Started: time.Unix(1700000000, 0).UTC()},
	}
	for _, f := range options {
		f(&o)
	}
	w.token, w.handler = o.Token, New(o)
	return w
}

func withToken(o *Options) { o.Token = "sesame" }

// announce is what etcd says; consul fails.
func (w *world) announce() {
	w.t.Helper()
	etcd := w.catalog.Sink("etcd")
	etcd.Resync("start")
	etcd.Service(discovery.Service{Name: "web", Seen: time.Now(), Backends: []discovery.Backend{
		{ID: "a", URL: "http://10.0.0.1:8080", Weight: 1, Zone: "west", Meta: map[string]string{"note": hostile}},
		{ID: "b", URL: "http://10.0.0.2:8080", Weight: 2},
		{ID: "c", URL: "http://10.0.0.3:8080", Weight: 1, Draining: true},
	}})
	etcd.Service(discovery.Service{Name: "api", Seen: time.Now(), Backends: []discovery.Backend{{ID: "a", URL: "http://10.1.0.1:8080", Weight: 1}}})
	etcd.Route(discovery.Route{Name: "v1", Host: "api.example.com", Path: "/v1", Service: "api", StripPrefix: "/v1"})
	etcd.Reject(discovery.Problem{Key: "/lb/services/web/d", Code: discovery.CodeBadURL, Detail: "no port in " + hostile})
	etcd.Synced()
	w.catalog.Sink("consul").Failed(errors.New("connection refused"))
	w.await("what etcd announces", func(t *routing.Table) bool { return t.Service("web") != nil && t.Service("api") != nil })
}

// await waits for a table of which the condition holds.
func (w *world) await(what string, holds func(*routing.Table) bool) {
	w.t.Helper()
	timeout := time.After(10 * time.Second)
	for !holds(w.catalog.Table()) {
		select {
		case <-w.published:
		case <-timeout:
			w.t.Fatalf("the table does not show %s after 10 s", what)
		}
	}
}

// backend is the table's backend of that service, nil if there is none.
func find(t *routing.Table, service, id string) *routing.Backend {
	if s := t.Service(service); s != nil {
		return s.Backend(id)
	}
	return nil
}

// do sends a request as a program on this machine would, with the token if there is one.
func (w *world) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:9901"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// get reads JSON.
func (w *world) get(path string, v any) {
	w.t.Helper()
	rec := w.do(http.MethodGet, path, "")
	if rec.Code != http.StatusOK {
		w.t.Fatalf("GET %s is answered %d: %s", path, rec.Code, rec.Body)
	}
	if got := rec.Header().Get("Content-Type"); got != "application/json" {
		w.t.Errorf("GET %s is answered with %s", path, got)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), v); err != nil {
		w.t.Fatalf("GET %s: %v in %s", path, err, rec.Body)
	}
}

// expectError requires an answer with that status and a JSON error that has the part in it.
func expectError(t *testing.T, rec *httptest.ResponseRecorder, status int, part string) {
	t.Helper()
	var e struct{ Error string }
	if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Error == "" {
		t.Errorf("the answer %d is no JSON error: %s", rec.Code, rec.Body)
	}
	if rec.Code != status || !strings.Contains(e.Error, part) {
		t.Errorf("the answer is %d %q, want %d and %q in it", rec.Code, e.Error, status, part)
	}
}
