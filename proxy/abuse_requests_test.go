package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wireAsk is one request and what is to become of it.
type wireAsk struct {
	wireRow
	status int  // of the answer; 0 for none, as the client leaves first
	closed bool // after the answer
	// For what passes: the content. For content that is refused on its way, fully is false, and content what may come of it.
	content, trailers string
	fully             bool
}

// asksOf are the requests of http1's table. Of those that are right, CONNECT is not for a proxy of this kind.
func asksOf(t testing.TB) (all []wireAsk) {
	for _, row := range wireRows(t, "http1/testdata/requests.txt") {
		k := wireAsk{wireRow: row, fully: true}
		words := strings.Fields(row.want)
		if status, err := strconv.Atoi(words[0]); err == nil {
			k.status, k.closed, k.fully = status, true, false
		} else {
			k.status, k.closed = 200, words[1] == "close"
			_, body, _ := strings.Cut(strings.TrimPrefix(row.input, "\r\n"), "\r\n\r\n")
			k.content = body
			if words[0] == "chunked" {
				k.content, k.trailers, _, _ = unchunked(body)
			}
			if strings.HasPrefix(row.input, "CONNECT ") {
				k.status, k.closed, k.fully = 501, true, false
			}
		}
		all = append(all, k)
	}
	for _, row := range wireRows(t, "http1/testdata/chunks.txt") {
		k := wireAsk{wireRow: row, status: 200, fully: true, content: row.want, trailers: passingTrailers(row.input)}
		k.input = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + row.input
		switch row.want {
		case "bad":
			k.status, k.closed, k.fully = 400, true, false
		case "short":
			k.status, k.closed, k.fully = 0, true, false
		}
		all = append(all, k)
	}
	return all
}

// check sends a request in some way, and looks at what the client is answered and what came to the backend.
func (a *abuse) check(t *testing.T, w way, k wireAsk) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %q %s: %s (RFC %s)", k.name, k.input, w.name, fmt.Sprintf(format, args...), k.rfc)
	}
	if k.status == 0 && w.after != "" {
		return // what follows would be the rest
	}
	c, r := a.send(t, w, k.input)
	defer c.Close()
	want := 0
	prefix := ""
	if w.before != "" {
		if p, err := answered(r, "GET"); err != nil || p.StatusCode != 200 {
			fail("the request before it is answered %+v, %v", p, err)
			return
		}
		want++
		prefix = forwarded(w.before, w.secure)
	}
	method, _, _ := strings.Cut(strings.TrimPrefix(k.input, "\r\n"), " ")
	if k.status == 0 {
		c.(interface{ CloseWrite() error }).CloseWrite()
	}
	p, err := answered(r, method)
	switch {
	case k.status == 0:
		if err == nil && p.StatusCode < 400 {
			fail("answered %d", p.StatusCode)
		}
	case err != nil:
		fail("no answer: %v", err)
		return
	case p.StatusCode != k.status:
		fail("answered %d, want %d", p.StatusCode, k.status)
	case p.Close != k.closed && !(k.closed && p.ProtoMinor == 0):
		fail("the answer says close: %v, want %v", p.Close, k.closed)
	}
	passes := k.status == 200
	if passes {
		want++
	}
	suffix := ""
	if w.after != "" && !k.closed {
		suffix = forwarded(w.after, w.secure)
		want++
		if p, err := answered(r, "GET"); err != nil || p.StatusCode != 200 {
			fail("the request after it is answered %+v, %v", p, err)
		}
	}
	if k.closed {
		if b, err := r.ReadByte(); k.status != 0 && err != io.EOF {
			fail("then %q, %v, want the end", b, err)
		}
	}
	text, whole := a.last(t)
	if whole != want {
		fail("%d requests came to the backend, want %d: %q", whole, want, text)
		return
	}
	body, ok := strings.CutPrefix(text, prefix)
	if ok && suffix != "" {
		body, ok = strings.CutSuffix(body, suffix)
	}
	if !ok {
		fail("the backend got %q, with the others around it", text)
		return
	}
	if !passes && body == "" {
		return
	}
	head, sized := "", true
	if passes || k.fully || strings.Contains(k.input, "chunked") {
		head = forwarded(k.input, w.secure)
		sized = !strings.Contains(head, "\r\nTransfer-Encoding: chunked\r\n\r\n")
	}
	body, ok = strings.CutPrefix(body, head)
	switch content, trailers, ended, right := unchunked(body); {
	case !ok:
		fail("the backend got %q, want %q", text, head)
	case !passes && sized:
		fail("the backend got %q", text)
	case !passes:
		if ended || !right {
			fail("the backend got content that ends, or none at all: %q", body)
		}
	case sized:
		if body != k.content {
			fail("the backend got the content %q, want %q", body, k.content)
		}
	case !right || !ended || content != k.content || trailers != k.trailers:
		fail("the backend got %q, want content %q and trailers %q", body, k.content, k.trailers)
	}
}

// handshakes is one of how many requests is sent in TLS too: what is read there is read by the same code.
const handshakes = 8

// checkAll checks all requests in some ways.
func (a *abuse) checkAll(t *testing.T, asks []wireAsk, ways ...way) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for i, k := range asks {
				if w.secure && i%handshakes != 0 {
					continue
				}
				if a.check(t, w, k); t.Failed() && testing.Short() {
					return
				}
			}
		})
	}
	t.Logf("%d requests in %d ways", len(asks), len(ways))
}

func TestEngineTakesAndRefusesWhatTheTableSays(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	newAbuse(t).checkAll(t, asksOf(t), ways...)
}

// Framings in every combination. The rule is simple enough to be told again: one way to tell the length, said right, once.
func TestEngineEveryCombinationOfFramings(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	const body = "5\r\nhello\r\n0\r\n\r\n" // 15 bytes
	lengths := []string{"", ": 15", ": 015", ":15", ": 5", ": 16", ": 15, 15", ": 15\r\nContent-Length: 15", ": 15\r\nContent-Length: 5", ": ", ": +15", ": 0xf", " : 15", "\t: 15", ": 15\v", ":\r\n 15"}
	codings := []string{"", ": chunked", ":chunked", ": CHUNKED", ":\tchunked ", ": chunked\r\nTransfer-Encoding: chunked", ": gzip, chunked", ": chunked, gzip", ": identity", ": ", ": x\r\nTransfer-Encoding: chunked", " : chunked", "\t: chunked", ": chunked\v", ": \"chunked\"", ":\r\n chunked", ": chunked;q=1"}
	right := map[string]bool{": 15": true, ": 015": true, ":15": true, ": chunked": true, ":chunked": true, ": CHUNKED": true, ":\tchunked ": true}
	var asks []wireAsk
	for i, length := range lengths {
		for j, coding := range codings {
			for _, version := range []string{"1.1", "1.0"} {
				for order := range 2 {
					if order == 1 && (length == "" || coding == "") || length == "" && coding == "" || length == ": 5" || length == ": 16" {
						continue
					}
					fields := []string{"", ""}
					if length != "" {
						fields[order] = "Content-Length" + length + "\r\n"
					}
					if coding != "" {
						fields[1-order] = "Transfer-Encoding" + coding + "\r\n"
					}
					k := wireAsk{wireRow: wireRow{name: fmt.Sprintf("length %d, coding %d", i, j), rfc: "9112, 6.1 to 6.3",
						input: "POST / HTTP/" + version + "\r\nHost: a\r\n" + fields[0] + fields[1] + "\r\n" + body}, status: 400, closed: true}
					switch {
					case coding == "" && right[length]:
						k.status, k.closed, k.fully, k.content = 200, version == "1.0", true, body
					case length == "" && right[coding] && version == "1.1":
						k.status, k.closed, k.fully, k.content = 200, false, true, "hello"
					case version == "1.1" && length == "" && (coding == ": gzip, chunked" || coding == ": x\r\nTransfer-Encoding: chunked"):
						k.status = 501
					}
					asks = append(asks, k)
				}
			}
		}
	}
	if len(asks) < 500 {
		t.Errorf("only %d combinations", len(asks))
	}
	newAbuse(t).checkAll(t, asks, ways[0], ways[3])
}

// Every line end in every line of a request that has all kinds of them.
func TestEngineEveryLineEndInEveryLine(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	lines := []struct{ text, rfc string }{
		{"POST / HTTP/1.1", "9112, 3"}, {"Host: a", "9112, 5"}, {"Transfer-Encoding: chunked", "9112, 6.1"}, {"A: b", "9112, 5"}, {"", "9112, 2.1"},
		{"5", "9112, 7.1"}, {"hello", "9112, 7.1"}, {"1;a=b", "9112, 7.1.1"}, {"x", "9112, 7.1"}, {"0", "9112, 7.1"}, {"T: u", "9112, 7.1.2"}, {"", "9112, 7.1.2"},
	}
	ends := []string{"\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\r", "\x00\r\n", "\v\r\n", "\f\r\n", "\r\x00\n", "\x7f\r\n", "\r \n"}
	var asks []wireAsk
	for i, line := range lines {
		for _, end := range ends {
			input := ""
			for j, l := range lines {
				if input += l.text; j == i {
					input += end
				} else {
					input += "\r\n"
				}
			}
			k := wireAsk{wireRow: wireRow{name: fmt.Sprintf("line %d ends as %q", i, end), input: input, rfc: "9112, 2.2, and " + line.rfc}, status: 400, closed: true}
			if end == "\r" && i == len(lines)-1 {
				k.status = 0 // what is missing could still come
			}
			asks = append(asks, k)
		}
	}
	newAbuse(t).checkAll(t, asks, ways...)
}

// Every control character in every place. Only a tab may stand in some.
func TestEngineEveryControlInEveryPlace(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	places := []struct {
		before, after, rfc string
		tab                bool
	}{
		{"GE", "T / HTTP/1.1\r\nHost: a\r\n\r\n", "9110, 9.1", false},
		{"GET /", " HTTP/1.1\r\nHost: a\r\n\r\n", "9112, 3.2", false},
		{"GET /a?b", "c HTTP/1.1\r\nHost: a\r\n\r\n", "9112, 3.2", false},
		{"GET http://a", "/ HTTP/1.1\r\nHost: a\r\n\r\n", "9112, 3.2.2", false},
		{"GET /", "HTTP/1.1\r\nHost: a\r\n\r\n", "9112, 3", false},
		{"GET / HTTP/1", ".1\r\nHost: a\r\n\r\n", "9112, 2.3", false},
		{"GET / HTTP/1.1", "\r\nHost: a\r\n\r\n", "9112, 2.3", false},
		{"GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n", "9112, 3.2", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nA", "B: c\r\n\r\n", "9110, 5.1", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nA", ": c\r\n\r\n", "9112, 5.1", false},
		{"GET / HTTP/1.1\r\nHost: a\r\n", "A: c\r\n\r\n", "9112, 5.2", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nA:", "b\r\n\r\n", "9110, 5.5", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: b", "c\r\n\r\n", "9110, 5.5", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nCookie: abcdefghijklmnop", "q\r\n\r\n", "9110, 5.5", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: b", "\r\n\r\n", "9110, 5.5", true},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1", "0\r\n\r\n0123456789", "9110, 8.6", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun", "ked\r\n\r\n0\r\n\r\n", "9112, 6.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n0\r\n\r\n", "9112, 7.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1", "\r\na\r\n0\r\n\r\n", "9112, 7.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a", "b\r\na\r\n0\r\n\r\n", "9112, 7.1.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", "b\r\na\r\n0\r\n\r\n", "9112, 7.1.1", true},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b", "c\r\na\r\n0\r\n\r\n", "9112, 7.1.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b", "\"\r\na\r\n0\r\n\r\n", "9112, 7.1.1", true},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na", "\r\n0\r\n\r\n", "9112, 7.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0", "\r\n\r\n", "9112, 7.1", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT", "U: v\r\n\r\n", "9112, 7.1.2", false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: u", "v\r\n\r\n", "9112, 7.1.2", true},
	}
	var asks []wireAsk
	for _, p := range places {
		for i := range 33 {
			c := byte(i)
			if i == 32 {
				c = 0x7f
			}
			k := wireAsk{wireRow: wireRow{name: fmt.Sprintf("%q", c), input: p.before + string([]byte{c}) + p.after, rfc: p.rfc}, status: 400, closed: true}
			if p.tab && c == '\t' {
				k.status, k.closed, k.fully = 200, false, true
				if strings.HasPrefix(p.before, "POST") {
					k.content, k.trailers = "a", passingTrailers(k.input)
				}
			}
			asks = append(asks, k)
		}
	}
	newAbuse(t).checkAll(t, asks, ways[0], ways[1])
}

// What is another protocol is told so at once, before it would go on: a line's end is not waited for.
func TestEngineRefusesOtherProtocolsAtOnce(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	a := newAbuse(t)
	for _, k := range []struct {
		name, input string
		status      int
	}{
		{"a ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		{"the first byte of a ClientHello", "\x16", 400},
		{"an SSLv2 ClientHello", "\x80\x2e\x01\x00\x02", 400},
		{"HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505},
		{"as much of HTTP/2's preface as tells", "PRI * HTTP/2.0", 505},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", 400},
		{"a PROXY line", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"PROXY v2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", 400},
		{"SMTP", "EHLO a\r\n", 400},
		{"HTTP/0.9", "GET /\r\n", 400},
		{"HTTP/3", "GET / HTTP/3.0", 505},
		{"RTSP", "OPTIONS * RTSP", 400},
		{"a JSON line", "{\"a\":1}\n", 400},
		{"nothing but a zero", "\x00", 400},
	} {
		c, r := a.send(t, way{}, k.input)
		started := time.Now()
		p, err := answered(r, "GET")
		if err != nil || p.StatusCode != k.status || !p.Close {
			t.Errorf("%s is answered %+v, %v; want %d and the close", k.name, p, err, k.status)
		}
		if b, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%s: then %q, %v, want the end", k.name, b, err)
		}
		if d := time.Since(started); d > 20*time.Second {
			t.Errorf("%s: the end came after %v", k.name, d)
		}
		c.Close()
	}
	if text, n := a.last(t); text != "" || n != 0 {
		t.Errorf("the backend got %q", text)
	}
	// In TLS, what is not TLS ends with the alert of the handshake.
	c, err := net.Dial("tcp", a.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, askLast)
	if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("clear text to a port of TLS: %v", err)
	}
}

// In the table of what is right, all of it passes as it came, but for what the backend is told of the client, at the end.
func TestEngineWhatIsValidPassesUnchanged(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	a := newAbuse(t)
	rows := wireRows(t, "testdata/valid-requests.txt")
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for _, row := range rows {
				c, r := a.send(t, w, row.input)
				head, body, _ := strings.Cut(row.input, "\r\n\r\n")
				method, _, _ := strings.Cut(row.input, " ")
				for _, m := range []string{w.before, row.input, w.after} {
					if m == "" {
						continue
					}
					m, _, _ = strings.Cut(m, " ")
					if p, err := answered(r, m); err != nil || p.StatusCode != http.StatusOK {
						t.Errorf("%s: %s %s: %s is answered %+v, %v (RFC %s)", row.name, method, w.name, m, p, err, row.rfc)
						break
					}
				}
				c.Close()
				// The field that frames it is the last, behind those of ours; Host is what ours tell of.
				framing := ""
				if i := strings.LastIndex(head, "\r\n"); strings.HasPrefix(head[i+2:], "Content-Length: ") {
					head, framing = head[:i], head[i+2:]+"\r\n"
				}
				_, host, _ := strings.Cut(head+"\r\n", "\r\nHost:")
				host, _, _ = strings.Cut(host, "\r\n")
				want := head + "\r\n" + forwardedBy(strings.Trim(host, " \t"), w.secure) + framing + "\r\n" + body
				if w.before != "" {
					want = forwarded(w.before, w.secure) + want + forwarded(w.after, w.secure)
				}
				if text, _ := a.last(t); text != want {
					t.Errorf("%s: %q %s: the backend got\n%q, want\n%q (RFC %s)", row.name, row.input, w.name, text, want, row.rfc)
				}
			}
		})
	}
	if len(rows) < 60 {
		t.Errorf("only %d rows", len(rows))
	}
}
