package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// adminOf answers for a balancer's admin API.
func adminOf(t *testing.T, status int, answer string) (address string, requests *[]string) {
	t.Helper()
	requests = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*requests = append(*requests, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(body))
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), requests
}

func TestDiffShowsWhatIsHeldAndWhatShadowsSay(t *testing.T) {
	answer := `{"held":[{"source":"etcd","service":"web","backend":"b1","url":"http://10.0.0.5:80","since":"2026-01-02T03:04:05Z","until":"2026-01-02T03:05:05Z"},
		{"source":"etcd","route":"r","service":"web","since":"2026-01-02T03:04:05Z"}],
		"shadow":[{"source":"etcd","against":"consul","service":"web","kind":"missing","item":"backend http://10.0.0.6:80"},
		{"source":"etcd","against":"consul","service":"web","kind":"differs","item":"policy","detail":"consul has x, etcd has y"}]}`
	address, _ := adminOf(t, 200, answer)
	code, stdout, stderr := command(t, "diff", "--admin", address)
	want := `etcd: backend b1 of web at http://10.0.0.5:80 is announced no more, and held until 2026-01-02T03:05:05Z
etcd: route r to web is announced no more, and held until released
etcd: service web: backend http://10.0.0.6:80: only consul has it
etcd: service web: policy: consul has x, etcd has y
`
	if code != exitFound || stdout != want || stderr != "" {
		t.Errorf("exit code %d, stderr %q, stdout\n%swant\n%s", code, stderr, stdout, want)
	}
	if _, stdout, _ = command(t, "diff", "--admin", address, "--json"); !json.Valid([]byte(stdout)) {
		t.Errorf("with --json the output is %q", stdout)
	}
	address, _ = adminOf(t, 200, `{"held":[],"shadow":[]}`)
	if code, stdout, _ = command(t, "diff", "--admin", address); code != 0 || !strings.Contains(stdout, "no differences") {
		t.Errorf("without differences: exit code %d, %q", code, stdout)
	}
}

func TestGuardReleaseAsksTheBalancer(t *testing.T) {
	address, requests := adminOf(t, 200, `{"released":12}`)
	code, stdout, stderr := command(t, "guard", "release", "--admin", address, "--token", "sesame-open", "--source", "etcd")
	if code != 0 || stdout != "12 backends released\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if want := `POST /api/v1/guard/release Bearer sesame-open {"source":"etcd"}`; len(*requests) != 1 || (*requests)[0] != want {
		t.Errorf("asked was %q, want %q", *requests, want)
	}
}

func TestWhatTheAdminRefusesIsTold(t *testing.T) {
	address, _ := adminOf(t, 401, `{"error":"the admin token is wanted"}`)
	for _, args := range [][]string{{"diff"}, {"guard", "release"}} {
		code, _, stderr := command(t, append(args, "--admin", address)...)
		if code != exitFailure || !strings.Contains(stderr, "the admin token is wanted") {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
		}
	}
	if code, _, stderr := command(t, "diff", "--admin", "127.0.0.1:1"); code != exitFailure || stderr == "" {
		t.Errorf("without a balancer: exit code %d, stderr %q", code, stderr)
	}
	for _, args := range [][]string{{"guard"}, {"guard", "relaese"}, {"guard", "release", "etcd"}} {
		if code, _, stderr := command(t, args...); code != exitUsage || stderr == "" {
			t.Errorf("%v: exit code %d, stderr %q; want it to be a wrong command line", args, code, stderr)
		}
	}
}
