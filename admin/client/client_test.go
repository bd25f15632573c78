package client_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vietddude/load-balancer/admin"
	"github.com/vietddude/load-balancer/admin/client"
	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve is a balancer's admin over a catalog with the backends web/a and web/b.
func serve(t *testing.T) (*client.Client, *routing.Catalog) {
	t.Helper()
	catalog := routing.NewCatalog(routing.Options{Sources: []string{"etcd"}, Resolve: func(string, []routing.PolicyText) (routing.Policy, []discovery.Problem) {
		return routing.Policy{Algorithm: "round-robin"}, nil
	}})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		catalog.Run(ctx)
	}()
	s := httptest.NewServer(admin.New(admin.Options{Catalog: catalog, Token: "sesame-open"}))
	t.Cleanup(func() {
		s.Close()
		stop()
		<-ended
	})
	sink := catalog.Sink("etcd")
	sink.Service(discovery.Service{Name: "web", Backends: []discovery.Backend{
		{ID: "a", URL: "http://10.0.0.1:80", Weight: 1}, {ID: "b", URL: "http://10.0.0.2:80", Weight: 1},
	}})
	sink.Synced()
	c := &client.Client{Address: strings.TrimPrefix(s.URL, "http://"), Token: "sesame-open"}
	await(t, c, "web/a ready 1", "web/b ready 1")
	return c, catalog
}

// await waits until the backends are as told.
func await(t *testing.T, c *client.Client, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var b strings.Builder
		backends, err := c.Backends(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range backends {
			got = append(got, strings.Join([]string{b.Service + "/" + b.ID, b.State, string(rune('0' + b.Weight))}, " "))
		}
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			_ = client.ReportBackends(&b, backends)
			t.Fatalf("the backends are\n%s, want %v", b.String(), want)
		}
	}
}

func TestABackendIsSteeredAsAnOperatorAsks(t *testing.T) {
	c, _ := serve(t)
	ctx := t.Context()
	must := func(ch client.Change, err error) {
		t.Helper()
		if err != nil || ch.Note != "" {
			t.Errorf("%+v %v", ch, err)
		}
	}
	must(c.SetDraining(ctx, "web", "a", true))
	await(t, c, "web/a draining 1", "web/b ready 1")
	must(c.SetDisabled(ctx, "web", "a", true))
	await(t, c, "web/a disabled 1", "web/b ready 1")
	five := 5
	must(c.SetWeight(ctx, "web", "b", &five))
	must(c.Add(ctx, "web", "c", "10.0.0.3:80", 2, "z"))
	await(t, c, "web/a disabled 1", "web/b ready 5", "web/c ready 2")
	overrides, kept, err := c.Overrides(ctx)
	var text strings.Builder
	_ = client.ReportOverrides(&text, overrides, kept)
	for _, part := range []string{"this balancer alone", "web/a  draining, disabled", "web/b  weight 5", "web/c  added http://10.0.0.3:80 weight 2"} {
		if err != nil || !strings.Contains(text.String(), part) {
			t.Errorf("no %q in\n%s (%v)", part, text.String(), err)
		}
	}
	must(c.Remove(ctx, "web", "b"))
	await(t, c, "web/a disabled 1", "web/c ready 2")
	must(c.Clear(ctx, "web", "b"))
	await(t, c, "web/a disabled 1", "web/b ready 1", "web/c ready 2")
	must(c.ClearAll(ctx))
	await(t, c, "web/a ready 1", "web/b ready 1")
}

func TestRefusalsAreToldInTheWordsOfTheAPI(t *testing.T) {
	c, _ := serve(t)
	if _, err := c.SetDraining(t.Context(), "web", "nobody", true); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("%v", err)
	}
	if _, err := c.Backends(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("%v", err)
	}
	if _, err := (&client.Client{Address: c.Address}).ClearAll(t.Context()); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("%v", err)
	}
	if _, err := (&client.Client{Address: "127.0.0.1:1"}).ClearAll(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}
