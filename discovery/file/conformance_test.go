package file_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/file"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	discoverytest.Conformance(t, func(t *testing.T) discoverytest.Harness {
		h := &harness{path: filepath.Join(t.TempDir(), "lb.json")}
		h.save(t)
		return h
	})
}

// harness keeps a store's content and writes all of it to the file at each change.
type harness struct {
	path   string
	c      content
	broken bool
}

func (h *harness) Source(t *testing.T) discovery.Source {
	t.Helper()
	s, err := file.New(file.Options{Path: h.path, Parse: parse})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) save(t *testing.T) {
	t.Helper()
	if !h.broken {
		write(t, h.path, h.c)
	}
}

func (h *harness) service(name string) *discovery.Service {
	i := slices.IndexFunc(h.c.Services, func(s discovery.Service) bool { return s.Name == name })
	if i < 0 {
		h.c.Services = append(h.c.Services, discovery.Service{Name: name})
		i = len(h.c.Services) - 1
	}
	return &h.c.Services[i]
}

func (h *harness) drop(service, id string) {
	s := h.service(service)
	s.Backends = slices.DeleteFunc(s.Backends, func(b discovery.Backend) bool { return b.ID == id })
	h.c.Problems = slices.DeleteFunc(h.c.Problems, func(p discovery.Problem) bool { return p.Key == key(service, id) })
	h.c.Services = slices.DeleteFunc(h.c.Services, discovery.Service.Empty)
}

func key(service, id string) string { return "lb.json:" + service + "/" + id }

func (h *harness) Put(t *testing.T, service string, b discovery.Backend) {
	h.drop(service, b.ID)
	s := h.service(service)
	s.Backends = append(s.Backends, b)
	slices.SortFunc(s.Backends, func(a, b discovery.Backend) int { return strings.Compare(a.ID, b.ID) })
	h.save(t)
}

func (h *harness) Remove(t *testing.T, service, id string) {
	h.drop(service, id)
	h.save(t)
}

func (h *harness) Drain(t *testing.T, service string, b discovery.Backend) {
	b.Draining = true
	h.Put(t, service, b)
}

func (h *harness) Spoil(t *testing.T, service, id string) string {
	h.drop(service, id)
	p := discovery.Problem{Key: key(service, id), Code: discovery.CodeBadURL, Detail: "no port"}
	h.c.Problems = append(h.c.Problems, p)
	h.save(t)
	return p.Key
}

func (h *harness) KeepsLast() bool { return false }

func (h *harness) Break(t *testing.T) {
	if err := os.Remove(h.path); err != nil {
		t.Fatal(err)
	}
	h.broken = true
}

func (h *harness) Heal(t *testing.T) {
	h.broken = false
	h.save(t)
}

func (h *harness) Forget(t *testing.T) {
	h.c = content{}
	h.save(t)
}

func (h *harness) PutRoute(t *testing.T, r discovery.Route) {
	h.RemoveRoute(t, r.Name)
	h.c.Routes = append(h.c.Routes, r)
	h.save(t)
}

func (h *harness) RemoveRoute(t *testing.T, name string) {
	h.c.Routes = slices.DeleteFunc(h.c.Routes, func(r discovery.Route) bool { return r.Name == name })
	h.save(t)
}
