package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
	"github.com/vietddude/load-balancer/internal/faultnet"
)

func TestMain(m *testing.M) {
	// The members of a cluster talk to each other by net/http, which the source does not use, and leave connections
	// behind when they are stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
}

// store is an etcd server, a client of it that nothing disturbs, and a network between it and sources that can be
// disturbed.
type store struct {
	*clientv3.Client
	server *embedded.Server
	net    *faultnet.Proxy
	ctx    context.Context
}

func newStore(t testing.TB, o embedded.Options) *store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	server, err := embedded.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &store{server: server, ctx: ctx}
	t.Cleanup(func() { s.server.Close() })
	s.net, err = faultnet.New(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.net.Close)
	s.Client = s.connect(t, clientv3.Config{})
	return s
}

// addr is where the server listens.
func (s *store) addr() string {
	_, addr, _ := strings.Cut(s.server.Endpoint(), "://")
	return addr
}

// connect returns another client; the configuration may hold a login.
func (s *store) connect(t testing.TB, c clientv3.Config) *clientv3.Client {
	t.Helper()
	c.Endpoints, c.Logger = []string{s.server.Endpoint()}, zap.NewNop()
	client, err := clientv3.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func (s *store) put(t testing.TB, key, value string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := s.Put(s.ctx, key, value, opts...); err != nil {
		t.Fatal(err)
	}
}

func (s *store) del(t testing.TB, key string) {
	t.Helper()
	if _, err := s.Delete(s.ctx, key); err != nil {
		t.Fatal(err)
	}
}

// source returns a source behind the network. What the options leave out is set for tests.
func (s *store) source(t testing.TB, o Options) *Source {
	t.Helper()
	o.Endpoints = []string{s.net.Addr()}
	if o.Liveness == 0 {
		o.Liveness = time.Second
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = time.Second
	}
	if o.Decoder == nil {
		o.Decoder = decoder{}
	}
	src, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// follow starts a source and waits until it is in step.
func (s *store) follow(t testing.TB, o Options) *discoverytest.Recorder {
	t.Helper()
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, s.source(t, o), rec)
	rec.AwaitInStep(s.ctx)
	return rec
}

// restart replaces the server with an empty one at the same place.
func (s *store) restart(t testing.TB) {
	t.Helper()
	s.server.Close()
	server, err := embedded.Start(s.ctx, embedded.Options{ClientAddr: s.addr()})
	if err != nil {
		t.Fatal(err)
	}
	s.server = server
	s.Client = s.connect(t, clientv3.Config{}) // the old one waits before it connects again
}

// compact forces the store to forget all history.
func (s *store) compact(t testing.TB) {
	t.Helper()
	r, err := s.Get(s.ctx, "x")
	if err == nil {
		_, err = s.Compact(s.ctx, r.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// decoder reads routes as JSON objects of the same fields, and takes for a policy what is not "bad".
type decoder struct{}

func (decoder) Route(name string, text []byte) (r discovery.Route, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	r.Name = name
	return r, nil
}

func (decoder) CheckPolicy(text []byte) error {
	if string(text) == "bad" {
		return errors.New("no such algorithm")
	}
	return nil
}

// harness is a store for the conformance suite.
type harness struct{ *store }

func (h harness) Source(t *testing.T) discovery.Source { return h.source(t, Options{}) }

func key(service, id string) string { return "/lb/services/" + service + "/" + id }

func (h harness) write(t *testing.T, service string, b discovery.Backend, state string) {
	h.put(t, key(service, b.ID), fmt.Sprintf(`{"url":%q,"weight":%d,"state":%q}`, b.URL, b.Weight, state))
}

func (h harness) Put(t *testing.T, service string, b discovery.Backend) { h.write(t, service, b, "up") }
func (h harness) Drain(t *testing.T, service string, b discovery.Backend) {
	h.write(t, service, b, "drain")
}
func (h harness) Remove(t *testing.T, service, id string) { h.del(t, key(service, id)) }

func (h harness) Spoil(t *testing.T, service, id string) string {
	h.put(t, key(service, id), `{"url": "http://10.0`)
	return key(service, id)
}

func (h harness) KeepsLast() bool     { return true }
func (h harness) Break(*testing.T)    { h.net.Cut() }
func (h harness) Heal(t *testing.T)   { heal(t, h.net) }
func (h harness) Forget(t *testing.T) { h.restart(t) }

func heal(t testing.TB, p *faultnet.Proxy) {
	t.Helper()
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
}

func (h harness) PutPolicy(t *testing.T, service string, policy []byte) {
	if policy == nil {
		h.del(t, "/lb/policies/"+service)
		return
	}
	h.put(t, "/lb/policies/"+service, string(policy))
}

func (h harness) Policies() (a, b, bad []byte) {
	return []byte("algorithm: random"), []byte("algorithm: ewma"), []byte("bad")
}

func (h harness) PutRoute(t *testing.T, r discovery.Route) {
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	h.put(t, "/lb/routes/"+r.Name, string(text))
}

func (h harness) RemoveRoute(t *testing.T, name string) { h.del(t, "/lb/routes/"+name) }

func TestTheSourceConforms(t *testing.T) {
	discoverytest.Conformance(t, func(t *testing.T) discoverytest.Harness {
		return harness{newStore(t, embedded.Options{})}
	})
}
