package http1

import (
	"io"
	"strings"
	"testing"
)

// replay gives out a text over and over, one message with each read.
type replay struct{ text string }

func (r *replay) Read(p []byte) (int, error) { return copy(p, r.text), nil }

const (
	plainGet = "GET /api/v1/users?page=3 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Connection: keep-alive\r\nCookie: session_id=3f2a9c0be4d14b1f; theme=dark; consent=yes\r\nX-Request-Id: 5d1f3c6e-8f0a-4b5e-9d5b-2f1f0f6d7c11\r\n\r\n"
	plainPost   = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"
	chunkedPost = "POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 9\r\n\r\n"
	plainAnswer = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 20:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n" +
		"Connection: keep-alive\r\nETag: \"5f2a9c0b-64\"\r\nAccept-Ranges: bytes\r\n\r\nhello world"
	chunkedAnswer = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 20:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"
)

// passage carries messages through as an engine does.
type passage struct {
	r Reader
	w Writer
	q Request
	p Response
	b Body
	l Limits
}

func newPassage(src io.Reader) *passage {
	m := new(passage)
	m.r.Reset(src, make([]byte, 8<<10))
	m.w.Reset(io.Discard, make([]byte, 0, 8<<10))
	return m
}

func (m *passage) request() error {
	if err := m.r.ReadRequest(&m.q, &m.l); err != nil {
		return err
	}
	m.w.Buf = m.q.AppendLine(m.w.Buf, m.q.Path())
	m.w.Buf = m.q.AppendFields(m.w.Buf)
	m.w.Buf = AppendField(m.w.Buf, "X-Forwarded-For", "127.0.0.1")
	m.w.Buf = AppendEnd(m.w.Buf, m.q.Framing, m.q.Length)
	return m.content(&m.q.Head)
}

func (m *passage) response() error {
	if err := m.r.ReadResponse(&m.p, "GET", &m.l); err != nil {
		return err
	}
	m.w.Buf = m.p.AppendLine(m.w.Buf)
	m.w.Buf = m.p.AppendFields(m.w.Buf)
	m.w.Buf = AppendEnd(m.w.Buf, m.p.Framing, m.p.Length)
	return m.content(&m.p.Head)
}

func (m *passage) content(h *Head) error {
	m.b.Begin(&m.r, h, &m.l)
	m.w.Begin(h.Framing, h.Length)
	for {
		_, done, err := m.w.Relay(&m.b)
		if done || err != nil {
			return err
		}
	}
}

func TestAMessageCostsNoAllocation(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		pass func(*passage) error
	}{
		"GET":              {plainGet, (*passage).request},
		"POST":             {plainPost, (*passage).request},
		"chunked POST":     {chunkedPost, (*passage).request},
		"an answer":        {plainAnswer, (*passage).response},
		"a chunked answer": {chunkedAnswer, (*passage).response},
	} {
		m := newPassage(&replay{c.text})
		n := testing.AllocsPerRun(200, func() {
			if err := c.pass(m); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s costs %v allocations", name, n)
		}
	}
}

func TestARefusalCostsNoAllocation(t *testing.T) {
	input := []byte("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
	var q Request
	var l Limits
	q.Parse(input, &l)
	if n := testing.AllocsPerRun(100, func() {
		q.Reset()
		if _, err := q.Parse(input, &l); err == nil {
			t.Fatal("accepted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func bench(b *testing.B, text string, pass func(*passage) error) {
	m := newPassage(&replay{text})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := pass(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequest(b *testing.B)         { bench(b, plainGet, (*passage).request) }
func BenchmarkPost(b *testing.B)            { bench(b, plainPost, (*passage).request) }
func BenchmarkChunkedPost(b *testing.B)     { bench(b, chunkedPost, (*passage).request) }
func BenchmarkResponse(b *testing.B)        { bench(b, plainAnswer, (*passage).response) }
func BenchmarkChunkedResponse(b *testing.B) { bench(b, chunkedAnswer, (*passage).response) }

func BenchmarkParse(b *testing.B) {
	data := []byte(plainGet)
	var q Request
	var l Limits
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		q.Reset()
		if n, err := q.Parse(data, &l); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkParseManyFields(b *testing.B) {
	data := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Some-Field: some value\r\n", 100) + "\r\n")
	var q Request
	var l Limits
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		q.Reset()
		if n, err := q.Parse(data, &l); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}
