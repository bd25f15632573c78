package discoverytest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore makes a store of Fakes, so that the suite and the Fake check each other. Each source has its own Fake;
// what is done to the store is done to each, and once more to those that come later.
type fakeStore struct {
	fakes []*Fake
	done  []func(*Fake)
	state map[string]discovery.Service
}

func newFakeStore() *fakeStore { return &fakeStore{state: map[string]discovery.Service{}} }

func (s *fakeStore) do(f func(*Fake)) {
	s.done = append(s.done, f)
	for _, fake := range s.fakes {
		f(fake)
	}
}

func (s *fakeStore) Source(*testing.T) discovery.Source {
	fake := NewFake("fake")
	for _, f := range s.done {
		f(fake)
	}
	s.fakes = append(s.fakes, fake)
	return fake
}

// edit replaces the backend of that ID, or removes it.
func (s *fakeStore) edit(service, id string, b *discovery.Backend) {
	svc := s.state[service]
	svc.Name = service
	svc.Backends = slices.DeleteFunc(slices.Clone(svc.Backends), func(b discovery.Backend) bool { return b.ID == id })
	svc.Stale = slices.DeleteFunc(slices.Clone(svc.Stale), func(m discovery.Stale) bool { return m.ID == id })
	if b != nil {
		svc.Backends = append(svc.Backends, *b)
	}
	s.state[service] = svc
	s.do(func(f *Fake) { f.Announce(svc) })
}

func (s *fakeStore) Put(_ *testing.T, service string, b discovery.Backend) {
	s.do(func(f *Fake) { f.Accept(service + "/" + b.ID) })
	s.edit(service, b.ID, &b)
}

func (s *fakeStore) Remove(_ *testing.T, service, id string) {
	s.do(func(f *Fake) { f.Accept(service + "/" + id) })
	s.edit(service, id, nil)
}

func (s *fakeStore) Drain(_ *testing.T, service string, b discovery.Backend) {
	b.Draining = true
	s.edit(service, b.ID, &b)
}

func (s *fakeStore) Spoil(_ *testing.T, service, id string) string {
	p := discovery.Problem{Key: service + "/" + id, Code: discovery.CodeBadValue, Detail: "noise"}
	s.do(func(f *Fake) { f.Reject(p) })
	svc := s.state[service]
	svc.Name, svc.Stale = service, append(slices.Clone(svc.Stale), discovery.Stale{
		Part: discovery.StaleBackend, ID: id, Reason: p.Code, Detail: p.Detail,
	})
	s.state[service] = svc
	s.do(func(f *Fake) { f.Announce(svc) })
	return p.Key
}

func (s *fakeStore) KeepsLast() bool { return true }

func (s *fakeStore) Break(*testing.T) { s.do(func(f *Fake) { f.Fail(errors.New("away")) }) }
func (s *fakeStore) Heal(*testing.T)  { s.do(func(f *Fake) { f.Resync("start") }) }

func (s *fakeStore) Forget(*testing.T) {
	s.do(func(f *Fake) {
		for name := range s.state {
			f.Lose(name)
		}
		f.Resync("index-reset")
	})
	clear(s.state)
}

func (s *fakeStore) PutPolicy(_ *testing.T, service string, policy []byte) {
	if string(policy) == "bad" {
		s.do(func(f *Fake) {
			f.Reject(discovery.Problem{Key: "policy", Code: discovery.CodeBadPolicy, Detail: "bad"})
		})
		return
	}
	svc := s.state[service]
	svc.Name, svc.Policy = service, policy
	s.state[service] = svc
	s.do(func(f *Fake) { f.Accept("policy"); f.Announce(svc) })
}

func (s *fakeStore) Policies() (a, b, bad []byte) { return []byte("a"), []byte("b"), []byte("bad") }

func (s *fakeStore) PutRoute(_ *testing.T, r discovery.Route) { s.do(func(f *Fake) { f.Route(r) }) }
func (s *fakeStore) RemoveRoute(_ *testing.T, name string) {
	s.do(func(f *Fake) { f.RemoveRoute(name) })
}

func TestTheFakeConforms(t *testing.T) {
	Conformance(t, func(*testing.T) Harness { return newFakeStore() })
}

func TestABrokenOffResyncPrunesNothingUntilAWholeOne(t *testing.T) {
	f, rec := NewFake("fake"), NewRecorder(t)
	f.Announce(Service("api", b1))
	f.Announce(Service("web", b2))
	Start(t, f, rec)
	rec.AwaitInStep(t.Context())
	f.Lose("api")
	f.BreakOff("reconnect", 1, errors.New("cut"))
	if s := rec.State(); s.InStep || len(s.Services) != 2 || s.Err == nil {
		t.Errorf("a broken off resync must leave both services and fail:\n%v", s)
	}
	f.Resync("reconnect")
	if s := rec.State(); !s.InStep || len(s.Services) != 1 {
		t.Errorf("a whole resync must leave web alone:\n%v", s)
	}
}

func TestStopIsTheErrorOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, never := NewFake("fake"), errors.New("no such thing")
		f.Stop(never)
		if err := f.Run(context.Background(), NewRecorder(t)); err != never {
			t.Errorf("Run returned %v, want %v", err, never)
		}
	})
}
