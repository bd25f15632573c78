package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message is what was read of one message.
type message struct {
	method, target, host, body, framing string
	status                              int
	fields                              []string // "name: value" of those that go on, names in canonical form
	trailers                            []string
	came, ended                         []string // all fields, and all trailers, as they came
	asked                               string   // the target as it came
	forwarded                           string   // as it goes on
	end                                 int      // how much of the input it took
	head                                int      // and its head
	persists                            bool
}

// kept lists the fields that go on.
func kept(h *Head) []string {
	var all []string
	for i := range h.Fields() {
		f := &h.Fields()[i]
		if !f.Dropped() && !ending.has(f.Name) && f.Name != Host {
			all = append(all, textproto.CanonicalMIMEHeaderKey(string(h.Label(f)))+": "+string(h.Value(f)))
		}
	}
	slices.SortStableFunc(all, byName)
	return all
}

// came lists all fields as they came but those that net/http takes out of its headers.
func came(h *Head) []string {
	var all []string
	for i := range h.Fields() {
		f := &h.Fields()[i]
		switch f.Name {
		case Host, TransferEncoding, ContentLength, Trailer, Connection:
			continue
		}
		all = append(all, textproto.CanonicalMIMEHeaderKey(string(h.Label(f)))+": "+string(h.Value(f)))
	}
	slices.SortStableFunc(all, byName)
	return all
}

// theirs lists the fields that net/http read, to be compared with what came gave. It keeps blanks before colons, which
// makes other fields of them: those are not compared.
func theirs(h http.Header, want []string) []string {
	for name := range h {
		if strings.ContainsAny(name, " \t") {
			return want
		}
	}
	for _, name := range []string{"Host", "Transfer-Encoding", "Content-Length", "Trailer", "Connection"} {
		delete(h, name)
	}
	if !hasName(want, "Cache-Control") && hasName(want, "Pragma") {
		delete(h, "Cache-Control") // which it adds
	}
	return listed(h)
}

func byName(a, b string) int {
	a, _, _ = strings.Cut(a, ":")
	b, _, _ = strings.Cut(b, ":")
	return strings.Compare(a, b)
}

func listed(h http.Header) []string {
	var all []string
	for name, values := range h {
		for _, v := range values {
			all = append(all, name+": "+v)
		}
	}
	slices.SortStableFunc(all, byName)
	return all
}

func trailersOf(t *Trailers) []string {
	var all []string
	for i := range t.Fields() {
		f := &t.Fields()[i]
		if !neverTrailers.has(f.Name) {
			all = append(all, textproto.CanonicalMIMEHeaderKey(string(t.Label(f)))+": "+string(t.Value(f)))
		}
	}
	slices.SortStableFunc(all, byName)
	return all
}

// relayed sends a body on behind a head, and returns all that was written.
func relayed(t *testing.T, head []byte, b *Body, framing Framing, length int64, buffer int) (string, error) {
	var out bytes.Buffer
	var w Writer
	w.Reset(&out, make([]byte, 0, buffer))
	w.Buf = append(w.Buf, head...)
	w.Begin(framing, length)
	total := int64(0)
	for {
		n, done, err := w.Relay(b)
		total += n
		if err != nil {
			if w.Err() != nil || errors.Is(err, ErrContent) {
				t.Fatalf("the writer fails: %v", err)
			}
			return out.String(), err
		}
		if done {
			break
		}
	}
	if total != b.Count() || total != w.Count() {
		t.Fatalf("%d bytes relayed, %d read, %d written", total, b.Count(), w.Count())
	}
	return out.String(), nil
}

// ourRequests reads and relays requests until one is refused or the input ends.
func ourRequests(t *testing.T, input string, size int) (all []message, err error) {
	r, q, b, l := new(Reader), new(Request), new(Body), new(Limits)
	src := &pieces{input, size}
	r.Reset(src, make([]byte, 600))
	for len(all) < 20 {
		if err := r.ReadRequest(q, l); err != nil {
			return all, err
		}
		m := message{method: string(q.Method()), target: string(q.Path()), host: string(q.Host()), persists: q.Persists(),
			framing: framingText(&q.Head, true), fields: kept(&q.Head), came: came(&q.Head), asked: string(q.Target())}
		m.head = len(input) - len(src.text) - len(r.Buffered())
		head := q.AppendLine(nil, q.Path())
		head = AppendEnd(q.AppendFields(head), q.Framing, q.Length)
		b.Begin(r, &q.Head, l)
		if m.forwarded, err = relayed(t, head, b, q.Framing, q.Length, 1<<10+chunkRoom+size%4000); err != nil {
			return all, err
		}
		m.trailers, m.ended = trailersOf(b.Trailers()), came(&b.Trailers().Head)
		m.body = contentOf(t, m.forwarded, len(head), q.Framing)
		m.end = len(input) - len(src.text) - len(r.Buffered())
		if m.target == "" || m.target[0] == '?' {
			m.target = "/" + m.target
		}
		all = append(all, m)
		if !q.Persists() {
			break
		}
	}
	return all, nil
}

// contentOf is the content of a message that was written.
func contentOf(t *testing.T, text string, head int, framing Framing) string {
	if framing != Chunked {
		return text[head:]
	}
	got, _, _, err := chunked(text[head:], 1<<20, 4096, 4096)
	if err != nil {
		t.Fatalf("what was written is refused: %v: %q", err, text)
	}
	return got
}

// theirRequest reads a request by net/http, and how much of the input it took.
func theirRequest(input string) (*http.Request, string, int, error) {
	src := strings.NewReader(input)
	br := bufio.NewReader(src)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, "", 0, err
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), len(input) - src.Len() - br.Buffered(), err
}

func sameMessages(a, b []message) bool {
	return slices.EqualFunc(a, b, func(x, y message) bool {
		return x.method == y.method && x.target == y.target && x.host == y.host && x.body == y.body && x.status == y.status &&
			x.framing == y.framing && x.end == y.end && slices.Equal(x.fields, y.fields) && slices.Equal(x.trailers, y.trailers)
	})
}

// found gives the arguments in a corpus file, strings unquoted.
func found(t testing.TB, name string) (all [][]string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		var row []string
		for line != "" {
			if line[0] != '"' {
				row = append(row, line)
				break
			}
			var v string
			v, line = quoted(t, i+1, line)
			row = append(row, v)
		}
		all = append(all, row)
	}
	return all
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func FuzzRequestsAgainstNetHTTP(f *testing.F) {
	for _, row := range found(f, "found-requests.txt") {
		f.Add(row[0], number(f, row[1]))
	}
	for _, c := range cases(f, "requests.txt") {
		f.Add(c.input, 3)
		f.Add(c.input+"GET /second HTTP/1.1\r\nHost: b\r\n\r\n", 1000)
	}
	for _, c := range cases(f, "chunks.txt") {
		f.Add("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+c.input, 5)
	}
	f.Add("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, cookie\r\nX: 1\r\nCookie: a\r\nTE: trailers\r\nTrailer: A\r\n\r\n", 9)
	f.Fuzz(func(t *testing.T, input string, size int) {
		if size < 1 {
			size = 1
		}
		ours, err := ourRequests(t, input, 1<<20)
		split, serr := ourRequests(t, input, size)
		if !sameMessages(ours, split) || err != nil && (serr == nil || refusal(err) != refusal(serr)) {
			t.Fatalf("%q is read as %+v, %v; in pieces of %d as %+v, %v", input, ours, err, size, split, serr)
		}
		at := 0
		for i, m := range ours {
			if r, body, n, err := theirRequest(input[at:]); err == nil {
				switch {
				case m.method == "CONNECT":
				case r.Method != m.method || r.Host != m.host && !strings.Contains(m.host, "%") || body != m.body: // net/http decodes hosts
					t.Fatalf("request %d of %q is read as %s %s %q, by net/http as %s %s %q", i, input, m.method, m.host, m.body, r.Method, r.Host, body)
				case n != m.end-at:
					t.Fatalf("request %d of %q ends at %d, for net/http at %d", i, input, m.end, at+n)
				case m.persists == r.Close:
					t.Fatalf("request %d of %q persists: %v, for net/http: %v", i, input, m.persists, !r.Close)
				case r.RequestURI != m.asked:
					t.Fatalf("request %d of %q asks for %q, for net/http for %q", i, input, m.asked, r.RequestURI)
				case (m.framing == "chunked keep") != (len(r.TransferEncoding) > 0):
					t.Fatalf("request %d of %q is framed as %s, for net/http as %q", i, input, m.framing, r.TransferEncoding)
				case !slices.Equal(theirs(r.Header, m.came), m.came):
					t.Fatalf("request %d of %q has the fields %q, for net/http %q", i, input, m.came, r.Header)
				case !slices.Equal(theirs(r.Trailer, nil), m.ended):
					t.Fatalf("request %d of %q has the trailers %q, for net/http %q", i, input, m.ended, r.Trailer)
				}
			}
			at = m.end
			if m.method != "CONNECT" {
				checkForwardedRequest(t, m)
			}
		}
	})
}

// refusal tells errors apart by what is answered.
func refusal(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status()
	}
	return 0
}

// checkForwardedRequest has net/http read what was forwarded: exactly one request, the same.
func checkForwardedRequest(t *testing.T, m message) {
	r, body, n, err := theirRequest(m.forwarded)
	if err != nil {
		t.Fatalf("net/http refuses what is forwarded: %v: %q", err, m.forwarded)
	}
	r.Header.Del("Trailer")
	var trailers []string
	if len(r.Trailer) > 0 {
		trailers = listed(r.Trailer)
	}
	delete(r.Header, "Content-Length")
	got, want := listed(r.Header), m.fields
	if !hasName(want, "Cache-Control") && hasName(want, "Pragma") {
		got = slices.DeleteFunc(got, func(f string) bool { return strings.HasPrefix(f, "Cache-Control: ") }) // net/http adds one
	}
	switch {
	case n != len(m.forwarded):
		t.Fatalf("net/http reads %d of %d forwarded bytes: %q", n, len(m.forwarded), m.forwarded)
	case r.Method != m.method, r.RequestURI != m.target, r.Host != m.host, body != m.body:
		t.Fatalf("net/http reads %s %s %s %q of %+v", r.Method, r.RequestURI, r.Host, body, m)
	case !slices.Equal(got, want):
		t.Fatalf("net/http reads the fields %q, want %q, of %q", got, want, m.forwarded)
	case !slices.Equal(trailers, m.trailers):
		t.Fatalf("net/http reads the trailers %q, want %q, of %q", trailers, m.trailers, m.forwarded)
	}
}

func hasName(fields []string, name string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, name+": ") })
}

// ourResponse reads and relays one final response, to a client of HTTP/1.1.
func ourResponse(t *testing.T, input, method string, size int) (m message, err error) {
	r, p, b, l := new(Reader), new(Response), new(Body), new(Limits)
	src := &pieces{input, size}
	r.Reset(src, make([]byte, 600))
	if err := r.ReadResponse(p, method, l); err != nil {
		return m, err
	}
	m = message{status: p.Status, framing: framingText(&p.Head, true), fields: kept(&p.Head), came: came(&p.Head), persists: p.Persists()}
	framing := p.FramingFor(1)
	head := AppendEnd(p.AppendFields(p.AppendLine(nil)), framing, p.Length)
	b.Begin(r, &p.Head, l)
	if m.forwarded, err = relayed(t, head, b, framing, p.Length, 1<<10+chunkRoom+size%4000); err != nil {
		return m, err
	}
	m.trailers, m.ended = trailersOf(b.Trailers()), came(&b.Trailers().Head)
	m.body = contentOf(t, m.forwarded, len(head), framing)
	m.end = len(input) - len(src.text) - len(r.Buffered())
	return m, nil
}

func theirResponse(input, method string) (*http.Response, string, int, error) {
	src := strings.NewReader(input)
	br := bufio.NewReader(src)
	r, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return nil, "", 0, err
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), len(input) - src.Len() - br.Buffered(), err
}

func FuzzResponsesAgainstNetHTTP(f *testing.F) {
	for _, row := range found(f, "found-responses.txt") {
		f.Add(row[0], row[1], number(f, row[2]))
	}
	for _, c := range cases(f, "responses.txt") {
		f.Add(c.input, c.method, 3)
	}
	for _, c := range cases(f, "chunks.txt") {
		f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+c.input, "GET", 5)
	}
	f.Fuzz(func(t *testing.T, input, method string, size int) {
		if size < 1 {
			size = 1
		}
		if method == "CONNECT" {
			return // what follows is a tunnel's
		}
		m, err := ourResponse(t, input, method, 1<<20)
		split, serr := ourResponse(t, input, method, size)
		if (err == nil) != (serr == nil) || err == nil && !sameMessages([]message{m}, []message{split}) {
			t.Fatalf("%q is read as %+v, %v; in pieces of %d as %+v, %v", input, m, err, size, split, serr)
		}
		if err != nil {
			return
		}
		if r, body, n, err := theirResponse(input, method); err == nil && m.status != 101 {
			switch {
			case r.StatusCode != m.status || body != m.body:
				t.Fatalf("%q is read as %d %q, by net/http as %d %q", input, m.status, m.body, r.StatusCode, body)
			case m.persists && (n != m.end || r.Close):
				t.Fatalf("%q ends at %d and persists, for net/http at %d, closing: %v", input, m.end, n, r.Close)
			case !slices.Equal(theirs(r.Header, m.came), m.came):
				t.Fatalf("%q has the fields %q, for net/http %q", input, m.came, r.Header)
			case !slices.Equal(theirs(r.Trailer, nil), m.ended):
				t.Fatalf("%q has the trailers %q, for net/http %q", input, m.ended, r.Trailer)
			}
		}
		checkForwardedResponse(t, m, method)
	})
}

// checkForwardedResponse has net/http read what was forwarded: exactly one response, the same.
func checkForwardedResponse(t *testing.T, m message, method string) {
	r, body, n, err := theirResponse(m.forwarded, method)
	if err != nil {
		t.Fatalf("net/http refuses what is forwarded: %v: %q", err, m.forwarded)
	}
	delete(r.Header, "Content-Length")
	delete(r.Header, "Trailer")
	got, want := listed(r.Header), m.fields
	if !hasName(want, "Cache-Control") && hasName(want, "Pragma") {
		got = slices.DeleteFunc(got, func(f string) bool { return strings.HasPrefix(f, "Cache-Control: ") })
	}
	var trailers []string
	if len(r.Trailer) > 0 {
		trailers = listed(r.Trailer)
	}
	switch {
	case n != len(m.forwarded):
		t.Fatalf("net/http reads %d of %d forwarded bytes: %q", n, len(m.forwarded), m.forwarded)
	case r.StatusCode != m.status, body != m.body:
		t.Fatalf("net/http reads %d %q of %+v", r.StatusCode, body, m)
	case !slices.Equal(slices.DeleteFunc(got, isHost), slices.DeleteFunc(want, isHost)):
		t.Fatalf("net/http reads the fields %q, want %q, of %q", got, want, m.forwarded)
	case !slices.Equal(trailers, m.trailers):
		t.Fatalf("net/http reads the trailers %q, want %q, of %q", trailers, m.trailers, m.forwarded)
	}
}

func isHost(field string) bool { return strings.HasPrefix(field, "Host: ") }
