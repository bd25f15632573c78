package monitoring

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scrapeInterval is how often the Prometheus of the test scrapes, so that rates have data after a second or two.
const scrapeInterval = "500ms"

// startPrometheus runs a Prometheus under the repository's configuration, which scrapes the address in place of the
// compose file's balancer. It returns its URL, and ends with the test.
func startPrometheus(t *testing.T, target string) string {
	t.Helper()
	binary := program(t, "prometheus")
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(testConfig(t, target)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		readLog(stderr, said)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		cmd.Wait()
	})
	select {
	case addr := <-said:
		return "http://" + addr
	case <-ended:
		t.Fatal("Prometheus ended before it served")
	case <-time.After(30 * time.Second):
		t.Fatal("Prometheus does not serve after 30 s")
	}
	return ""
}

var (
	listening = regexp.MustCompile(`Listening on.*address=(127\.0\.0\.1:\d+)`)
	interval  = regexp.MustCompile(`(scrape|evaluation)_interval: \w+`)
)

// readLog reads the log to its end, and tells the address that Prometheus listens on.
func readLog(r io.Reader, said chan<- string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			said <- m[1]
		}
	}
}

// testConfig is the repository's configuration with another target and a shorter interval.
func testConfig(t *testing.T, target string) string {
	t.Helper()
	text, err := os.ReadFile(root + "/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(root + "/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for old, replacement := range map[string]string{"balancer:8080": target, "- alerts.yml": "- " + rules} {
		if strings.Count(config, old) != 1 {
			t.Fatalf("prometheus.yml has %q not exactly once", old)
		}
		config = strings.Replace(config, old, replacement, 1)
	}
	return interval.ReplaceAllString(config, "${1}_interval: "+scrapeInterval)
}

// series is one result of an instant query.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// query evaluates an expression now.
func query(prometheus, expr string) ([]series, error) {
	resp, err := http.PostForm(prometheus+"/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s", answer.Error)
	}
	return answer.Data.Result, nil
}

// check reports why an expression's result would show nothing to people.
func check(prometheus string, e expression) error {
	result, err := query(prometheus, e.text)
	if err != nil {
		return err
	}
	numbers := 0
	for _, s := range result {
		for _, l := range e.labels {
			if s.Metric[l] == "" {
				return fmt.Errorf("the result %v lacks the label %s that the legend shows", s.Metric, l)
			}
		}
		if s.Value[1] != "NaN" {
			numbers++
		}
	}
	if numbers == 0 {
		return fmt.Errorf("there is no data (%d results, all NaN)", len(result))
	}
	return nil
}

// expectData waits until every expression has data.
func expectData(t *testing.T, prometheus string, expressions []expression) {
	t.Helper()
	deadline := time.Now().Add(45 * time.Second)
	left := map[expressionKey]error{}
	for {
		clear(left)
		for _, e := range expressions {
			if err := check(prometheus, e); err != nil {
				left[expressionKey{e.where, e.text}] = err
			}
		}
		if len(left) == 0 {
			t.Logf("%d expressions have data", len(expressions))
			return
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(300 * time.Millisecond) // between two polls of another process
	}
	for k, err := range left {
		t.Errorf("%s: %v\n\t%s", k.where, err, k.text)
	}
}

type expressionKey struct{ where, text string }
