package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// readAll reads messages of requests as net/http does, until there is no more or what follows is wrong. It returns their
// methods, targets, hosts and contents, and how much of the text was whole requests.
func readAll(text string) (all []string, whole int, err error) {
	src := strings.NewReader(text)
	r := bufio.NewReader(src)
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return all, whole, err
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return all, whole, err
		}
		all = append(all, q.Method+" "+q.RequestURI+" "+q.Host+" "+string(body))
		whole = len(text) - src.Len() - r.Buffered()
	}
}

// FuzzPassage sends anything through the engine. What comes to the backend are whole requests, of which net/http reads as
// many as were answered, and one that breaks off at most; none holds anything of another client's.
func FuzzPassage(f *testing.F) {
	ofEngine(f)
	for _, row := range wireRows(f, "http1/testdata/requests.txt") {
		f.Add([]byte(row.input), uint16(7))
		f.Add([]byte(askBefore+row.input+askAfter), uint16(1000))
	}
	for _, row := range wireRows(f, "http1/testdata/chunks.txt") {
		f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+row.input+askAfter), uint16(50))
	}
	for _, row := range wireRows(f, "testdata/valid-requests.txt") {
		if len(row.input) < 500 {
			f.Add([]byte(row.input+askAfter), uint16(11))
		}
	}
	text, err := os.ReadFile("testdata/found-passages.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if q, err := strconv.QuotedPrefix(line); err == nil {
			input, _ := strconv.Unquote(q)
			size, err := strconv.ParseUint(strings.TrimSpace(line[len(q):]), 10, 16)
			if err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(input), uint16(size))
		}
	}
	a := newAbuse(f)
	f.Fuzz(func(t *testing.T, input []byte, size uint16) {
		if len(input) > 32<<10 || strings.Contains(string(input), "100-continue") || strings.Contains(strings.ToLower(string(input)), "upgrade") {
			return // waits, and tunnels, are others' to test
		}
		c, err := net.Dial("tcp", a.clear)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		answers := make(chan string, 1)
		go func() { // answers are taken while requests are sent
			b, err := io.ReadAll(c)
			if err != nil && errors.Is(err, net.ErrClosed) {
				err = nil
			}
			answers <- string(b)
		}()
		for rest := input; len(rest) > 0; rest = rest[min(int(size)+1, len(rest)):] {
			if _, err := c.Write(rest[:min(int(size)+1, len(rest))]); err != nil {
				break
			}
		}
		c.(*net.TCPConn).CloseWrite()
		told := <-answers
		text, whole := a.last(t)
		got, used, _ := readAll(text)
		if len(got) != whole {
			t.Fatalf("%q came to the backend as %q: %d requests, of which it read %d", input, text, len(got), whole)
		}
		if rest := text[used:]; rest != "" {
			// A request whose content broke off: its head is right all the same, and it never ends.
			head, body, ok := strings.Cut(rest, "\r\n\r\n")
			if q, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n"))); !ok || err != nil || q.ContentLength == 0 {
				t.Fatalf("%q came to the backend as %q, which ends as %q: %v", input, text, rest, err)
			}
			if _, _, ended, _ := unchunked(body); ended && strings.HasSuffix(head, "Transfer-Encoding: chunked") {
				t.Fatalf("%q came to the backend as %q, which ends well", input, text)
			}
		}
		// Whatever net/http reads of the input from its beginning on and the engine too, is the same.
		theirs, _, _ := readAll(string(input))
		for i := range min(len(theirs), len(got)) {
			method, _, _ := strings.Cut(theirs[i], " ")
			mine := strings.Fields(got[i])
			_, body, _ := strings.Cut(got[i][len(mine[0])+1:], " ")
			_, body, _ = strings.Cut(body, " ")
			their := theirs[i][len(method)+1:]
			_, their, _ = strings.Cut(their, " ")
			_, their, _ = strings.Cut(their, " ")
			if method == "CONNECT" {
				break
			}
			if method != mine[0] || body != their {
				t.Fatalf("request %d of %q is %q for net/http, and came as %q", i, input, theirs[i], got[i])
			}
		}
		// Answers are whole, one after another, but for the last.
		r := bufio.NewReader(strings.NewReader(told))
		relayed := 0
		for {
			line, err := r.Peek(12)
			if err != nil {
				break
			}
			method := "GET"
			mine := string(line[9:]) != "200" // the engine's own
			if !mine {
				if relayed == len(got) {
					t.Fatalf("%q is answered %q, and %q came to the backend", input, told, text)
				}
				method, _, _ = strings.Cut(got[relayed], " ")
				relayed++
			}
			p, err := http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%q is answered %q: %v", input, told, err)
			}
			if mine && p.StatusCode >= 500 && p.StatusCode != 501 && p.StatusCode != 505 {
				t.Fatalf("%q is answered %q: %d", input, told, p.StatusCode)
			}
			if _, err := io.Copy(io.Discard, p.Body); err != nil {
				if mine && strings.Contains(string(input), "HEAD ") {
					break // an answer to it, which has no content
				}
				t.Fatalf("%q is answered %q: %v", input, told, err)
			}
			if p.Close {
				if _, err := r.Peek(1); err == nil && method != "HEAD" {
					t.Fatalf("%q is answered %q: more behind the close", input, told)
				}
				break
			}
		}
	})
}
