package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
)

// wireCase is a line of a file in testdata.
type wireCase struct {
	line   int
	want   string
	method string // of the request that a response answers
	input  string
	rfc    string
}

func cases(t testing.TB, name string) []wireCase {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []wireCase
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		if text == "" || text[0] == '#' {
			continue
		}
		c := wireCase{line: n}
		if text[0] == '"' {
			c.want, text = quoted(t, n, text)
		} else {
			i := strings.IndexByte(text, '"')
			c.want, text = strings.TrimSpace(text[:max(i, 0)]), text[max(i, 0):]
		}
		c.input, text = quoted(t, n, text)
		if name == "responses.txt" {
			words := strings.Fields(c.want)
			c.method = words[len(words)-1]
			c.want = strings.Join(words[:len(words)-1], " ")
		}
		var ok bool
		if c.rfc, ok = strings.CutPrefix(text, "RFC "); !ok {
			t.Fatalf("%s:%d: no section at the end: %q", name, n, text)
		}
		all = append(all, c)
	}
	return all
}

func quoted(t testing.TB, line int, text string) (value, rest string) {
	t.Helper()
	q, err := strconv.QuotedPrefix(text)
	if err != nil {
		t.Fatalf("line %d: %q: %v", line, text, err)
	}
	value, _ = strconv.Unquote(q)
	return value, strings.TrimSpace(text[len(q):])
}

// pieces gives out a text in pieces of some size, then its end.
type pieces struct {
	text string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(p.size, len(b))], p.text)
	p.text = p.text[n:]
	return n, nil
}

var pieceSizes = []int{1, 2, 3, 7, 64, 1 << 20}

func framingText(h *Head, persists bool) string {
	s := [...]string{"none", "sized", "chunked", "close"}[h.Framing]
	if h.Length >= 0 {
		s += ":" + strconv.FormatInt(h.Length, 10)
	}
	if persists {
		return s + " keep"
	}
	return s + " close"
}

func readRequest(input string, size int) (got string, err error) {
	var r Reader
	var q Request
	var l Limits
	r.Reset(&pieces{input, size}, make([]byte, 16))
	if err = r.ReadRequest(&q, &l); err == nil {
		return framingText(&q.Head, q.Persists()), nil
	}
	var e *Error
	if errors.As(err, &e) {
		return strconv.Itoa(e.Status()), err
	}
	return err.Error(), err
}

func TestRequestsAreReadAsTheRFCsSay(t *testing.T) {
	all := cases(t, "requests.txt")
	for _, c := range all {
		for _, size := range pieceSizes {
			if got, err := readRequest(c.input, size); got != c.want {
				t.Errorf("requests.txt:%d: %q in pieces of %d is %s (%v), want %s (RFC %s)", c.line, c.input, size, got, err, c.want, c.rfc)
				break
			}
		}
	}
	if len(all) < 200 {
		t.Errorf("only %d cases", len(all))
	}
}

func TestResponsesAreReadAsTheRFCsSay(t *testing.T) {
	for _, c := range cases(t, "responses.txt") {
		for _, size := range pieceSizes {
			var r Reader
			var p Response
			var l Limits
			r.Reset(&pieces{c.input, size}, make([]byte, 16))
			err := r.ReadResponse(&p, c.method, &l)
			got := "bad"
			var refused *Error
			if err == nil {
				got = framingText(&p.Head, p.Persists())
			} else if !errors.As(err, &refused) {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("responses.txt:%d: %q in pieces of %d is %s (%v), want %s (RFC %s)", c.line, c.input, size, got, err, c.want, c.rfc)
				break
			}
		}
	}
}

// chunked reads chunked content in pieces, from a buffer of a size, with a head of that many bytes before it.
func chunked(input string, size, buffer, read int) (string, *Body, *Reader, error) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	r, q, l, b := new(Reader), new(Request), new(Limits), new(Body)
	r.Reset(&pieces{head + input, size}, make([]byte, buffer))
	if err := r.ReadRequest(q, l); err != nil {
		return "", b, r, fmt.Errorf("the head: %w", err)
	}
	b.Begin(r, &q.Head, l)
	var got []byte
	p := make([]byte, read)
	for {
		n, err := b.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			return string(got), b, r, nil
		}
		if err != nil {
			return string(got), b, r, err
		}
	}
}

func TestChunksAreReadAsTheRFCsSay(t *testing.T) {
	for _, c := range cases(t, "chunks.txt") {
		for _, size := range pieceSizes {
			for _, read := range []int{1, 3, 4096} {
				got, _, _, err := chunked(c.input, size, 64, read)
				var refused *Error
				switch {
				case errors.As(err, &refused):
					got = "bad"
				case err == io.ErrUnexpectedEOF:
					got = "short"
				case err != nil:
					got = err.Error()
				}
				if got != c.want {
					t.Fatalf("chunks.txt:%d: %q in pieces of %d is %q (%v), want %q (RFC %s)", c.line, c.input, size, got, err, c.want, c.rfc)
				}
			}
		}
	}
}

func TestWhatIsWrongIsSeenBeforeTheLineEnds(t *testing.T) {
	for _, input := range []string{
		"\x16\x03\x01\x02", "\x00", " ", "GET /\x00", "GET / HTTP/x", "GET / X", "GET / HTTP/1.1 ", "(", "GET /#",
		"GET / HTTP/1.1\r\n ", "GET / HTTP/1.1\r\nA ", "GET / HTTP/1.1\r\nA: \x01", "GET / HTTP/1.1\r\nA: b\rc", "SSH-2.0-a\r\n",
	} {
		for _, size := range pieceSizes {
			var q Request
			var err error
			for n := min(size, len(input)); err == nil && n < len(input); n = min(n+size, len(input)) {
				_, err = q.Parse([]byte(input[:n]), &Limits{})
			}
			if err == nil {
				_, err = q.Parse([]byte(input), &Limits{})
			}
			if err == nil {
				t.Errorf("%q in pieces of %d is not refused yet", input, size)
			}
		}
	}
}
