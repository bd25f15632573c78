package http1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// parsed reads a request that must be good.
func parsed(t *testing.T, input string) *Request {
	t.Helper()
	q := new(Request)
	n, err := q.Parse([]byte(input), &Limits{})
	if err != nil || n != len(input) {
		t.Fatalf("%q: read %d of %d bytes, %v", input, n, len(input), err)
	}
	return q
}

func parsedResponse(t *testing.T, input, method string) *Response {
	t.Helper()
	p := new(Response)
	n, err := p.Parse([]byte(input), method, &Limits{})
	if err != nil || n != len(input) {
		t.Fatalf("%q: read %d of %d bytes, %v", input, n, len(input), err)
	}
	return p
}

func TestFieldsOfOneConnectionEndHere(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"A: b\r\nC:d\r\n", "Host: h\r\nA: b\r\nC:d\r\n"},
		{"A:   b \t \r\n", "Host: h\r\nA:   b \t \r\n"},
		{"Connection: close\r\nA: b\r\n", "Host: h\r\nA: b\r\n"},
		{"A: b\r\nconnection: C\r\nD: e\r\nc: f\r\nC: g\r\n", "Host: h\r\nA: b\r\nD: e\r\n"},
		{"C: 1\r\nConnection: x, c,, y\r\nConnection: D\r\nd: 2\r\nE: 3\r\n", "Host: h\r\nE: 3\r\n"},
		{"Connection: cookie, user-agent\r\nCookie: a\r\nUser-Agent: b\r\nA: c\r\n", "Host: h\r\nA: c\r\n"},
		{"Connection: host, content-length, cache-control\r\nCache-Control: a\r\n", "Host: h\r\nCache-Control: a\r\n"},
		{"Keep-Alive: 1\r\nProxy-Connection: a\r\nProxy-Authorization: b\r\nProxy-Authenticate: c\r\nTE: trailers\r\nA: b\r\nTrailer: x\r\nUpgrade: y\r\nHTTP2-Settings: z\r\n", "Host: h\r\nA: b\r\n"},
		{"Content-Length: 007\r\nA: b\r\n", "Host: h\r\nA: b\r\n"},
		{"Transfer-Encoding: chunked\r\nTrailer: x\r\n", "Host: h\r\nTrailer: x\r\n"},
		{"X-Forwarded-For: 1\r\nX-forwarded-for: 2\r\nExpect: 100-continue\r\n", "Host: h\r\nX-Forwarded-For: 1\r\nX-forwarded-for: 2\r\nExpect: 100-continue\r\n"},
	} {
		q := parsed(t, "POST / HTTP/1.1\r\nHost: h\r\n"+c.in+"\r\n")
		if got := string(q.AppendFields(nil)); got != c.out {
			t.Errorf("%q goes on as %q, want %q", c.in, got, c.out)
		}
	}
}

func TestDroppedFieldsStayBehind(t *testing.T) {
	q := parsed(t, "GET / HTTP/1.1\r\nX-Real-IP: 1\r\nHost: h\r\nx-real-ip: 2\r\nA: b\r\nC: d\r\n\r\n")
	q.DropAll(XRealIP)
	q.DropAll(Forwarded)
	q.Fields()[3].Drop()
	if got := string(q.AppendFields(nil)); got != "Host: h\r\nC: d\r\n" {
		t.Errorf("got %q", got)
	}
	if q.Get(XRealIP) != nil || q.Find(XRealIP) != nil {
		t.Error("a dropped field is found")
	}
	if _, ok := q.Lookup([]byte("a")); ok {
		t.Error("a dropped field is looked up")
	}
}

func TestFieldsAreFound(t *testing.T) {
	q := parsed(t, "GET / HTTP/1.1\r\nHost: h\r\nCOOKIE:  a=b \r\ncookie: c=d\r\nX-Own: e\r\nEmpty:\r\n\r\n")
	if got := string(q.Get(Cookie)); got != "a=b" || !q.Repeated(Cookie) || q.Repeated(Host) {
		t.Errorf("the cookie is %q, repeated %v", got, q.Repeated(Cookie))
	}
	if v, ok := q.Lookup([]byte("x-OWN")); !ok || Text(v) != "e" {
		t.Errorf("X-Own is %q, %v", v, ok)
	}
	if v, ok := q.Lookup([]byte("empty")); !ok || len(v) != 0 {
		t.Errorf("Empty is %q, %v", v, ok)
	}
	if _, ok := q.Lookup([]byte("none")); ok || q.Get(Via) != nil {
		t.Error("found what is not there")
	}
}

func TestEveryKnownNameIsFound(t *testing.T) {
	for n := Other + 1; n < nameCount; n++ {
		if len(n.String()) > longestName {
			t.Errorf("%s is longer than %d", n, longestName)
		}
		if got := NameOf([]byte(strings.ToUpper(n.String()))); got != n {
			t.Errorf("%s is found as %q", n, got)
		}
		if got := NameOf([]byte(n.String() + "x")); got != Other {
			t.Errorf("%sx is found as %q", n, got)
		}
	}
}

func TestTheRequestLineGoesOn(t *testing.T) {
	for _, c := range []struct{ in, out, host string }{
		{"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: h\r\n", "h"},
		{"GET http://x:81/a?b HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: x:81\r\nA: b\r\n", "x:81"},
		{"GET http://x HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n", "x"},
		{"GET http://x?q HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?q HTTP/1.1\r\nHost: x\r\n", "x"},
		{"OPTIONS http://x HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n", "x"},
		{"OPTIONS http://x/ HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS / HTTP/1.1\r\nHost: x\r\n", "x"},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n", "h"},
		{"\r\nBREW //pot HTTP/1.9\r\nHost:\r\n\r\n", "BREW //pot HTTP/1.1\r\nHost:\r\n", ""},
		{"GET / HTTP/1.0\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\nA: b\r\n", ""},
		{"GET http://x/ HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n", "x"},
	} {
		q := parsed(t, c.in)
		for range 2 { // as for another attempt
			if got := string(q.AppendFields(q.AppendLine(nil, q.Path()))); got != c.out {
				t.Errorf("%q goes on as %q, want %q", c.in, got, c.out)
			}
		}
		if got := string(q.Host()); got != c.host {
			t.Errorf("%q asks host %q, want %q", c.in, got, c.host)
		}
	}
	q := parsed(t, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
	if q.Form != Authority || q.Path() != nil || string(q.Host()) != "a:443" || string(q.Target()) != "a:443" || string(q.Method()) != "CONNECT" {
		t.Errorf("CONNECT is read as %+v", q)
	}
}

func TestAResponseGoesOn(t *testing.T) {
	for _, c := range []struct{ in, method, out string }{
		{"HTTP/1.0 404 Not Found\r\nA : b \r\nC: d\r\nContent-Length: 05\r\n\r\n", "GET", "HTTP/1.1 404 Not Found\r\nA: b\r\nC: d\r\nContent-Length: 5\r\n\r\n"},
		{"HTTP/1.1 200\r\nConnection: x\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n", "GET", "HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
		{"HTTP/1.1 204 x\r\nContent-Length: 9\r\n\r\n", "GET", "HTTP/1.1 204 x\r\n\r\n"},
		{"HTTP/1.1 200 OK\r\n\r\n", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
	} {
		p := parsedResponse(t, c.in, c.method)
		if got := string(AppendEnd(p.AppendFields(p.AppendLine(nil)), p.FramingFor(1), p.Length)); got != c.out {
			t.Errorf("%q goes on as %q, want %q", c.in, got, c.out)
		}
	}
	if p := parsedResponse(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"); p.FramingFor(0) != UntilClose {
		t.Error("chunks go to a client of HTTP/1.0")
	}
	if p := parsedResponse(t, "HTTP/1.1 101 x\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", "GET"); p.Interim() || !p.Upgrades() || p.Persists() {
		t.Error("101 is not taken for the end of HTTP")
	}
}

func TestWhatARequestAsksForIsRead(t *testing.T) {
	for _, c := range []struct {
		in                           string
		continues, trailers, switch_ bool
	}{
		{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", false, false, false},
		{"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nTE: a;q=1, trailers;q=0.5\r\nConnection: TE, upgrade\r\nUpgrade: x\r\n\r\n", true, true, true},
		{"GET / HTTP/1.0\r\nExpect: 100-continue\r\nTE: deflate\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", false, false, false},
		{"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continues\r\nUpgrade: x\r\n\r\n", false, false, false},
		{"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n", false, false, false},
	} {
		q := parsed(t, c.in)
		if q.ExpectsContinue() != c.continues || q.AcceptsTrailers() != c.trailers || q.Upgrades() != c.switch_ {
			t.Errorf("%q: continue %v, trailers %v, upgrade %v", c.in, q.ExpectsContinue(), q.AcceptsTrailers(), q.Upgrades())
		}
	}
}

func TestLimitsHold(t *testing.T) {
	l := Limits{Line: 40, Head: 200, Fields: 3, Trailer: 20}
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		input string
		want  int
	}{
		{"GET /" + long[:26] + " HTTP/1.1\r\nHost: h\r\n\r\n", 0},
		{"GET /" + long[:27] + " HTTP/1.1\r\nHost: h\r\n\r\n", 414},
		{"GET /" + long, 414},
		{long + " / HTTP/1.1\r\nHost: h\r\n\r\n", 501},
		{long, 501},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: " + long[:168] + "\r\n\r\n", 0},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: " + long[:169] + "\r\n\r\n", 431},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: " + long, 431},
		{"GET / HTTP/1.1\r\nHost: h\r\n" + long, 431},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nC: d\r\n\r\n", 0},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nC: d\r\nE: f\r\n\r\n", 431},
	} {
		for _, size := range pieceSizes {
			var r Reader
			var q Request
			r.Reset(&pieces{c.input, size}, make([]byte, 16))
			err := r.ReadRequest(&q, &l)
			if refusal(err) != c.want || c.want == 0 && err != nil {
				t.Errorf("%.60q (%d bytes) in pieces of %d: %v, want %d", c.input, len(c.input), size, err, c.want)
			}
		}
	}
	var r Reader
	var p Response
	r.Reset(&pieces{"HTTP/1.1 200 " + long, 3}, nil)
	if err := r.ReadResponse(&p, "GET", &l); err != errHeadLarge {
		t.Errorf("a long status line: %v", err)
	}
}

func TestConnectionNamesBoundedlyMany(t *testing.T) {
	input := "GET / HTTP/1.1\r\nHost: h\r\nConnection: " + strings.Repeat("a,", maxOptions+1) + "\r\n\r\n"
	if _, err := new(Request).Parse([]byte(input), &Limits{}); err != errManyOptions {
		t.Errorf("got %v", err)
	}
}

func TestTrailersAreBounded(t *testing.T) {
	for _, c := range []struct {
		trailer string
		want    error
	}{
		{strings.Repeat("A: b\r\n", 100), nil},
		{strings.Repeat("A: b\r\n", 300), errManyFields},
		{"A: " + strings.Repeat("b", 4000) + "\r\n", nil},
		{"A: " + strings.Repeat("b", 5000) + "\r\n", errTrailerLarge},
	} {
		for _, size := range pieceSizes {
			if _, _, _, err := chunked("0\r\n"+c.trailer+"\r\n", size, 64, 10); err != c.want && !(err == errTrailerLarge && c.want == errManyFields) {
				t.Errorf("%d bytes of trailers: %v, want %v", len(c.trailer), err, c.want)
			}
		}
	}
}

func TestExtensionsMustNotOutweighTheContent(t *testing.T) {
	chunk := "1;" + strings.Repeat("a", 500) + "\r\nx\r\n"
	if _, _, _, err := chunked(strings.Repeat(chunk, 20)+"0\r\n\r\n", 1000, 4096, 100); err != nil {
		t.Errorf("some extensions: %v", err)
	}
	if _, _, _, err := chunked(strings.Repeat(chunk, 50)+"0\r\n\r\n", 1000, 4096, 100); err != errChunkOverhead {
		t.Errorf("too many extensions: %v", err)
	}
	if got, _, _, err := chunked(strings.Repeat("1\r\nx\r\n", 50_000)+"0\r\n\r\n", 1000, 4096, 100); err != nil || len(got) != 50_000 {
		t.Errorf("many small chunks: %d bytes, %v", len(got), err)
	}
	endless := "1;" + strings.Repeat("a", 100_000)
	if _, _, _, err := chunked(endless, 1000, 4096, 100); err != errChunkOverhead {
		t.Errorf("an endless extension: %v", err)
	}
}

func TestForbiddenTrailersStayBehind(t *testing.T) {
	_, b, _, err := chunked("0\r\nX: y\r\nContent-Length: 5\r\nHost: b\r\nTransfer-Encoding: chunked\r\nZ: 1\r\nSet-Cookie: a\r\n\r\n", 5, 64, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b.Trailers().append(nil)); got != "X: y\r\nZ: 1\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestEndsOfTheConnection(t *testing.T) {
	for _, c := range []struct {
		input string
		want  error
	}{
		{"", io.EOF}, {"\r\n", io.EOF}, {"\r", io.ErrUnexpectedEOF}, {"G", io.ErrUnexpectedEOF}, {"\r\nG", io.ErrUnexpectedEOF},
		{"GET / HTTP/1.1\r\nHost: h\r\n", io.ErrUnexpectedEOF}, {"GET / HTTP/1.1\r\nHost: h\r\n\r", io.ErrUnexpectedEOF},
	} {
		for _, size := range pieceSizes {
			if _, err := readRequest(c.input, size); err != c.want {
				t.Errorf("%q in pieces of %d: %v, want %v", c.input, size, err, c.want)
			}
		}
	}
}

func TestEveryErrorNamesItsSectionOrALimit(t *testing.T) {
	for _, e := range []*Error{errBareCR, errTargetLong, errHeadLarge, errManyFields, errCoding, errMajor} {
		if (e.RFC == "") != (e.Kind == TargetTooLong || e.Kind == HeadTooLarge || e.Kind == TooManyFields) || e.Error() == "" {
			t.Errorf("%v: %+v", e, *e)
		}
		var target *Error
		if !errors.As(fmt.Errorf("x: %w", e), &target) || target.Status() < 400 {
			t.Errorf("%v has status %d", e, target.Status())
		}
	}
}

func TestTheSliceOfTextIsFoundWhereverItEnds(t *testing.T) {
	for n := range 40 {
		for bad := range n {
			for c := range 256 {
				data := []byte(strings.Repeat("x", n))
				data[bad] = byte(c)
				want := n
				if c < 0x20 && c != '\t' || c == 0x7f {
					want = bad
				}
				if got := text(data, 0); got != want {
					t.Fatalf("byte %#x at %d of %d: ends at %d, want %d", c, bad, n, got, want)
				}
			}
		}
	}
}

func TestFuzzCorporaHaveNames(t *testing.T) {
	files, err := filepath.Glob("testdata/fuzz/*/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpora: %v", err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || !strings.HasPrefix(string(b), "go test fuzz v1\n") {
			t.Errorf("%s is no corpus: %v", f, err)
		}
	}
}

func TestAResetRequestIsANewOne(t *testing.T) {
	q := parsed(t, "GET http://x/ HTTP/1.0\r\nHost: h\r\nConnection: keep-alive, upgrade\r\nUpgrade: a\r\nContent-Length: 4\r\n\r\n")
	q.Reset()
	fields := q.fields
	q.fields = nil
	fresh := new(Request)
	fresh.Length = -1
	if !reflect.DeepEqual(q, fresh) || len(fields) != 0 {
		t.Errorf("reset leaves %+v", q)
	}
}
