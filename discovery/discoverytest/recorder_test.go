package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// spy is a testing.TB that keeps what a Recorder reports instead of failing.
type spy struct {
	testing.TB
	errors  []string
	cleanup []func()
}

func (s *spy) Helper()                   {}
func (s *spy) Cleanup(f func())          { s.cleanup = append(s.cleanup, f) }
func (s *spy) Error(a ...any)            { s.errors = append(s.errors, fmt.Sprint(a...)) }
func (s *spy) Errorf(f string, a ...any) { s.errors = append(s.errors, fmt.Sprintf(f, a...)) }
func (s *spy) Fatalf(f string, a ...any) { s.Errorf(f, a...); panic(s) }

// reported runs calls against a Recorder and returns what it reported.
func reported(t *testing.T, calls func(*Recorder)) string {
	s := &spy{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(s) {
				panic(p)
			}
		}()
		calls(NewRecorder(s))
	}()
	for _, f := range s.cleanup {
		f()
	}
	return strings.Join(s.errors, "\n")
}

func TestTheRecorderReportsBreaches(t *testing.T) {
	seen := time.Now()
	service := func(change func(*discovery.Service)) func(*Recorder) {
		return func(r *Recorder) {
			s := Service("web", b1, b2)
			change(&s)
			r.Service(s)
		}
	}
	for _, c := range []struct {
		name  string
		calls func(*Recorder)
		want  string
	}{
		{"nothing", service(func(*discovery.Service) {}), ""},
		{"bad name", service(func(s *discovery.Service) { s.Name = "../x" }), "not allowed"},
		{"unsorted", service(func(s *discovery.Service) { s.Backends = []discovery.Backend{b2, b1} }), "ascending"},
		{"doubled", service(func(s *discovery.Service) { s.Backends = []discovery.Backend{b1, b1} }), "ascending"},
		{"url", service(func(s *discovery.Service) { s.Backends[0].URL = "10.0.0.1:80" }), "not normalised"},
		{"no url", service(func(s *discovery.Service) { s.Backends[0].URL = "" }), "empty"},
		{"id", service(func(s *discovery.Service) { s.Backends[0].ID = "" }), "id is empty"},
		{"weight", service(func(s *discovery.Service) { s.Backends[1].Weight = -1 }), "weight"},
		{"not seen", service(func(s *discovery.Service) { s.Seen = time.Time{} }), "Seen"},
		{"foreign route", service(func(s *discovery.Service) { s.Routes = []discovery.Route{{Name: "r", Service: "api"}} }), "leads to"},
		{"reason", func(r *Recorder) { r.Resync("because") }, "reason"},
		{"no error", func(r *Recorder) { r.Failed(nil) }, "reason"},
		{"code", func(r *Recorder) { r.Reject(discovery.Problem{Key: "k", Code: "x", Detail: "d"}) }, "code"},
		{"no key", func(r *Recorder) { r.Reject(discovery.Problem{Code: discovery.CodeBadKey, Detail: "d"}) }, "key is empty"},
		{"no detail", func(r *Recorder) { r.Reject(discovery.Problem{Key: "k", Code: discovery.CodeBadKey}) }, "detail"},
		{"route", func(r *Recorder) { r.Route(discovery.Route{Name: "r"}) }, "service"},
		{"changed afterwards", func(r *Recorder) {
			s := discovery.Service{Name: "web", Backends: []discovery.Backend{b1}, Seen: seen}
			r.Service(s)
			s.Backends[0].Weight = 9
		}, "after it was handed over"},
		{"overlap", func(r *Recorder) { r.take("outer", func(*State) { r.busy.Add(1) }); r.Synced() }, "overlaps"},
		{"await", func(r *Recorder) {
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(errors.New("enough"))
			r.Await(ctx, func(State) bool { return false })
		}, "enough"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reported(t, c.calls)
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("reported %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestSyncedPrunesWhatTheResyncDidNotName(t *testing.T) {
	r := NewRecorder(t)
	r.Resync("start")
	r.Service(Service("web", b1))
	r.Service(Service("api", b1))
	r.Route(discovery.Route{Name: "r", Service: "web"})
	r.Reject(discovery.Problem{Key: "k", Code: discovery.CodeBadKey, Detail: "d"})
	r.Synced()
	r.Resync("reconnect")
	r.Service(Service("web", b2))
	if s := r.State(); len(s.Services) != 2 || len(s.Routes) != 1 || len(s.Problems) != 1 {
		t.Errorf("nothing may go before Synced:\n%v", s)
	}
	r.Synced()
	if s := r.State(); len(s.Services) != 1 || !has("web", b2)(s) || len(s.Routes) != 0 || len(s.Problems) != 0 {
		t.Errorf("only web with b2 must be left:\n%v", s)
	}
	r.Synced()
	if s := r.State(); len(s.Services) != 1 {
		t.Errorf("a Synced without Resync must prune nothing:\n%v", s)
	}
}
