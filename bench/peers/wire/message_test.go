//go:build linux

package wire

import (
	"strings"
	"testing"
)

func TestParseHead(t *testing.T) {
	type want struct {
		start, cookie  string
		length         int64
		chunked, close bool
	}
	for _, c := range []struct {
		name, text string
		want       want
	}{
		{"request without a body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", want{start: "GET / HTTP/1.1", length: -1}},
		{"no fields", "HTTP/1.1 200 OK\r\n\r\n", want{start: "HTTP/1.1 200 OK", length: -1}},
		{"length in any case", "HTTP/1.1 200 OK\r\ncontent-LENGTH:  12 \r\n\r\n", want{start: "HTTP/1.1 200 OK", length: 12}},
		{"length that is none", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", want{start: "HTTP/1.1 200 OK", length: -1}},
		{"chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", want{start: "POST / HTTP/1.1", length: -1, chunked: true}},
		{"close", "GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", want{start: "GET / HTTP/1.1", length: -1, close: true}},
		{"HTTP/1.0", "GET /health HTTP/1.0\r\n\r\n", want{start: "GET /health HTTP/1.0", length: -1, close: true}},
		{"cookie", "HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\n\r\n", want{start: "HTTP/1.1 200 OK", length: -1, cookie: "a=b"}},
		{"a line that is no field", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 3\r\n\r\n", want{start: "HTTP/1.1 200 OK", length: 3}},
	} {
		h, ok := ParseHead([]byte(c.text + "body"))
		got := want{string(h.Start), string(h.Cookie), h.Length, h.Chunked, h.Close}
		if !ok || got != c.want || h.Size != len(c.text) {
			t.Errorf("%s: got %+v, %v, size %d", c.name, got, ok, h.Size)
		}
		for i := range len(c.text) {
			if _, ok := ParseHead([]byte(c.text[:i])); ok {
				t.Errorf("%s: %q is taken for a whole head", c.name, c.text[:i])
			}
		}
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a\r\n\r\nx")
	f.Add("HTTP/1.1 200 OK\r\n:\r\nSet-Cookie:\r\n\r\n")
	f.Add("\r\n\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		h, ok := ParseHead([]byte(s))
		if !ok {
			if strings.Contains(s, "\r\n\r\n") {
				t.Errorf("no head in %q", s)
			}
			return
		}
		if h.Size > len(s) || !strings.HasSuffix(s[:h.Size], "\r\n\r\n") || !strings.HasPrefix(s, string(h.Start)) {
			t.Errorf("%q: %+v", s, h)
		}
	})
}
