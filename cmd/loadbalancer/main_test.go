package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// command runs a command line to its end.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs buffer
	code = run(t.Context(), append([]string{"loadbalancer"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCheckReportsEveryMistakeWithItsLineAndExitsWith1(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := `listen: {port: 80808}
algorithm: fastest
backends:
  - {id: a, url: "ftp://localhost:1"}
health_check: {interval: soon}
retrys: {max_retries: 1}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "check", "-config", file)
	if code != exitFound {
		t.Errorf("exit code %d, want %d", code, exitFound)
	}
	for _, place := range []string{":1:", ":2:", ":4:", ":5:", ":6:"} {
		if !strings.Contains(stdout, file+place) {
			t.Errorf("no problem at %s%s in:\n%s", file, place, stdout)
		}
	}
	if !strings.Contains(stderr, "5 mistakes") {
		t.Errorf("stderr is %q, want the number of mistakes", stderr)
	}
}

func TestCheckAcceptsWhatIsCorrect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("backends: [{id: a, url: 'http://localhost:1'}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := command(t, "check", "--config", file); code != 0 || !strings.Contains(stdout, "correct") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestCheckSaysWhatACorrectFileStillNeedsToRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("algorithm: random\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := command(t, "check", "--config", file); code != 0 || !strings.Contains(stdout, "--discovery") {
		t.Errorf("exit code %d, stdout %q, want a note that nothing is there to balance", code, stdout)
	}
}

func TestCheckTellsOfCertificatesThatCannotBeLoaded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "listen: {port: 8443, tls: {enabled: true, cert_file: nowhere.pem, key_file: nowhere.key}}\nbackends: [{id: a, url: 'http://localhost:1'}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "check", "--config", file)
	if code != exitFound || !strings.Contains(stdout+stderr, "nowhere.pem") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestMistakesOnTheCommandLineAreToldInOneLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--nonsense"}, exitUsage, "nonsense"},
		{[]string{"serve"}, exitUsage, `"serve" is no command`},
		{[]string{"--listen", "8080"}, exitUsage, "--listen"},
		{[]string{"--listen", ":99999"}, exitUsage, "0 to 65535"},
		{[]string{"--log-level", "loud"}, exitUsage, "--log-level"},
		{[]string{"--discovery", "zookeeper://127.0.0.1"}, exitFound, "zookeeper"},
		{[]string{}, exitFailure, "--discovery"},
		{[]string{"--config", "/nowhere.yaml"}, exitFailure, "/nowhere.yaml"},
		{[]string{"dev", "x"}, exitUsage, "no argument"},
		{[]string{"check"}, exitUsage, "config"},
	} {
		code, _, stderr := command(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, stderr %q; want %d and %q", c.args, code, stderr, c.code, c.want)
		}
	}
}

func TestAnEtcdURLWithSeveralHostsIsOneSource(t *testing.T) {
	out := new(buffer)
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"loadbalancer", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--discovery", "etcd://127.0.0.1:1,127.0.0.1:2/lb", "--discovery", "file:///nowhere.yaml"}, out, out)
	}()
	defer cancel()
	for !strings.Contains(out.String(), "serving the API") {
		select {
		case c := <-code:
			t.Fatalf("exit code %d: %s", c, out)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d: %s", c, out)
	}
}

func TestVersionAndHelpAreTold(t *testing.T) {
	if code, stdout, _ := command(t, "version"); code != 0 || !strings.HasPrefix(stdout, "loadbalancer ") {
		t.Errorf("version: exit code %d, stdout %q", code, stdout)
	}
	code, stdout, _ := command(t, "--help")
	if code != 0 {
		t.Errorf("--help: exit code %d", code)
	}
	for _, word := range []string{"--discovery", "--config", "--listen", "--admin", "--service", "dev", "check", "healthcheck"} {
		if !strings.Contains(stdout, word) {
			t.Errorf("--help does not tell of %s", word)
		}
	}
}

// devRun is a running dev command.
type devRun struct {
	out    *buffer
	cancel context.CancelFunc
	code   chan int
}

func startDev(t *testing.T, args ...string) *devRun {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &devRun{out: new(buffer), cancel: cancel, code: make(chan int, 1)}
	args = append([]string{"loadbalancer", "dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--etcd", "127.0.0.1:0"}, args...)
	go func() { d.code <- run(ctx, args, d.out, d.out) }()
	t.Cleanup(cancel)
	return d
}

// find waits until the output has a match of a pattern, and returns its first group.
func (d *devRun) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	await(t, fmt.Sprintf("the output has %q", pattern), func() bool {
		if m := re.FindStringSubmatch(d.out.String()); m != nil {
			found = m[1]
		}
		return found != ""
	})
	return found
}

func TestDevServesThreeBackendsAndTheFourthThatItSaysHowToAdd(t *testing.T) {
	d := startDev(t)
	balancer := d.find(t, `balancer +(http://\S+)`)
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	seen := func() map[string]bool {
		names := map[string]bool{}
		for range 12 {
			resp, err := client.Get(balancer + "/")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			names[resp.Header.Get("X-Backend")] = true
		}
		delete(names, "")
		return names
	}
	await(t, "three backends answer", func() bool { return len(seen()) == 3 })
	endpoint := d.find(t, `--endpoints=http://(\S+)`)
	key := d.find(t, `put (\S+) http`)
	spare := d.find(t, `put \S+ (http\S+)`)
	put(t, endpoint, key, spare)
	await(t, "the fourth answers too", func() bool { return len(seen()) == 4 })
	d.cancel()
	if code := <-d.code; code != 0 {
		t.Errorf("exit code %d after the interrupt, want 0; it printed:\n%s", code, d.out)
	}
	if !strings.HasSuffix(d.out.String(), "stopped\n") {
		t.Errorf("the output does not end with \"stopped\":\n%s", d.out)
	}
}

func TestDevNamesAPortThatIsInUse(t *testing.T) {
	first := startDev(t)
	taken := strings.TrimPrefix(first.find(t, `balancer +(http://\S+)`), "http://")
	second := startDev(t, "--listen", taken)
	if code := <-second.code; code != exitFailure || !strings.Contains(second.out.String(), taken) {
		t.Errorf("exit code %d and %q, want %d and the address", code, second.out, exitFailure)
	}
	first.cancel()
	<-first.code
}

func TestHealthcheckTellsWhetherABalancerIsReady(t *testing.T) {
	d := startDev(t)
	admin := strings.TrimPrefix(d.find(t, `admin +(http://\S+)`), "http://")
	await(t, "healthcheck succeeds", func() bool {
		code, _, _ := command(t, "healthcheck", "--admin", admin)
		return code == 0
	})
	t.Setenv("LB_ADMIN_ADDRESS", admin)
	if code, _, stderr := command(t, "healthcheck"); code != 0 {
		t.Errorf("exit code %d, stderr %q with the address in LB_ADMIN_ADDRESS", code, stderr)
	}
	d.cancel()
	<-d.code
	if code, _, stderr := command(t, "healthcheck", "--admin", admin); code != exitFound || stderr == "" {
		t.Errorf("exit code %d, stderr %q for a balancer that is gone", code, stderr)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after 15 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestWhatCannotBeRegisteredSteeredOrCheckedIsToldInOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("/lb/services/web/a=10.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := []string{"register", "--service", "web", "--url", "http://10.0.0.1:80", "--discovery"}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"register"}, exitUsage, "discovery"},
		{append(url, "file:///x"), exitUsage, "no place to register"},
		{append(url, "etcd://127.0.0.1:1", "--weight", "1001"), exitUsage, "1001"},
		{append(url, "etcd://127.0.0.1:1", "--check", "health"), exitUsage, "--check"},
		{append(url, "etcd://127.0.0.1:1", "--meta", "x"), exitUsage, "--meta"},
		{append(url, "etcd://127.0.0.1:1", "--ttl", "1ms"), exitUsage, "--ttl"},
		{append(url, "etcd://127.0.0.1:1", "--", "/no/such/program"), exitFailure, "/no/such/program"},
		{[]string{"backend", "drain", "web"}, exitUsage, "SERVICE/ID"},
		{[]string{"backend", "weight", "web/a"}, exitUsage, "WEIGHT"},
		{[]string{"backend", "drian"}, exitUsage, `no command "drian"`},
		{[]string{"backend"}, exitUsage, "drain, undrain"},
		{[]string{"session-key"}, exitUsage, "rotate"},
		{[]string{"backend", "drain", "--admin", "127.0.0.1:1", "web/a"}, exitFailure, "127.0.0.1:1"},
		{[]string{"fleet", "--discovery", "file:///x"}, exitFound, "no store"},
		{[]string{"session-key", "rotate", "--discovery", "consul"}, exitFailure, "etcd"},
		{[]string{"lint"}, exitUsage, "name files"},
		{[]string{"lint", file}, exitFound, "1 problem"},
		{[]string{"lint", "--format", "xml", file}, exitFound, "xml"},
	} {
		if code, stdout, stderr := command(t, c.args...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d, want %d; stdout %q, stderr %q, want %q", c.args, code, c.code, stdout, stderr, c.want)
		}
	}
}
