//go:build linux

package backend

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve starts a backend, which lasts as long as the test's process, and returns its addresses.
func serve(t *testing.T) []string {
	t.Helper()
	s, err := New(2)
	if err != nil {
		t.Fatal(err)
	}
	go func() { panic(s.Serve()) }()
	return s.Addrs()
}

func TestItAnswersOnEveryAddressOverConnectionsThatStay(t *testing.T) {
	var transport http.Transport
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: &transport}
	for _, addr := range serve(t) {
		for _, path := range []string{"/", "/64k", "/1m", "/health", "/64k"} {
			for _, body := range []string{"", "x", strings.Repeat("x", 1<<20)} {
				res, err := client.Post("http://"+addr+path, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 || res.Close || !bytes.Equal(got, Content(path)) {
					t.Fatalf("%s%s: %s, %d bytes, %v", addr, path, res.Status, len(got), err)
				}
			}
		}
	}
}

func TestRequestsMayArriveInPiecesOrTogether(t *testing.T) {
	addr := serve(t)[0]
	const request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
	for name, pieces := range map[string][]string{
		"byte by byte": strings.Split(request, ""),
		"two at once":  {request + request},
		"overlapping":  {request + request[:30], request[30:]},
	} {
		c := dial(t, addr)
		for _, p := range pieces {
			if _, err := io.WriteString(c, p); err != nil {
				t.Fatal(err)
			}
		}
		answers := strings.Count(strings.Join(pieces, ""), "POST")
		want := strings.Repeat(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n%s", Content("/")), answers)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestItClosesWhenAskedTo(t *testing.T) {
	addr := serve(t)[0]
	for request, want := range map[string]string{
		"GET / HTTP/1.0\r\n\r\n":                             "HTTP/1.1 200",
		"GET / HTTP/1.1\r\nConnection: close\r\n\r\n":        "HTTP/1.1 200",
		"POST / HTTP/1.1\r\nTransfer-Encoding: any\r\n\r\n0": "HTTP/1.1 501",
		"GET /" + strings.Repeat("x", 8<<10):                 "",
	} {
		c := dial(t, addr)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil && want != "" || !strings.HasPrefix(string(got), want) || want == "" && len(got) > 0 {
			t.Errorf("%.40q: %.40q, %v", request, got, err)
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}
