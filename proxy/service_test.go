package proxy

import (
	"testing"

	"github.com/vietddude/load-balancer/affinity"
	"github.com/vietddude/load-balancer/discovery"
)

func TestServicesThatAreGoneAreForgotten(t *testing.T) {
	p := defaultPolicy()
	p.Affinity = affinity.Options{Type: affinity.Cookie, Store: affinity.StoreMemory}
	l := newLab(t, p)
	l.announce("web", []string{named(t, "web")})
	l.announce("old", []string{named(t, "old")}, discovery.Route{Name: "old", Path: "/old", Service: "old"})
	l.get("/")
	l.get("/old")
	kept := l.proxy.service(l.catalog.Table(), l.service("web"))
	if n := len(l.proxy.opts.Sessions.Active()); n != 2 {
		t.Fatalf("%d services have sessions, want 2", n)
	}
	// Stands for the hour after which the catalog forgets: a table that never knew the service.
	other := newLab(t, p)
	other.announce("web", []string{named(t, "web")})
	l.proxy.opts.Table = other.catalog.Table
	l.proxy.sweep()
	if n := l.proxy.serviceCount.Load(); n != 0 {
		t.Errorf("%d services are kept, none of which is in the table", n)
	}
	if a := l.proxy.opts.Sessions.Active(); len(a) != 1 || a[0].Service != "web" {
		t.Errorf("sessions of %v are kept, want those of web, which is in the table by that name", a)
	}
	l.proxy.opts.Table = l.catalog.Table
	if l.proxy.service(l.catalog.Table(), l.service("web")) == kept {
		t.Error("the service was not forgotten")
	}
}
