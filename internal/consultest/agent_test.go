package consultest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnAgentTakesWritesFromTheStart(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{}).Client()
	if err := c.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80}); err != nil {
		t.Fatal(err)
	}
	services, _, err := c.Catalog().Services(nil)
	if err != nil || len(services) != 2 {
		t.Errorf("services are %v (%v), want consul and web", services, err)
	}
}

func TestARestartedAgentIsEmptyOnTheSameAddress(t *testing.T) {
	t.Parallel()
	a := Start(t, Options{})
	c := a.Client()
	if err := c.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80}); err != nil {
		t.Fatal(err)
	}
	a.Restart()
	services, _, err := c.Catalog().Services(nil)
	if err != nil || len(services) != 1 {
		t.Errorf("services are %v (%v), want consul alone", services, err)
	}
}

func TestAccessControlDeniesWithoutTheToken(t *testing.T) {
	t.Parallel()
	a := Start(t, Options{ACL: true})
	if err := a.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80}); err != nil {
		t.Fatal(err)
	}
	c, done := (&Agent{t: t, HTTPAddr: a.HTTPAddr}).client()
	defer done()
	if err := c.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "x", Port: 80}); err == nil {
		t.Error("a registration without a token was taken")
	}
}

func TestAFrozenAgentAnswersNothingUntilThawed(t *testing.T) {
	t.Parallel()
	a := Start(t, Options{})
	c := a.Client()
	a.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := c.Catalog().Services((&api.QueryOptions{}).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen agent answered (%v)", err)
	}
	a.Thaw()
	if _, _, err := c.Catalog().Services(nil); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}
