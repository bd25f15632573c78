package containers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/integration/programs"
)

func TestEtcdKeepsItsKeysWhenKilledAndStartedAgain(t *testing.T) {
	etcd := New(t).Etcd()
	put := dialEtcd(t, etcd)
	if _, err := put.Put(t.Context(), "/key", "value"); err != nil {
		t.Fatal(err)
	}
	etcd.Kill()
	etcd.Start()
	got, err := dialEtcd(t, etcd).Get(t.Context(), "/key")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "value" {
		t.Errorf("got %v, want the value that was put before", got.Kvs)
	}
}

func TestIsolatedContainerIsReachedByTheTestAlone(t *testing.T) {
	lab := New(t)
	etcd, consul := lab.Etcd(), lab.Consul()
	if err := askThrough(t, consul, "http://etcd:"+EtcdPort+"/health"); err != nil {
		t.Fatalf("before: %v", err)
	}
	etcd.Isolate()
	etcd.Kill()
	etcd.Start()
	if _, err := dialEtcd(t, etcd).Get(t.Context(), "/key"); err != nil {
		t.Errorf("the test does not reach it: %v", err)
	}
	if err := askThrough(t, consul, "http://etcd:"+EtcdPort+"/health"); err == nil {
		t.Error("another container reaches it")
	}
	etcd.Rejoin()
	if err := askThrough(t, consul, "http://etcd:"+EtcdPort+"/health"); err != nil {
		t.Errorf("after: %v", err)
	}
}

// askThrough reports whether a URL answers a Consul agent, which is asked to check it.
func askThrough(t *testing.T, consul *Container, url string) error {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: consul.Addr(ConsulPort)})
	if err != nil {
		t.Fatal(err)
	}
	agent := c.Agent()
	err = agent.CheckRegister(&api.AgentCheckRegistration{
		ID: "url", Name: "url",
		AgentServiceCheck: api.AgentServiceCheck{HTTP: url, Interval: "100ms", Timeout: "2s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := agent.CheckDeregister("url"); err != nil {
			t.Fatal(err)
		}
	}()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		checks, err := agent.Checks()
		if err != nil {
			t.Fatal(err)
		}
		switch check := checks["url"]; {
		case check != nil && check.Status == api.HealthPassing:
			return nil
		case check != nil && check.Output != "":
			return errors.New(check.Output)
		}
	}
	return errors.New("the agent did not check in time")
}

func TestPausedContainerAnswersNothingUntilUnpaused(t *testing.T) {
	consul := New(t).Consul()
	client := http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + consul.Addr(ConsulPort) + "/v1/status/leader"
	consul.Pause()
	if resp, err := client.Get(url); err == nil {
		_ = resp.Body.Close()
		t.Errorf("answered %s while paused", resp.Status)
	}
	consul.Unpause()
	client.Timeout = 10 * time.Second
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("status %s, body error %v", resp.Status, err)
	}
}

func TestEtcdUnderTestIsTheVersionTheClientIsMadeFor(t *testing.T) {
	const module = "go.etcd.io/etcd/server/v3"
	built, err := moduleVersion("integration/tools/etcd/go.mod", module)
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := moduleVersion("go.mod", module)
	if err != nil {
		t.Fatal(err)
	}
	if built != embedded {
		t.Errorf("integration/tools/etcd builds etcd %s, go.mod requires %s; keep them equal", built, embedded)
	}
}

func TestOfficialImagesAreThoseOfTheComposeFileUnlessSet(t *testing.T) {
	if name := official("consul")(); !strings.Contains(name, "/consul:") {
		t.Errorf("the image of consul is %q, want the one in docker-compose.yml", name)
	}
	if name := official("etcd")(); name != "" {
		t.Errorf("the image of etcd is %q, want none: docker-compose.yml builds it", name)
	}
	t.Setenv("LBTEST_ETCD_IMAGE", "example/etcd:1")
	if name := official("etcd")(); name != "example/etcd:1" {
		t.Errorf("the image of etcd is %q, want the one that is set", name)
	}
}

func dialEtcd(t *testing.T, etcd *Container) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Addr(EtcdPort)}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// moduleVersion returns the version of a module that a go.mod of the tree requires, without its v.
func moduleVersion(gomod, module string) (string, error) {
	root, err := programs.Root()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, gomod))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(module) + ` v(\S+)`).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s does not require %s", gomod, module)
	}
	return string(m[1]), nil
}
