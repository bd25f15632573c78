package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/internal/testcert"
	"github.com/vietddude/load-balancer/server"
)

// announcement writes a file for a file source, with backends of the service default, and returns its URL.
func announcement(t *testing.T, backends ...announced) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "announced.yaml")
	text := "services: {default: {backends: ["
	for _, b := range backends {
		text += fmt.Sprintf("{id: %s, url: %q},", b.id, b.url)
	}
	if err := os.WriteFile(path, []byte(text+"]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + path
}

// announced is a backend under an ID of an announcement.
type announced struct{ id, url string }

func (b *testBackend) as(id string) announced { return announced{id, b.url()} }

// makeBalancer makes a balancer that is not run; it is closed with the test.
func makeBalancer(t *testing.T, o server.Options, set func(*config.Config)) (*server.Server, error) {
	t.Helper()
	o.Override = func(c *config.Config) error {
		c.Listen[0].Address, c.Listen[0].Port, c.Admin.Address = "127.0.0.1", 0, "127.0.0.1:0"
		set(c)
		return nil
	}
	s, err := server.New(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func listed(c *config.Config) {
	c.Backends = []config.Backend{{ID: "a", URL: "http://127.0.0.1:1", Weight: 1}}
}

func TestAReplacedSourceServesOnUntilTheNextIsInStep(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	first, missing := announcement(t, a.as("a")), "file://"+filepath.Join(t.TempDir(), "missing.yaml")
	lb := startBalancer(t, "discovery: ["+first+"]\n", nil)
	lb.ready()
	lb.write("discovery: [" + missing + "]\n")
	lb.awaitLog("configuration reloaded")
	if got := lb.spread(3); got["a"] != 3 {
		t.Errorf("spread %v, want the former source's backend until the new one is in step", got)
	}
	if code, body := lb.get(lb.admin() + "/readyz"); code != 200 || !strings.Contains(body, "warn source file") {
		t.Errorf("/readyz does not say that the source is out of step: %d\n%s", code, body)
	}
	lb.write("discovery: [" + missing + ", " + announcement(t, b.as("b")) + "]\n")
	await(t, "the source that was added is merged", func() bool { return lb.spread(4)["b"] == 2 })
	lb.write("discovery: [" + announcement(t, b.as("b")) + "]\n")
	await(t, "what the sources announced that are gone is gone", func() bool { return lb.spread(4)["b"] == 4 })
}

func TestPoliciesOfTheFileAreAppliedToWhatIsDiscovered(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	url := announcement(t, a.as("a"), b.as("b"))
	lb := startBalancer(t, "discovery: ["+url+"]\n", nil)
	lb.ready()
	cookies := func() int {
		resp, err := lb.client.Get(lb.url() + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return len(resp.Cookies())
	}
	if n := cookies(); n != 0 {
		t.Fatalf("%d cookies without sticky sessions", n)
	}
	lb.write("discovery: [" + url + "]\nservices: {default: {sticky_session: {enabled: true}}}\n")
	await(t, "the answers set a cookie", func() bool { return cookies() == 1 })
}

func TestARefusedReloadStartsNoEtcd(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{}")
	s, err := makeBalancer(t, server.Options{ConfigFile: file, EtcdAddress: "127.0.0.1:0"}, listed)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`discovery: [embedded, "consul://u:p@h"]`,
		"discovery: [embedded]\nlisten: {port: 0, tls: {cert_file: " + dir + "/none.pem, key_file: " + dir + "/none.pem}}",
	} {
		write(text)
		if err := s.Reload(); err == nil {
			t.Errorf("%s was taken", text)
		}
		if e := s.EtcdEndpoint(); e != "" {
			t.Errorf("%s was refused, and an etcd serves at %s", text, e)
		}
	}
	write("discovery: [embedded]")
	if err := s.Reload(); err != nil || s.EtcdEndpoint() == "" {
		t.Errorf("the mended file: %v, etcd at %q", err, s.EtcdEndpoint())
	}
}

func TestAllSourcesThatCannotBeAreToldAtOnce(t *testing.T) {
	_, err := makeBalancer(t, server.Options{}, func(c *config.Config) {
		c.Discovery = []string{"consul://u:hunter2@h", "etcd://u:hunter2@h?x=1", "file:///", "embedded://x"}
	})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("got %v, want an error without the password", err)
	}
	for _, word := range []string{"consul: the URL has a password", `etcd: the URL's option "x"`, "file: the URL names no file"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not tell of %s\n%v", word, err)
		}
	}
}

func TestCertificatesFollowTheirListenerWhateverItsPlace(t *testing.T) {
	a := startBackend(t, "a")
	first, second, third := testcert.Write(t, t.TempDir(), "127.0.0.1"), testcert.Write(t, t.TempDir(), "127.0.0.1"), testcert.Write(t, t.TempDir(), "127.0.0.1")
	listener := func(address string, f testcert.Files) string {
		return fmt.Sprintf("{address: %s, port: 0, tls: {cert_file: %q, key_file: %q}}", address, f.CertFile, f.KeyFile)
	}
	one, two := listener("127.0.0.1", first), listener("127.0.0.2", second)
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(listeners ...string) {
		t.Helper()
		text := list(a) + "listen: [" + strings.Join(listeners, ", ") + "]\nadmin: {address: \"127.0.0.1:0\"}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(one, two)
	s, err := server.New(t.Context(), server.Options{ConfigFile: file})
	if err != nil {
		t.Skipf("127.0.0.2 is no address of this machine: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	shown := func(addr net.Addr, want testcert.Files) bool {
		c, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true}) // it is compared
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Equal(want.Leaf)
	}
	at := s.Addrs().Listeners
	if !shown(at[0], first) || !shown(at[1], second) {
		t.Fatal("the listeners do not begin with their own certificates")
	}
	write(two, listener("127.0.0.1", third))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if !shown(at[0], third) {
		t.Error("the first listener does not show its new certificate")
	}
	if !shown(at[1], second) {
		t.Error("the second listener shows a certificate that is another's")
	}
}

func TestAChangeThatWasTakenBackNeedsNoRestart(t *testing.T) {
	a := startBackend(t, "a")
	lb := startBalancer(t, list(a), nil)
	lb.ready()
	lb.write(list(a) + "limits: {head_bytes: 20000}\n")
	lb.awaitLog("only a restart can follow")
	lb.write(list(a))
	await(t, "the file is taken again", func() bool { return strings.Count(lb.logs.String(), "configuration reloaded") == 2 })
	if n := strings.Count(lb.logs.String(), "only a restart can follow"); n != 1 {
		t.Errorf("%d changes are said to need a restart, want the first alone", n)
	}
}

func TestNothingBeginsAfterClose(t *testing.T) {
	s, err := makeBalancer(t, server.Options{EtcdAddress: "127.0.0.1:0"}, func(c *config.Config) {
		c.Discovery = []string{"embedded", "consul://127.0.0.1:1"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Reload() == nil {
		t.Error("a balancer that has ended was reloaded")
	}
	if s.Run(t.Context()) == nil {
		t.Error("a balancer that has ended was run")
	}
	if e := s.EtcdEndpoint(); e != "" {
		t.Errorf("an etcd serves at %s", e)
	}
}

func TestCloseEndsRun(t *testing.T) {
	s, err := makeBalancer(t, server.Options{}, listed)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	await(t, "the table stands", func() bool { return s.Table().Generation() > 0 })
	if err := s.Close(); err != nil {
		t.Errorf("Close returned %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestReloadsAnyTimeBetweenNewAndTheEndLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("discovery: [\"consul://127.0.0.1:1\"]\naccess_log: {path: "+dir+"/access.log}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		s, err := makeBalancer(t, server.Options{ConfigFile: file}, listed)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(); err != nil {
			t.Fatalf("before Run: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("Run returned %v", err)
			}
		})
		for range 3 {
			wg.Go(func() { _ = s.Reload() })
		}
		wg.Go(cancel)
		wg.Wait()
	}
}

func TestANewThatFailsHalfWayLeavesNothingBehind(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var free string
	_, err = makeBalancer(t, server.Options{EtcdAddress: "127.0.0.1:0"}, func(c *config.Config) {
		listed(c)
		c.Discovery = []string{"embedded"}
		c.AccessLog.Path = filepath.Join(t.TempDir(), "access.log")
		probe, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		free = probe.Addr().String()
		_ = probe.Close()
		c.Listen[0].Port = probe.Addr().(*net.TCPAddr).Port
		c.Admin.Address = ln.Addr().String() // the last to be opened
	})
	if err == nil || !strings.Contains(err.Error(), "admin") {
		t.Fatalf("got %v, want an error of the admin's address", err)
	}
	again, err := net.Listen("tcp", free)
	if err != nil {
		t.Fatalf("the listener is still open: %v", err)
	}
	_ = again.Close()
}

func TestTheOrderOfSourcesDecidesAndMayChangeAtRunTime(t *testing.T) {
	a, b, c := startBackend(t, "a"), startBackend(t, "b"), startBackend(t, "c")
	one, two := announcement(t, a.as("x")), announcement(t, b.as("x"))
	lb := startBalancer(t, "discovery: ["+one+", "+two+"]\n", nil)
	lb.ready()
	await(t, "the first source's backend answers", func() bool { return lb.spread(4)["a"] == 4 })
	lb.write("discovery: [" + two + ", " + one + "]\n")
	await(t, "the order is turned", func() bool { return lb.spread(4)["b"] == 4 })
	lb.write("discovery: [" + two + ", " + one + "]\nbackends: [{id: x, url: \"" + c.url() + "\"}]\n")
	await(t, "the configuration's own goes before both", func() bool { return lb.spread(4)["c"] == 4 })
	lb.write("discovery: [" + one + "]\n")
	await(t, "the configuration's own and the other source's are gone", func() bool { return lb.spread(4)["a"] == 4 })
	if strings.Contains(lb.logs.String(), "source added") {
		t.Error("a source was made anew that was there all the time")
	}
}

func TestSessionsAndProbesOutliveAReload(t *testing.T) {
	a, b := startBackend(t, "a"), startBackend(t, "b")
	text := list(a, b) + "sticky_session: {enabled: true}\nhealth_check: {interval: 50ms, path: /health, failure_threshold: 1}\n"
	lb := startBalancer(t, text, nil)
	lb.ready()
	b.health.Store(http.StatusInternalServerError)
	await(t, "b is down", func() bool { return lb.spread(4)["a"] == 4 })
	resp, err := lb.client.Get(lb.url() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	session := resp.Cookies()
	lb.write(text + "algorithm: random\nretry: {max_retries: 0}\n")
	lb.awaitLog("configuration reloaded")
	await(t, "the new policy is in force", func() bool {
		return lb.server.Table().Service("default").Policy.Algorithm == "random"
	})
	for _, be := range lb.server.Table().Service("default").Backends {
		if up := be.State.Health().String() == "up"; up != (be.ID == "a") {
			t.Errorf("after the reload %s is %v", be.ID, be.State.Health())
		}
	}
	b.health.Store(http.StatusOK)
	await(t, "b is back", func() bool { return lb.spread(10)["b"] > 0 })
	for range 20 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, lb.url()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.AddCookie(session[0])
		resp, err := lb.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "a" {
			t.Fatalf("the session went to %s after the reload", body)
		}
	}
}
